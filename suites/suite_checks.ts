import { createHash } from "node:crypto";
import { dirname, join, resolve as absolutePath } from "node:path";
import { InputError } from "../engine/input_error.ts";
import type { PhaseKind } from "../results/record.ts";
import { didYouMean } from "./did_you_mean.ts";
import { searchSeed } from "./equal_memory.ts";
import type { TunedRate } from "./learning_rates.ts";
import {
  type Cell,
  cellId,
  type Configuration,
  configurations,
  expandPhase,
  type Known,
  NOTHING_KNOWN,
  resolve,
  tunedRate,
  within,
} from "./matrix.ts";
import { checkMethods, methodById, optimizerById } from "./methods.ts";
import { optimizerOf } from "./resolve_settings.ts";
import { hubNameKind } from "../mod.ts";
import { givenSettings, type Setting, type Settings } from "../results/settings.ts";
import { effectiveBatchSize, tokensPerStep } from "../results/tokens_per_step.ts";
import { type Override, type PhaseBody, type Tier, TIERS } from "./schema.ts";
import { parseSuite, suiteError, type SuiteFile, type TieredPhase, tieredSuite } from "./suite.ts";
import type { Issue, KeyPath } from "./suite_source.ts";

/** Names that `model` and `data` take besides paths. */
export interface KnownNames {
  readonly presets: readonly string[];
  readonly corpora: readonly string[];
}

/**
 * Reads a suite and checks it in full: syntax, schema, and what it means on every tier.
 *
 * @throws {InputError} listing every problem with file, line, column, key, value given and value expected.
 */
export async function loadSuite(
  path: string,
  known: KnownNames,
  importedBy: readonly string[] = [],
): Promise<SuiteFile> {
  let text: string;
  try {
    text = await Deno.readTextFile(path);
  } catch (error) {
    const why = error instanceof Deno.errors.NotFound ? "no such file" : (error as Error).message;
    throw new InputError(`Cannot read the suite ${path}: ${why}`);
  }
  return checkSuite(text, path, known, importedBy);
}

/**
 * As `loadSuite`, of a text.
 *
 * @param path Where the text came from, for messages and for the suites it takes phases from.
 * @param importedBy Absolute paths of the suites that this one is read for.
 * @throws {InputError}
 */
export async function checkSuite(
  text: string,
  path: string,
  known: KnownNames,
  importedBy: readonly string[] = [],
): Promise<SuiteFile> {
  const { file, issues } = parseSuite(text, path);
  const shaped = issues.length === 0;
  issues.push(
    ...(await Promise.all(namedValues(file.suite, []).map((value) => nameIssues(value, known)))).flat(),
  );
  if (shaped) {
    issues.push(...await importIssues(file, known, importedBy));
    issues.push(...phaseNameIssues(file));
  }
  // Expanding needs shapes and names that are right: what they break would be reported a second time.
  if (issues.length === 0) issues.push(...expansionIssues(file));
  if (issues.length > 0) throw suiteError(file.source, issues);
  return file;
}

/**
 * Reads the suites that phases are taken from into `file`. @throws {InputError} for problems inside those.
 */
async function importIssues(
  file: SuiteFile,
  known: KnownNames,
  importedBy: readonly string[],
): Promise<Issue[]> {
  const issues: Issue[] = [];
  const here = absolutePath(file.path);
  for (const [i, { suite: name, phases }] of (file.suite.phasesFrom ?? []).entries()) {
    const path = join(dirname(file.path), name);
    const at: KeyPath = ["phasesFrom", i];
    if ([here, ...importedBy].includes(absolutePath(path))) {
      issues.push({
        path: [...at, "suite"],
        message: `${name} takes phases from itself, expected another suite`,
      });
      continue;
    }
    if (!await Deno.stat(path).then(({ isFile }) => isFile, () => false)) {
      issues.push({
        path: [...at, "suite"],
        message: `there is no ${path}, expected a suite beside this one`,
      });
      continue;
    }
    const imported = await loadSuite(path, known, [...importedBy, here]);
    file.imports.push(imported);
    const names = imported.suite.phases.map((phase) => phase.name);
    for (const [k, wanted] of (phases ?? []).entries()) {
      if (names.includes(wanted)) continue;
      const message = `${name} has no phase ${wanted}, expected ${names.join(", ")}${
        didYouMean(wanted, names)
      }`;
      issues.push({ path: [...at, "phases", k], message });
    }
  }
  if (file.imports.length > 0) {
    const hashes = [file.hash, ...file.imports.map(({ hash }) => hash)];
    file.hash = createHash("sha256").update(hashes.join()).digest("hex");
  }
  return issues;
}

const RULES: Partial<Record<PhaseKind, PhaseBody["rule"]>> = {
  "batch-sweep": "fastest-within-seed-spread",
  "rate-sweep": "lowest-loss-lower-rate",
};

function phaseNameIssues({ suite, imports }: SuiteFile): Issue[] {
  const imported = imports.flatMap((file, i) => {
    const wanted = suite.phasesFrom![i].phases;
    return file.suite.phases.map(({ name }) => ({ name, i })).filter(({ name }) =>
      wanted?.includes(name) ?? true
    );
  });
  const names = [...suite.phases, ...imported].map(({ name }) => name);
  const issues: Issue[] = suite.phases.flatMap(({ name, kind, rule, shows, rounds, repeats }, i) => {
    const path: KeyPath = ["phases", i];
    const found: Issue[] = [];
    if (names.indexOf(name) < i) {
      found.push({
        path: [...path, "name"],
        message: `got ${name} a second time, expected a name of its own`,
      });
    }
    if (rule && rule !== RULES[kind]) {
      found.push({
        path: [...path, "rule"],
        atKey: true,
        message: RULES[kind]
          ? `got ${rule}, expected ${RULES[kind]}: the rule of a ${kind}`
          : `a ${kind} decides nothing: only a batch-sweep or a rate-sweep has a rule`,
      });
    }
    if (shows && (RULES[kind] || kind === "equal-memory")) {
      found.push({
        path: [...path, "shows"],
        atKey: true,
        message: `got ${shows}, expected none: ${kind === "equal-memory" ? "" : "a "}${kind} shows itself`,
      });
    }
    if (rounds === "adaptive" && repeats !== undefined) {
      found.push({
        path: [...path, "repeats"],
        atKey: true,
        message: `got ${repeats}, expected none beside rounds: adaptive, which says how often`,
      });
    }
    return found;
  });
  for (const { name, i } of imported) {
    if (names.indexOf(name) === names.lastIndexOf(name)) continue;
    issues.push({
      path: ["phasesFrom", i],
      message:
        `phase ${name} is there a second time, expected names of their own; name the phases to take in phases`,
    });
  }
  for (const { path, override } of overrides({ suite })) {
    for (const name of Object.keys(override.phases ?? {})) {
      if (names.includes(name)) continue;
      const message = `unknown phase, expected ${names.join(", ")}${didYouMean(name, names)}`;
      issues.push({ path: [...path, "phases", name], atKey: true, message });
    }
  }
  return issues;
}

function overrides({ suite }: Pick<SuiteFile, "suite">): { path: KeyPath; override: Override }[] {
  const found: { path: KeyPath; override: Override }[] = [];
  if (suite.quick) found.push({ path: ["quick"], override: suite.quick });
  for (const [tier, override] of Object.entries(suite.tiers ?? {})) {
    found.push({ path: ["tiers", tier], override });
    if (override.quick) found.push({ path: ["tiers", tier, "quick"], override: override.quick });
  }
  return found;
}

/** A value that names something outside the file. */
interface NamedValue {
  path: KeyPath;
  names: NonNullable<Setting["names"]>;
  value: string;
}

/** Every name in a document of any shape, so that a wrong key elsewhere does not hide a wrong name here. */
function namedValues(json: unknown, path: KeyPath): NamedValue[] {
  if (typeof json !== "object" || json === null) return [];
  return Object.entries(json).flatMap(([key, value]) => {
    const at = [...path, Array.isArray(json) ? Number(key) : key];
    if (key === "methodOptions" || key === "optimizerOptions") return [];
    const names = givenSettings()[key]?.names;
    return names ? texts(names, value, at) : namedValues(value, at);
  });
}

/** A setting is a text or a list of them; on an axis, a list of those. */
function texts(names: NamedValue["names"], value: unknown, path: KeyPath): NamedValue[] {
  if (typeof value === "string") return [{ path, names, value }];
  return Array.isArray(value) ? value.flatMap((item, i) => texts(names, item, [...path, i])) : [];
}

async function nameIssues({ path, names, value }: NamedValue, known: KnownNames): Promise<Issue[]> {
  switch (names) {
    case "model":
      return await modelIssues(path, value, known);
    case "data":
      return await placeIssues(path, value, "corpus", known.corpora, "");
    case "method":
      return caught(path, () => methodById(value));
    case "optimizer":
      return caught(path, () => optimizerById(value));
  }
}

/** A model of the hub is named with its revision: what moves is pinned when a run begins. */
async function modelIssues(path: KeyPath, value: string, known: KnownNames): Promise<Issue[]> {
  const issues = await placeIssues(path, value, "preset", known.presets, "config.json");
  if (issues.length === 0) return issues;
  const kind = hubNameKind(value);
  if (kind === null) return issues;
  if (kind === "pinned" || value.includes("@")) return [];
  const message =
    `got ${value}, but there is no such folder, and a model of the hub is named with its revision, as ` +
    `${value}@main, or by a commit; \`deno task plan --model ${value}\` says which`;
  return [{ path, message }];
}

async function placeIssues(
  path: KeyPath,
  value: string,
  kind: string,
  names: readonly string[],
  inside: string,
) {
  if (names.includes(value)) return [];
  const place = inside === "" ? value : `${value}/${inside}`;
  if (await Deno.stat(place).then(() => true, () => false)) return [];
  const message = looksLikePath(value)
    ? `got ${value}, but there is no ${place}`
    : `unknown ${kind} ${value}, expected ${names.join(", ")} or a path${didYouMean(value, names)}`;
  return [{ path, message }];
}

/** Whether a value of `model` or `data` is a path rather than a name. */
function looksLikePath(value: string): boolean {
  return /[/\\.]/.test(value);
}

function caught(path: KeyPath, check: () => unknown): Issue[] {
  try {
    check();
    return [];
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    return [{ path, message: error.message }];
  }
}

/** Expands every tier, with and without quick; an issue that is not there on all of them names the first. */
function expansionIssues(file: SuiteFile): Issue[] {
  const variants = (file.suite.tiers ? Object.keys(file.suite.tiers) as Tier[] : [TIERS[0]])
    .flatMap((tier) => [false, true].map((quick) => ({ tier, quick })));
  const found = new Map<string, { issue: Issue; where: string; count: number }>();
  for (const { tier, quick } of variants) {
    for (const issue of tierIssues(tieredSuite(file, tier, quick).phases)) {
      const key = JSON.stringify(issue);
      const entry = found.get(key) ??
        { issue, where: `tier ${tier}${quick ? " with --quick" : ""}`, count: 0 };
      found.set(key, { ...entry, count: entry.count + 1 });
    }
  }
  return [...found.values()].map(({ issue, where, count }) =>
    count === variants.length ? issue : { ...issue, message: `${issue.message} (${where})` }
  );
}

function tierIssues(phases: readonly TieredPhase[]): Issue[] {
  const issues: Issue[] = [];
  const checker = new PhaseChecker();
  for (const phase of phases) {
    const found = checker.check(phase);
    issues.push(
      ...phase.path[0] === "phases"
        ? found
        : found.map((issue) => ({ ...issue, message: `phase ${phase.name}: ${issue.message}` })),
    );
  }
  return issues;
}

/** Checks phase after phase, at every batch size that a sweep could have chosen by then. */
class PhaseChecker {
  #candidates: number[] | null = null;
  #searches = false;
  #rates = new Map<string, TunedRate>();
  #cells: Cell[] = [];

  check(phase: TieredPhase): Issue[] {
    const list = configurations(phase);
    const issues: Issue[] = [];
    if (list.length === 0) {
      issues.push({ path: phase.path, message: "no cell is left: include and exclude drop all of them" });
    }
    if (phase.seeds && phase.axes?.seed) {
      const message = "seeds and axes.seed exclude each other";
      // Otherwise every cell would be reported too, as there twice.
      return [{ path: within(phase, "seeds"), atKey: true, message }];
    }
    if (phase.kind === "equal-memory") {
      if (this.#searches) {
        issues.push({ path: phase.path, message: "a second equal-memory phase, expected one in a suite" });
      }
      this.#searches = true;
      issues.push(...equalMemoryIssues(phase, list));
    } else {
      for (const key of ["memoryRatios", "candidates"] as const) {
        if (phase[key] === undefined) continue;
        const message = `a ${phase.kind} searches nothing: only an equal-memory phase has ${key}`;
        issues.push({ path: within(phase, key), atKey: true, message });
      }
    }
    if (phase.extend !== undefined && phase.kind !== "rate-sweep") {
      const message = `a ${phase.kind} has no grid of rates: only a rate-sweep has extend`;
      issues.push({ path: within(phase, "extend"), atKey: true, message });
    }
    issues.push(...processIssues(phase, list), ...this.#cellIssues(phase, list));
    if (phase.kind === "batch-sweep") {
      if (this.#candidates) {
        issues.push({ path: phase.path, message: "a second batch-sweep, expected one in a suite" });
      }
      issues.push(...sweepIssues(phase, list));
      this.#candidates = sweptSizes(list);
    }
    if (issues.length > 0) {
      // Reported here; that later phases rest on its decisions is no problem of theirs.
      if (phase.kind === "rate-sweep") {
        for (const { settings } of list) {
          this.#rates.set(optimizerOf(settings), { rate: 1e-3, effectiveBatchSize: 1 });
        }
      }
      return issues;
    }
    const cells = expandPhase(phase, this.#known(this.#candidates?.at(-1) ?? null));
    if (phase.kind === "rate-sweep") issues.push(...this.#rateIssues(phase, cells));
    this.#cells.push(...cells);
    return issues;
  }

  #known(batchSize: number | null): Known {
    return { ...NOTHING_KNOWN, batchSize, rates: this.#rates, cells: this.#cells };
  }

  /** Resolves every configuration, at every batch size that a sweep could choose. */
  #cellIssues(phase: TieredPhase, list: readonly Configuration[]): Issue[] {
    const issues: Issue[] = [];
    const seen = new Map<string, Configuration>();
    for (const configuration of list) {
      const { settings, path, label } = configuration;
      const chosen = settings.effectiveBatchSize === "chosen";
      const optimizer = optimizerOf(settings);
      if (chosen && this.#candidates === null) {
        const message = "effectiveBatchSize is chosen, expected a batch-sweep before this phase to choose it";
        issues.push({ path, message });
        continue;
      }
      if (settings.learningRate === "tuned" && !tunedRate(optimizer, this.#rates)) {
        const message = `learningRate is tuned, expected a rate-sweep of ${optimizer} before this phase`;
        issues.push({ path, message });
        continue;
      }
      const sizes = chosen ? this.#candidates! : [null];
      const ids: string[] = [];
      for (const size of sizes) {
        const found = caught(path, () => {
          const configs = (phase.seeds ?? [undefined]).map((seed) =>
            resolve(settings, seed, this.#known(size))
          );
          checkMethods(configs[0].methods, configs[0].optimizer);
          ids.push(cellId(phase.name, 0, configs[0]));
        });
        issues.push(
          ...found.map((issue) =>
            size === null ? issue : { ...issue, message: `${issue.message}, if the sweep chooses ${size}` }
          ),
        );
      }
      const key = ids.join();
      const twin = seen.get(key);
      if (twin && ids.length === sizes.length) {
        issues.push({
          path,
          message: `${label} is the same cell as ${twin.label}: expected each of them once`,
        });
      }
      seen.set(key, twin ?? configuration);
    }
    return issues;
  }

  /**
   * What the rule of a rate sweep needs: several rates an optimizer that differ
   * in nothing else, and a held-out loss.
   */
  #rateIssues(phase: TieredPhase, cells: readonly Cell[]): Issue[] {
    const issues: Issue[] = [];
    const seed = cells[0].config.seed;
    const [first] = cells.filter(({ config, repeat }) => config.seed === seed && repeat === 0);
    for (const optimizer of new Set(cells.map(({ config }) => config.optimizer))) {
      const swept = cells.map(({ config }) => config).filter((config) =>
        config.optimizer === optimizer && config.seed === seed
      );
      const rates = new Set(swept.map(({ learningRate }) => learningRate));
      const others = new Set(swept.map((config) => cellId("", 0, { ...config, learningRate: 0 })));
      const refuse = (message: string) => issues.push({ path: phase.path, message });
      if (this.#rates.has(optimizer)) refuse(`a second rate-sweep of ${optimizer}, expected one in a suite`);
      if (rates.size < 2) {
        refuse(`a rate-sweep compares learning rates: expected two or more of ${optimizer}`);
      }
      if (others.size > 1) {
        refuse(`cells of ${optimizer} differ in more than the learning rate: expected equal conditions`);
      }
      const { config } = first;
      this.#rates.set(optimizer, {
        rate: Math.max(...rates),
        effectiveBatchSize: effectiveBatchSize(config),
      });
    }
    if (new Set(cells.map(({ config }) => config.steps * tokensPerStep(config))).size > 1) {
      issues.push({
        path: phase.path,
        message: "learning rates train on different tokens: expected equal tokens",
      });
    }
    if (cells.some(({ config }) => config.heldOutFraction === 0)) {
      const message =
        "heldOutFraction is 0, expected a share to evaluate on: the rule compares held-out losses";
      issues.push({ path: phase.path, message });
    }
    return issues;
  }
}

function sweptSizes(list: readonly Configuration[]): number[] {
  const sizes = list.map(({ settings }) => settings.effectiveBatchSize).filter((size) =>
    typeof size === "number"
  );
  return [...new Set(sizes)];
}

/** Phases whose times decide something, or that have none. */
const NOT_SIDE_BY_SIDE: Partial<Record<PhaseKind, string>> = {
  "batch-sweep": "its rule compares times",
  "equal-memory": "its search compares times",
  "plan": "it runs nothing",
};

/** How many processes a phase has, and how many of them at once, must fit what it is for. */
function processIssues(phase: TieredPhase, list: readonly Configuration[]): Issue[] {
  const { kind, sideBySide = false, rounds = "fixed" } = phase;
  const issues: Issue[] = [];
  const refuse = (key: "sideBySide" | "rounds", why: string) =>
    issues.push({
      path: within(phase, key),
      atKey: true,
      message: `got ${phase[key]}, expected none of phases of kind ${kind}: ${why}`,
    });
  const why = NOT_SIDE_BY_SIDE[kind];
  if (sideBySide && why) refuse("sideBySide", why);
  if (rounds !== "adaptive") return issues;
  if (kind !== "matrix" && kind !== "equal-memory") refuse("rounds", "it judges no throughput");
  if (sideBySide) {
    const message = "got true, expected none beside rounds: adaptive, which looks at times";
    issues.push({ path: within(phase, "sideBySide"), atKey: true, message });
  }
  if (kind === "matrix" && !list.some(({ settings }) => isBaseline(settings))) {
    const message = "rounds: adaptive compares with a baseline: expected a cell that switches nothing on";
    issues.push({ path: phase.path, message });
  }
  return issues;
}

/** Whether settings switch nothing on, as far as they say before they are resolved. */
function isBaseline({ methods = [], optimizer = "adamw", ...split }: Settings): boolean {
  return methods.length === 0 && optimizer === "adamw" && split.microBatchSize === undefined &&
    (split.gradientAccumulationSteps ?? 1) === 1;
}

/** What the rule of a sweep needs: several batch sizes, equal tokens, a held-out loss. */
function sweepIssues(phase: TieredPhase, list: readonly Configuration[]): Issue[] {
  const issues: Issue[] = [];
  if (sweptSizes(list).length < 2) {
    issues.push({
      path: phase.path,
      message: "a batch-sweep compares batch sizes: expected two or more in axes.effectiveBatchSize",
    });
  }
  const totals = new Set<number>();
  for (const { settings, path } of list) {
    try {
      const config = resolve(settings, phase.seeds?.[0], NOTHING_KNOWN);
      totals.add(config.steps * tokensPerStep(config));
      if (config.heldOutFraction === 0) {
        issues.push({
          path,
          message: "heldOutFraction is 0, expected a share to evaluate on: the rule compares held-out losses",
        });
        break;
      }
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      return issues; // reported as an issue of the cell
    }
  }
  if (totals.size > 1) {
    const list = [...totals].sort((a, b) => a - b).join(", ");
    issues.push({
      path: phase.path,
      message: `batch sizes train on ${list} tokens: expected equal tokens, as tokens gives`,
    });
  }
  return issues;
}

/** What a search for equal memory needs: a whole batch to split, and seeds of its own for what is judged. */
function equalMemoryIssues(phase: TieredPhase, list: readonly Configuration[]): Issue[] {
  const issues: Issue[] = [];
  const seed = searchSeed(phase);
  if (!phase.seeds) {
    issues.push({ path: phase.path, message: "missing key seeds: expected those of what is judged" });
  } else if (phase.seeds.includes(seed)) {
    issues.push({
      path: within(phase, "seeds"),
      message: `got ${phase.seeds.join(", ")}, expected others than ${seed}, the seed of the search`,
    });
  }
  for (const { settings, path } of [{ settings: phase.defaults, path: phase.path }, ...list]) {
    const key = (["microBatchSize", "gradientAccumulationSteps"] as const).find((key) =>
      settings[key] !== undefined
    );
    if (key) {
      issues.push({
        path,
        message: `got ${key} ${settings[key]}, expected none: the search splits the batch`,
      });
    }
    if (settings.startFrom) {
      issues.push({
        path,
        message: "got startFrom, expected none: the search starts from the model as it is",
      });
    }
  }
  for (const key of ["reuse", "prune"] as const) {
    if (!phase[key]) continue;
    const message = `got ${key}, expected none: what is judged runs in processes of its own`;
    issues.push({ path: within(phase, key), atKey: true, message });
  }
  return issues;
}
