/** What records of earlier versions lack, as far as it is known. Nothing else knows earlier versions. */
import { environmentKey, vectorWidthOf } from "./environment.ts";
import { type Environment, RECORD_VERSION } from "./record.ts";

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
  const ran = typeof cell.wallMs === "number" && cell.wallMs > 0;
  return {
    ...migrated(cell),
    process: ran ? cell.sameRunAs ?? cell.id : null,
    round: cell.repeat,
  };
}

/** A run of version 1 as one of this version. */
export function migrateRun(run: Json): Json {
  return migrated(run);
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
