/** What records of earlier versions lack, as far as it is known. Nothing else knows earlier versions. */
import { environmentKey, vectorWidthOf } from "./environment.ts";
import { type Environment, type PhaseShows, RECORD_VERSION } from "./record.ts";

type Json = Record<string, unknown>;

/** Numerics of all that was recorded before they had a number; they differ among those, too. */
const NUMERICS_OF_VERSION_1 = 1;

/**
 * A cell of version 1 as one of this version. What is wrong with it stays wrong, for the check to find.
 *
 * Every cell that ran had a process of its own (docs/decisions/0006), which the id of that cell stands for;
 * rounds were repeats. Ids stay what they were: hashes without numerics.
 */
export function migrateCell(cell: Json): Json {
  if (cell.recordVersion === RECORD_VERSION) return cell;
  const ran = typeof cell.wallMs === "number" && cell.wallMs > 0;
  return {
    ...migrated(cell),
    process: ran ? cell.sameRunAs ?? cell.id : null,
    round: cell.repeat,
  };
}

/** A run of version 1, or of the first runs of version 2, as one of this version. */
export function migrateRun(run: Json): Json {
  const whole = run.recordVersion === RECORD_VERSION ? run : migrated(run);
  return Array.isArray(whole.phases) ? { ...whole, phases: whole.phases.map(migratedPhase) } : whole;
}

/** What a phase showed by its name, before it could say so. */
const SHOWN_BY_NAME: Readonly<Record<string, PhaseShows>> = {
  "single": "single-methods",
  "ladder": "method-ladder",
  "factorial": "method-combinations",
  "per-batch-size": "batch-size-effects",
  "overflow": "overflow-recovery",
  "attention": "attention-lengths",
  "optimizers": "optimizer-convergence",
  "guide": "guide-table",
  "guide-full-size": "guide-table",
  "3b": "three-billion-plan",
  "llama2-7b": "llama-7b-plan",
  "scaling-parameters": "growth-with-parameters",
  "scaling-sequence": "growth-with-sequence",
  "scaling-batch": "growth-with-batch",
};

function migratedPhase(phase: unknown): unknown {
  if (typeof phase !== "object" || phase === null || "shows" in phase) return phase;
  const { name } = phase as { name?: unknown };
  return { ...phase, shows: typeof name === "string" && Object.hasOwn(SHOWN_BY_NAME, name) ? SHOWN_BY_NAME[name] : null };
}

function migrated(record: Json): Json {
  return {
    ...record,
    recordVersion: RECORD_VERSION,
    numerics: NUMERICS_OF_VERSION_1,
    environment: migratedEnvironment(record.environment),
  };
}

/**
 * Neither work tree nor card nor threads were recorded; the first records are from when wgpu was all there
 * was.
 */
function migratedEnvironment(environment: unknown): unknown {
  if (typeof environment !== "object" || environment === null) return environment;
  const old = environment as Environment;
  const whole = {
    ...old,
    gpuProvider: old.gpuProvider ?? "wgpu",
    gpuProviderVersion: old.gpuProviderVersion ?? "wgpu, the only one when this was recorded",
    threads: null,
    vectorWidth: old.software ? vectorWidthOf(String(old.adapter)) : null,
    card: null,
    tree: null,
  };
  return { ...whole, key: environmentKey(whole) };
}
