import { InputError } from "../engine/input_error.ts";
import { didYouMean } from "./did_you_mean.ts";
import { cellId, type Configuration, configurations, resolve } from "./matrix.ts";
import { checkMethods, methodById, optimizerById } from "./methods.ts";
import { looksLikePath, tokensPerStep } from "./run_config.ts";
import {
  type Override,
  parseSuite,
  suiteError,
  type SuiteFile,
  type Tier,
  type TieredPhase,
  tieredSuite,
  TIERS,
} from "./suite.ts";
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
export async function loadSuite(path: string, known: KnownNames): Promise<SuiteFile> {
  let text: string;
  try {
    text = await Deno.readTextFile(path);
  } catch (error) {
    const why = error instanceof Deno.errors.NotFound ? "no such file" : (error as Error).message;
    throw new InputError(`Cannot read the suite ${path}: ${why}`);
  }
  return checkSuite(text, path, known);
}

/** As `loadSuite`, of a text. @param path Where the text came from, for messages. @throws {InputError} */
export async function checkSuite(text: string, path: string, known: KnownNames): Promise<SuiteFile> {
  const { file, issues } = parseSuite(text, path);
  const shaped = issues.length === 0;
  issues.push(
    ...(await Promise.all(namedValues(file.suite, []).map((value) => nameIssues(value, known)))).flat(),
  );
  if (shaped) issues.push(...phaseNameIssues(file));
  // Expanding needs shapes and names that are right: what they break would be reported a second time.
  if (issues.length === 0) issues.push(...expansionIssues(file));
  if (issues.length > 0) throw suiteError(file.source, issues);
  return file;
}

function phaseNameIssues({ suite }: SuiteFile): Issue[] {
  const names = suite.phases.map(({ name }) => name);
  const issues: Issue[] = suite.phases.flatMap(({ name, kind, rule }, i) => {
    const path: KeyPath = ["phases", i];
    const found: Issue[] = [];
    if (names.indexOf(name) < i) {
      found.push({
        path: [...path, "name"],
        message: `got ${name} a second time, expected a name of its own`,
      });
    }
    if (rule && kind !== "batch-sweep") {
      found.push({
        path: [...path, "rule"],
        atKey: true,
        message: `a ${kind} decides nothing: only a batch-sweep has a rule`,
      });
    }
    return found;
  });
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
  field: "model" | "data" | "methods" | "optimizer";
  value: string;
}

/** Every name in a document of any shape, so that a wrong key elsewhere does not hide a wrong name here. */
function namedValues(json: unknown, path: KeyPath): NamedValue[] {
  if (typeof json !== "object" || json === null) return [];
  return Object.entries(json).flatMap(([key, value]) => {
    const at = [...path, Array.isArray(json) ? Number(key) : key];
    if (key === "methodOptions" || key === "optimizerOptions") return [];
    if (key === "model" || key === "data" || key === "methods" || key === "optimizer") {
      return texts(key, value, at);
    }
    return namedValues(value, at);
  });
}

/** A setting is a text or a list of them; on an axis, a list of those. */
function texts(field: NamedValue["field"], value: unknown, path: KeyPath): NamedValue[] {
  if (typeof value === "string") return [{ path, field, value }];
  return Array.isArray(value) ? value.flatMap((item, i) => texts(field, item, [...path, i])) : [];
}

async function nameIssues({ path, field, value }: NamedValue, known: KnownNames): Promise<Issue[]> {
  switch (field) {
    case "model":
      return await placeIssues(path, value, "preset", known.presets, "config.json");
    case "data":
      return await placeIssues(path, value, "corpus", known.corpora, "");
    case "methods":
      return caught(path, () => methodById(value));
    case "optimizer":
      return caught(path, () => optimizerById(value));
  }
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
  let candidates: number[] | null = null;
  for (const phase of phases) {
    const list = configurations(phase);
    if (list.length === 0) {
      issues.push({ path: phase.path, message: "no cell is left: include and exclude drop all of them" });
    }
    if (phase.seeds && phase.axes?.seed) {
      issues.push({
        path: [...phase.path, "seeds"],
        atKey: true,
        message: "seeds and axes.seed exclude each other",
      });
      continue; // every cell would be reported a second time, as there twice
    }
    issues.push(...cellIssues(phase, list, candidates));
    if (phase.kind === "batch-sweep") {
      issues.push(...sweepIssues(phase, list));
      candidates = sweptSizes(list);
    }
  }
  return issues;
}

function sweptSizes(list: readonly Configuration[]): number[] {
  const sizes = list.map(({ settings }) => settings.effectiveBatchSize).filter((size) =>
    typeof size === "number"
  );
  return [...new Set(sizes)];
}

/** Resolves every configuration, at every batch size that a sweep could choose. */
function cellIssues(
  phase: TieredPhase,
  list: readonly Configuration[],
  candidates: readonly number[] | null,
): Issue[] {
  const issues: Issue[] = [];
  const seen = new Map<string, Configuration>();
  for (const configuration of list) {
    const { settings, path, label } = configuration;
    const chosen = settings.effectiveBatchSize === "chosen";
    if (chosen && candidates === null) {
      const message = "effectiveBatchSize is chosen, expected a batch-sweep before this phase to choose it";
      issues.push({ path, message });
      continue;
    }
    const sizes = chosen ? candidates! : [null];
    const ids: string[] = [];
    for (const size of sizes) {
      const found = caught(path, () => {
        const config = resolve(settings, phase.seeds?.[0], size);
        checkMethods(config.methods, config.optimizer);
        ids.push(cellId(phase.name, 0, config));
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
      const config = resolve(settings, phase.seeds?.[0], null);
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
