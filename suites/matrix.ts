import { createHash } from "node:crypto";
import { InputError } from "../engine/input_error.ts";
import type { RunConfig } from "../results/record.ts";
import { didYouMean } from "./did_you_mean.ts";
import { methodsLabel, OPTIMIZERS } from "./methods.ts";
import { effectiveBatchSize, FIELDS, mergeSettings, resolveSettings, type Settings } from "./run_config.ts";
import type { TieredPhase } from "./suite.ts";
import type { KeyPath } from "./suite_source.ts";

/** One cell of a matrix: a configuration to run, with what its phase says of running it. */
export interface Cell {
  id: string;
  phase: string;
  label: string;
  repeat: number;
  config: RunConfig;
  /** Steps at the start that timing leaves out. */
  warmupSteps: number;
  timeoutSeconds: number;
  divergenceFactor: number;
}

/** A configuration of a phase before seeds and repeats. */
export interface Configuration {
  label: string;
  settings: Settings;
  /** Where it comes from, in the suite. */
  path: KeyPath;
}

/** The configurations of a phase in the order written: cells, then axes, the first axis varying slowest. */
export function configurations(phase: TieredPhase): Configuration[] {
  let list: Configuration[] = phase.cells?.map(({ label, ...settings }, i) => ({
    label,
    settings: mergeSettings(phase.defaults, settings),
    path: [...phase.path, "cells", i],
  })) ?? [{ label: "", settings: phase.defaults, path: phase.path }];
  for (const [field, values] of Object.entries(phase.axes ?? {})) {
    list = list.flatMap(({ label, settings }) =>
      values!.map((value, i) => ({
        label: [label, axisLabel(field, value)].filter((part) => part).join(", "),
        settings: mergeSettings(settings, { [field]: value }),
        path: [...phase.path, "axes", field, i],
      }))
    );
  }
  return list
    .filter(({ settings }) => !phase.include || phase.include.some((partial) => matches(settings, partial)))
    .filter(({ settings }) => !phase.exclude?.some((partial) => matches(settings, partial)))
    .map((one) => ({ ...one, label: one.label || phase.name }));
}

/** Whether settings have every value a partial names; fields left out have their defaults. */
function matches(settings: Settings, partial: Settings): boolean {
  return Object.entries(partial).every(([field, wanted]) => {
    const value = settings[field as keyof Settings] ??
      (field === "methods" ? [] : FIELDS[field as keyof Settings].default);
    if (field === "methods") {
      return canonicalJson([...value as string[]].sort()) === canonicalJson([...wanted].sort());
    }
    return canonicalJson(value ?? null) === canonicalJson(wanted);
  });
}

function axisLabel(field: string, value: unknown): string {
  switch (field) {
    case "effectiveBatchSize":
      return `batch ${value}`;
    case "microBatchSize":
      return `micro-batch ${value}`;
    case "sequenceLength":
      return `T ${value}`;
    case "learningRate":
      return `lr ${value}`;
    case "methods":
      return methodsLabel(value as string[]);
    case "optimizer":
      return OPTIMIZERS.find(({ id }) => id === value)?.label ?? String(value);
    case "model":
    case "data":
      return String(value);
    default:
      return `${field} ${typeof value === "object" ? canonicalJson(value) : value}`;
  }
}

/** Whether the phase takes its batch size from the sweep before it. */
export function usesDecision(phase: TieredPhase): boolean {
  return configurations(phase).some(({ settings }) => settings.effectiveBatchSize === "chosen");
}

/**
 * The cells of a phase in the order in which they run: repeat by repeat and seed by seed, every configuration once in
 * each round (A B A B, not A A B B), so that a machine that slows down slows all of them.
 *
 * @param chosen The batch size decided by the sweep before, for phases that use it.
 * @throws {InputError} for a configuration that cannot be.
 */
export function expandPhase(phase: TieredPhase, chosen: number | null): Cell[] {
  const list = configurations(phase);
  const cells = new Map<string, Cell>();
  for (let repeat = 0; repeat < phase.repeats; repeat++) {
    for (const seed of phase.seeds ?? [undefined]) {
      for (const { label, settings } of list) {
        const cell = cellOf(phase, label, repeat, resolve(settings, seed, chosen));
        // Rungs of a ladder can fall together at some chosen batch sizes: the first label stands.
        if (!cells.has(cell.id)) cells.set(cell.id, cell);
      }
    }
  }
  return [...cells.values()];
}

/** Settings of a configuration with seed and decision applied. @throws {InputError} */
export function resolve(settings: Settings, seed: number | undefined, chosen: number | null): RunConfig {
  const withSeed = seed === undefined ? settings : { ...settings, seed };
  if (settings.effectiveBatchSize !== "chosen") return resolveSettings(withSeed);
  if (chosen === null) {
    throw new InputError("effectiveBatchSize is chosen, but no batch sweep has decided it");
  }
  return resolveSettings({ ...withSeed, effectiveBatchSize: chosen });
}

function cellOf(phase: TieredPhase, label: string, repeat: number, config: RunConfig): Cell {
  return {
    id: cellId(phase.name, repeat, config),
    phase: phase.name,
    label,
    repeat,
    config,
    warmupSteps: Math.min(phase.timing.warmupSteps, config.steps - 1),
    timeoutSeconds: phase.timeoutSeconds,
    divergenceFactor: phase.divergenceFactor,
  };
}

/** Twelve hex digits of the sha256 of phase, repeat and configuration: the same on every machine. */
export function cellId(phase: string, repeat: number, config: RunConfig): string {
  return createHash("sha256").update(canonicalJson({ phase, repeat, config })).digest("hex").slice(0, 12);
}

/** JSON with sorted keys and no white space. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value ?? null);
  const entries = Object.entries(value).filter(([, item]) => item !== undefined).sort(([a], [b]) =>
    a < b ? -1 : 1
  );
  return `{${entries.map(([key, item]) => `${JSON.stringify(key)}:${canonicalJson(item)}`).join(",")}}`;
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

/** Whether a cell belongs to a shard. By id, so that it depends on neither order nor number of the other cells. */
export function inShard(id: string, { index, count }: Shard): boolean {
  return parseInt(id.slice(0, 8), 16) % count === index - 1;
}

/** Says whether a cell is wanted. */
export type Filter = (cell: Cell) => boolean;

const FILTER_FIELDS: Readonly<Record<string, (cell: Cell) => unknown>> = {
  id: ({ id }) => id,
  phase: ({ phase }) => phase,
  label: ({ label }) => label,
  repeat: ({ repeat }) => repeat,
  effectiveBatchSize: ({ config }) => effectiveBatchSize(config),
};

/**
 * Reads `field=value,field!=value,field~text`: all must hold. Fields are those of the configuration and `id`, `phase`,
 * `label`, `repeat`; `methods` reads as `checkpoint+fp16`, and as nothing for the baseline.
 *
 * @throws {InputError} for an unknown field or operator.
 */
export function parseFilter(text: string): Filter {
  const tests = text.split(",").map((part) => {
    const [, field, operator, wanted] = part.trim().match(/^(\w+)\s*(!=|=|~)\s*(.*)$/) ?? [];
    if (!field) {
      throw new InputError(`Cannot read --filter ${part}: expected field=value, field!=value or field~text`);
    }
    const known = [
      ...Object.keys(FILTER_FIELDS),
      ...Object.keys(FIELDS).filter((name) => !/^tokens$|Rule|RateBatch/.test(name)),
    ];
    if (!known.includes(field)) {
      throw new InputError(
        `Unknown field ${field} in --filter: expected ${[...new Set(known)].join(", ")}${
          didYouMean(field, known)
        }`,
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
