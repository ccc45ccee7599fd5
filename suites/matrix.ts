import { createHash } from "node:crypto";
import { InputError } from "../engine/input_error.ts";
import { NUMERICS } from "../mod.ts";
import { canonicalJson } from "../results/canonical_json.ts";
import type { CellKind, CellRole, RunConfig } from "../results/record.ts";
import { didYouMean } from "./did_you_mean.ts";
import type { TunedRate } from "./learning_rates.ts";
import { methodsLabel, OPTIMIZERS, trainsAdapters } from "../results/methods.ts";
import {
  type CellReference,
  RUN_SETTINGS,
  SETTINGS,
  type Settings,
  type SettingTable,
} from "../results/settings.ts";
import { mergeSettings } from "./merge_settings.ts";
import { searchSpace } from "./search_space.ts";
import { optimizerOf, resolveSettings } from "./resolve_settings.ts";
import { effectiveBatchSize } from "../results/tokens_per_step.ts";
import type { TieredPhase } from "./suite.ts";
import type { KeyPath } from "./suite_source.ts";

/** One cell of a matrix: a configuration to run, with what its phase says of running it. */
export interface Cell {
  id: string;
  kind: CellKind;
  phase: string;
  label: string;
  repeat: number;
  config: RunConfig;
  /** Why a rule keeps the cell from running; null where none does. */
  prunedBecause: string | null;
  /** Steps at the start that timing leaves out. */
  warmupSteps: number;
  timeoutSeconds: number;
  divergenceFactor: number;
  /** Whether to time every kernel over one more step. */
  profile: boolean;
  /** What a cell of an equal-memory phase is for. */
  role?: CellRole;
}

/** A configuration of a phase before seeds and repeats. */
export interface Configuration {
  label: string;
  settings: Settings;
  prunedBecause: string | null;
  /** Where it comes from, in the suite. */
  path: KeyPath;
}

/** What the phases before have brought about. */
export interface Known {
  /** Effective batch size that a sweep decided, or null. */
  batchSize: number | null;
  /** Learning rates that sweeps decided, by optimizer. */
  rates: ReadonlyMap<string, TunedRate>;
  /** Cells of the phases before. */
  cells: readonly Cell[];
  /** Cells of equal-memory phases, by the phase's name; none before the planner has been asked. */
  searched: ReadonlyMap<string, SearchedCells>;
  /** Cells that adaptive phases added to their first rounds, by the phase's name; none before they looked. */
  added: ReadonlyMap<string, readonly Cell[]>;
}

/** Cells that an equal-memory phase has come to. */
export interface SearchedCells {
  search: readonly Cell[];
  /** Null before the search is decided. */
  judged: readonly Cell[] | null;
}

/** Before the first phase. */
export const NOTHING_KNOWN: Known = {
  batchSize: null,
  rates: new Map(),
  cells: [],
  searched: new Map(),
  added: new Map(),
};

/**
 * The configurations of a phase in the order written: cells, then axes, the first axis varying slowest. An
 * equal-memory phase that writes out none has all that there are.
 */
export function configurations(phase: TieredPhase): Configuration[] {
  const searchesAll = phase.kind === "equal-memory" && !phase.cells &&
    Object.keys(phase.axes ?? {}).length === 0;
  let list: Omit<Configuration, "prunedBecause">[] = phase.cells?.map(({ label, ...settings }, i) => ({
    label,
    settings: mergeSettings(phase.defaults, settings),
    path: within(phase, "cells", i),
  })) ?? (searchesAll ? searchSpace() : [{ label: "", settings: {} }]).map(({ label, settings }) => ({
    label,
    settings: mergeSettings(phase.defaults, settings),
    path: phase.path,
  }));
  for (const [field, values] of Object.entries(phase.axes ?? {})) {
    list = list.flatMap(({ label, settings }) =>
      values!.map((value, i) => ({
        label: [label, axisLabel(field, value)].filter((part) => part).join(", "),
        settings: mergeSettings(settings, { [field]: value }),
        path: within(phase, "axes", field, i),
      }))
    );
  }
  return list
    .filter(({ settings }) => !phase.include || phase.include.some((partial) => matches(settings, partial)))
    .filter(({ settings }) => !phase.exclude?.some((partial) => matches(settings, partial)))
    .map((one) => ({
      ...one,
      label: one.label || phase.name,
      prunedBecause: phase.prune?.find(({ where }) => matches(one.settings, where))?.because ?? null,
    }));
}

/** Where something of a phase stands; a phase of another suite stands where it is named. */
export function within({ path }: Pick<TieredPhase, "path">, ...keys: (string | number)[]): KeyPath {
  return path[0] === "phases" ? [...path, ...keys] : path;
}

/** Whether settings have every value a partial names; fields left out have their defaults. */
function matches(settings: Settings, partial: Settings): boolean {
  return Object.entries(partial).every(([name, wanted]) => {
    const field = name as keyof Settings;
    const { names, default: usual } = SETTINGS[field];
    const text = (value: unknown) =>
      canonicalJson(names === "method" ? [...value as string[]].sort() : value);
    return text(settings[field] ?? usual) === text(wanted);
  });
}

function axisLabel(field: string, value: unknown): string {
  const { names, axis = field } = SETTINGS[field as keyof Settings];
  if (names === "method") return methodsLabel(value as string[]);
  if (names === "optimizer") return OPTIMIZERS.find(({ id }) => id === value)?.label ?? String(value);
  return `${axis} ${typeof value === "object" ? canonicalJson(value) : value}`.trimStart();
}

/** Whether a decision is still missing that the phase takes from a sweep before it, and which. */
export function missingDecision(phase: TieredPhase, { batchSize, rates }: Known): string | null {
  for (const { settings } of configurations(phase)) {
    if (settings.effectiveBatchSize === "chosen" && batchSize === null) {
      return "the batch size that the sweep before it decides";
    }
    const optimizer = optimizerOf(settings);
    if (settings.learningRate === "tuned" && !tunedRate(optimizer, rates)) {
      return `the learning rate of ${optimizer} that the sweep before it decides`;
    }
  }
  return null;
}

/**
 * The cells of a phase, round by round: repeat by repeat and seed by seed, every configuration once (A B A B,
 * not A A B B), so that a machine that slows down slows all of them. Cells that a rule prunes are there once.
 * Of an equal-memory phase those that its search has come to, of an adaptive one those that it has added.
 *
 * @throws {InputError} for a configuration that cannot be.
 */
export function expandPhase(phase: TieredPhase, known: Known = NOTHING_KNOWN): Cell[] {
  const added = known.added.get(phase.name) ?? [];
  if (phase.kind === "equal-memory") {
    const { search = [], judged } = known.searched.get(phase.name) ?? {};
    return [...search, ...judged ?? [], ...added];
  }
  const list = configurations(phase);
  const cells = new Map<string, Cell>();
  const seeds = phase.seeds ?? [undefined];
  for (let repeat = 0; repeat < phase.repeats; repeat++) {
    for (const seed of seeds) {
      const first = repeat === 0 && seed === seeds[0];
      for (const { label, settings, prunedBecause } of list) {
        if (prunedBecause !== null && !first) continue;
        const cell = cellOf(phase, { label, prunedBecause, repeat, config: resolve(settings, seed, known) });
        // Rungs of a ladder can fall together at some chosen batch sizes: the first label stands.
        if (!cells.has(cell.id)) cells.set(cell.id, cell);
      }
    }
  }
  return [...cells.values(), ...added];
}

/**
 * Settings of a configuration with seed, decisions and the cell to start from applied. @throws {InputError}
 */
export function resolve(settings: Settings, seed: number | undefined, known: Known): RunConfig {
  const resolved: Settings = seed === undefined ? { ...settings } : { ...settings, seed };
  if (settings.effectiveBatchSize === "chosen") {
    if (known.batchSize === null) {
      throw new InputError("effectiveBatchSize is chosen, but no batch sweep has decided it");
    }
    resolved.effectiveBatchSize = known.batchSize;
  }
  if (settings.learningRate === "tuned") {
    const tuned = tunedRate(optimizerOf(settings), known.rates);
    if (!tuned) throw new InputError("learningRate is tuned, but no rate sweep has decided it");
    resolved.learningRate = tuned.rate;
    // The rule scales from where the rate was found.
    resolved.learningRateBatchSize = tuned.effectiveBatchSize;
  }
  if (typeof settings.startFrom === "object" && settings.startFrom !== null) {
    resolved.startFrom = sourceOf(settings.startFrom, resolved, known.cells).id;
  }
  return resolveSettings(resolved);
}

/** The rate decided for an optimizer, or else for the one whose update it makes. */
export function tunedRate(optimizer: string, rates: Known["rates"]): TunedRate | undefined {
  return rates.get(optimizer) ?? rates.get(OPTIMIZERS.find(({ id }) => id === optimizer)?.sameUpdateAs ?? "");
}

/** The cell that a reference means: of the same seed, and its first repeat. @throws {InputError} */
function sourceOf({ phase, label }: CellReference, settings: Settings, cells: readonly Cell[]): Cell {
  const named = cells.filter((cell) => cell.phase === phase && cell.label === label);
  const seed = settings.seed ?? SETTINGS.seed.default;
  const source = named.find(({ config, repeat }) => config.seed === seed && repeat === 0);
  const refuse = (why: string) => new InputError(`Cannot start from cell ${label} of phase ${phase}: ${why}`);
  if (!source) {
    if (named.length > 0) throw refuse(`it has no seed ${seed}`);
    const labels = [...new Set(cells.filter((cell) => cell.phase === phase).map((cell) => cell.label))];
    const known = labels.length > 0 ? labels : [...new Set(cells.map((cell) => cell.phase))];
    throw refuse(
      labels.length > 0
        ? `there is none, expected ${known.join(", ")}${didYouMean(label, known)}`
        : `there is no such phase before this one, expected ${known.join(", ") || "one"}${
          didYouMean(phase, known)
        }`,
    );
  }
  if (source.kind === "planned") throw refuse("it is planned, not trained");
  if (source.prunedBecause !== null) throw refuse("a rule prunes it");
  if (trainsAdapters(source.config.methods)) {
    throw refuse("it trains adapters, expected one that trains the model");
  }
  if (source.config.model !== settings.model) {
    throw refuse(`it trains ${source.config.model}, this cell ${settings.model}: expected the same model`);
  }
  return source;
}

/** A cell of a phase. */
export function cellOf(
  phase: TieredPhase,
  { label, prunedBecause, repeat, config, role }: Pick<
    Cell,
    "label" | "prunedBecause" | "repeat" | "config" | "role"
  >,
): Cell {
  return {
    id: cellId(phase.name, repeat, config),
    kind: phase.kind === "plan" ? "planned" : "trained",
    phase: phase.name,
    label,
    repeat,
    config,
    prunedBecause,
    warmupSteps: Math.min(phase.timing.warmupSteps, config.steps - 1),
    timeoutSeconds: phase.timeoutSeconds,
    divergenceFactor: phase.divergenceFactor,
    profile: phase.profile ?? false,
    ...role !== undefined && { role },
  };
}

/**
 * Twelve hex digits of the sha256 of phase, repeat, numerics and configuration: the same on every machine.
 * Settings that are younger than ids count where they are used alone.
 */
export function cellId(
  phase: string,
  repeat: number,
  whole: RunConfig,
  numerics: number = NUMERICS,
): string {
  const table: SettingTable = RUN_SETTINGS;
  const counts = ([name, value]: [string, unknown]) =>
    !table[name]?.late || canonicalJson(value) !== canonicalJson(table[name].default);
  const config = Object.fromEntries(Object.entries(whole).filter(counts));
  return createHash("sha256").update(canonicalJson({ phase, repeat, numerics, config })).digest("hex").slice(
    0,
    12,
  );
}

/** One of `count` parts of a matrix; `index` counts from 1. */
export interface Shard {
  index: number;
  count: number;
}

/** `2/4` → the second of four. @throws {InputError} */
export function parseShard(text: string): Shard {
  const [, index, count] = (text.match(/^(\d+)\/(\d+)$/) ?? []).map(Number);
  if (index >= 1 && index <= count) return { index, count };
  throw new InputError(`Cannot use --shard ${text}: expected I/N with I from 1 to N, as 2/4`);
}

/**
 * Whether a cell belongs to a shard. By id, so that it depends on neither order
 * nor number of the other cells.
 *
 * @param id Of the cell; of the first cell of its chain, so that a chain stays together.
 */
export function inShard(id: string, { index, count }: Shard): boolean {
  return parseInt(id.slice(0, 8), 16) % count === index - 1;
}

/** The shard of who runs nothing and decides what the records of others decide. */
export const NOTHING_IS_MINE: Shard = { index: 0, count: 1 };

/** Says whether a cell is wanted. */
export type Filter = (cell: Cell) => boolean;

const FILTER_FIELDS: Readonly<Record<string, (cell: Cell) => unknown>> = {
  id: ({ id }) => id,
  phase: ({ phase }) => phase,
  label: ({ label }) => label,
  repeat: ({ repeat }) => repeat,
  role: ({ role = "" }) => role,
  effectiveBatchSize: ({ config }) => effectiveBatchSize(config),
};

/**
 * Reads `field=value,field!=value,field~text`: all must hold. Fields are those of the configuration and `id`,
 * `phase`, `label`, `repeat`, `role`; `methods` reads as `checkpoint+fp16`, and as nothing for the baseline.
 *
 * @throws {InputError} for an unknown field or operator.
 */
export function parseFilter(text: string): Filter {
  const tests = text.split(",").map((part) => {
    const [, field, operator, wanted] = part.trim().match(/^(\w+)\s*(!=|=|~)\s*(.*)$/) ?? [];
    if (!field) {
      throw new InputError(`Cannot read --filter ${part}: expected field=value, field!=value or field~text`);
    }
    const known = [...Object.keys(FILTER_FIELDS), ...Object.keys(RUN_SETTINGS)];
    if (!known.includes(field)) {
      throw new InputError(
        `Unknown field ${field} in --filter: expected ${known.join(", ")}${didYouMean(field, known)}`,
      );
    }
    const read = FILTER_FIELDS[field] ?? (({ config }: Cell) => config[field as keyof RunConfig]);
    return (cell: Cell) => {
      const value = read(cell);
      const shown = Array.isArray(value)
        ? value.join("+")
        : typeof value === "object"
        ? canonicalJson(value)
        : `${value}`;
      if (operator === "~") return shown.includes(wanted);
      const same = shown === wanted ||
        (typeof value === "number" && wanted !== "" && value === Number(wanted));
      return same === (operator === "=");
    };
  });
  return (cell) => tests.every((test) => test(cell));
}
