import { createHash } from "node:crypto";
import { basename } from "node:path";
import { Ajv2020, type ErrorObject, type ValidateFunction } from "ajv/dist/2020.js";
import { InputError } from "../engine/input_error.ts";
import { parseBytes } from "../results/bytes.ts";
import { didYouMean } from "./did_you_mean.ts";
import type { Settings } from "../results/settings.ts";
import { mergeSettings } from "./merge_settings.ts";
import { numberWords, type ValueRule } from "../results/schema_parts.ts";
import { adaptiveRounds } from "./round_counts.ts";
import { type Phase, type PhaseBody, type Suite, suiteSchema, type Tier } from "./schema.ts";
import { type Issue, type KeyPath, SuiteSource } from "./suite_source.ts";

/** A suite with the file it came from. */
export interface SuiteFile {
  path: string;
  /** File name without its ending. */
  name: string;
  /** sha256 of the file, and of those it takes phases from. */
  hash: string;
  suite: Suite;
  /** The suites of `phasesFrom`, in order. */
  imports: SuiteFile[];
  source: SuiteSource;
}

/** A suite cut to one tier: every phase with its own complete settings. */
export interface TieredSuite {
  memoryBudgetBytes: number | null;
  /** Whether the tier runs as with --quick unless asked for the whole. */
  quickByDefault: boolean;
  phases: TieredPhase[];
}

export interface TieredPhase extends Phase {
  defaults: Settings;
  /** Of an adaptive phase those before it looks. */
  repeats: number;
  timing: { warmupSteps: number };
  timeoutSeconds: number;
  divergenceFactor: number;
  /** Where it stands in the file. */
  path: KeyPath;
}

let schemaCheck: ValidateFunction | undefined;

/**
 * The schema's check, compiled when the first suite is read: that takes longer
 * than most commands, which read none.
 */
function compiledSchema(): ValidateFunction {
  return schemaCheck ??= suiteCheck(suiteSchema());
}

/** The check of a suite's schema. */
export function suiteCheck(schema: object): ValidateFunction {
  return new Ajv2020({ allErrors: true, verbose: true, allowUnionTypes: true }).compile(schema);
}

/**
 * Parses a suite and checks it against the schema. Where there are issues, `suite` may have any shape.
 *
 * @param path Where the text came from, for messages.
 * @throws {InputError} listing every syntax error with its position.
 */
export function parseSuite(text: string, path: string): { file: SuiteFile; issues: Issue[] } {
  const source = new SuiteSource(path, text);
  const json = source.toJson();
  const matches = compiledSchema();
  const issues = matches(json) ? [] : schemaIssues(matches.errors ?? []);
  const file: SuiteFile = {
    path,
    name: basename(path).replace(/\.ya?ml$/, ""),
    hash: createHash("sha256").update(text).digest("hex"),
    suite: json as Suite,
    imports: [],
    source,
  };
  return { file, issues };
}

/** One error for all issues, in the order of the file. */
export function suiteError(source: SuiteSource, issues: readonly Issue[]): InputError {
  const lines = [...new Set(issues.map((issue) => source.describe(issue)))];
  const position = (line: string) => line.slice(source.path.length + 1).split(":").slice(0, 2).map(Number);
  lines.sort((a, b) => {
    const [[lineA, columnA], [lineB, columnB]] = [position(a), position(b)];
    return lineA - lineB || columnA - columnB;
  });
  const count = lines.length === 1 ? "one problem" : `${lines.length} problems`;
  return new InputError(`Cannot use the suite ${source.path}: ${count}\n${lines.join("\n")}`);
}

function schemaIssues(errors: readonly ErrorObject[]): Issue[] {
  return errors.map((error) => {
    const path = error.instancePath.split("/").slice(1).map((part) => {
      const key = part.replaceAll("~1", "/").replaceAll("~0", "~");
      return /^\d+$/.test(key) ? Number(key) : key;
    });
    if (error.keyword === "additionalProperties") {
      const key: string = error.params.additionalProperty;
      const known = Object.keys(error.parentSchema?.properties ?? {});
      return {
        path: [...path, key],
        atKey: true,
        message: `unknown key, expected ${known.join(", ")}${didYouMean(key, known)}`,
      };
    }
    if (error.keyword === "required") return { path, message: `missing key ${error.params.missingProperty}` };
    return { path, message: `got ${show(error.data)}, expected ${expectedBy(error)}` };
  });
}

function expectedBy({ keyword, params, data, parentSchema = {} }: ErrorObject): string {
  const numbers = numberWords(parentSchema as ValueRule);
  // Fields that take a number or one word: chosen, tuned.
  const word = String(parentSchema.pattern ?? "").match(/^\^(chosen|tuned)\$$/)?.[1];
  if (keyword === "enum") {
    const allowed: string[] = params.allowedValues;
    return allowed.join(" or ") + (typeof data === "string" ? didYouMean(data, allowed) : "");
  }
  if (keyword === "minItems") return "a list of at least one value";
  if (keyword === "minProperties") return "at least one key";
  if (keyword === "uniqueItems") return `values that differ: items ${params.j} and ${params.i} are the same`;
  if (keyword === "pattern" && word !== undefined) return `${numbers}, or ${word}`;
  if (keyword === "pattern" || keyword === "minLength") {
    return String(parentSchema.description ?? "text that is not empty").replace(/\.$/, "");
  }
  const types: string[] = [parentSchema.type].flat();
  if (types.includes("integer") || types.includes("number")) {
    return word === undefined ? numbers : `${numbers}, or ${word}`;
  }
  const words: Record<string, string> = {
    string: "text",
    boolean: "true or false",
    array: "a list",
    object: "keys with values",
  };
  return types.map((type) => words[type] ?? type).join(" or ");
}

/** A value as it is written, cut short. */
function show(value: unknown): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

/**
 * Cuts a suite to a tier. Overrides go from general to particular: tier, quick,
 * the tier's quick. Phases of other suites come with the settings and overrides
 * of their own file, then with those that this one has for them by name.
 */
export function tieredSuite(
  { suite, imports }: Pick<SuiteFile, "suite" | "imports">,
  tier: Tier,
  quick: boolean,
): TieredSuite {
  const ofTier = suite.tiers?.[tier];
  const overrides = [ofTier, quick ? suite.quick : undefined, quick ? ofTier?.quick : undefined].filter((
    one,
  ) => !!one);
  const defaults = mergeSettings(suite.defaults, ...overrides.map((override) => override.defaults));
  const budget = overrides.findLast((override) => override.memoryBudget)?.memoryBudget;
  const changed = (phase: Phase, settings: Settings, path: KeyPath): TieredPhase[] => {
    const changes = overrides.map((override) => override.phases?.[phase.name]).filter((change) => !!change);
    if (changes.findLast((change) => change.skip !== undefined)?.skip) return [];
    return [tieredPhase(phase, settings, changes, path)];
  };
  const imported = imports.flatMap((file, i) => {
    const wanted = suite.phasesFrom![i].phases;
    return tieredSuite({ suite: { ...file.suite, phasesFrom: [] }, imports: [] }, tier, quick).phases
      .filter(({ name }) => wanted?.includes(name) ?? true)
      .flatMap((phase) => changed(phase, {}, ["phasesFrom", i]));
  });
  return {
    memoryBudgetBytes: budget ? parseBytes(budget) : null,
    quickByDefault: ofTier?.quickByDefault ?? false,
    phases: [...suite.phases.flatMap((phase, i) => changed(phase, defaults, ["phases", i])), ...imported],
  };
}

function tieredPhase(
  phase: Phase,
  defaults: Settings,
  changes: readonly PhaseBody[],
  path: KeyPath,
): TieredPhase {
  const merged: PhaseBody = Object.assign({}, phase, ...changes);
  return {
    ...merged,
    name: phase.name,
    kind: phase.kind,
    defaults: mergeSettings(defaults, phase.defaults, ...changes.map((change) => change.defaults)),
    axes: Object.assign({}, phase.axes, ...changes.map((change) => change.axes)),
    repeats: merged.rounds === "adaptive" ? adaptiveRounds(merged.seeds).first : merged.repeats ?? 1,
    timing: { warmupSteps: merged.timing?.warmupSteps ?? 2 },
    timeoutSeconds: merged.timeoutSeconds ?? 1800,
    divergenceFactor: merged.divergenceFactor ?? 1.5,
    path,
  };
}
