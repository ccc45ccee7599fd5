import { dirname, join } from "node:path";
import { type CellRecord, RECORD_VERSION, type RunRecord } from "./record.ts";

/**
 * A run folder on disk: `run.json` and `cells/<id>.json`. Files appear whole or not at all, so a run that is killed at any
 * moment leaves a folder that can be read and resumed.
 */

/** Path of `run.json` in a run folder. */
export function runFile(folder: string): string {
  return join(folder, "run.json");
}

/** Path of a cell's record in a run folder. */
export function cellFile(folder: string, id: string): string {
  return join(folder, "cells", `${id}.json`);
}

/** Writes a value as JSON under a temporary name beside the file, flushes it, then renames it over the file. */
export async function writeJsonAtomically(path: string, value: unknown): Promise<void> {
  await Deno.mkdir(dirname(path), { recursive: true });
  const temporary = `${path}.${Deno.pid}.tmp`;
  const bytes = new TextEncoder().encode(`${JSON.stringify(value, null, 1)}\n`);
  try {
    using file = await Deno.open(temporary, { write: true, create: true, truncate: true });
    for (let written = 0; written < bytes.length;) written += await file.write(bytes.subarray(written));
    await file.sync();
  } catch (error) {
    await Deno.remove(temporary).catch(() => {});
    throw error;
  }
  await Deno.rename(temporary, path);
}

/** Writes or replaces a cell's record. */
export function writeCell(folder: string, record: CellRecord): Promise<void> {
  return writeJsonAtomically(cellFile(folder, record.id), record);
}

/** Writes or replaces `run.json`. */
export function writeRun(folder: string, run: RunRecord): Promise<void> {
  return writeJsonAtomically(runFile(folder), run);
}

/** `run.json` of a folder, or null where there is none. @throws {SyntaxError} where it is not a record of this version. */
export async function readRun(folder: string): Promise<RunRecord | null> {
  const run = await readJson(runFile(folder)) as RunRecord | null;
  if (run !== null) requireVersion(run, runFile(folder));
  return run;
}

/** All cell records of a folder by id; files that are not whole records of this version are left out and named. */
export async function readCells(folder: string): Promise<{ cells: Map<string, CellRecord>; unreadable: string[] }> {
  const cells = new Map<string, CellRecord>();
  const unreadable: string[] = [];
  for (const name of (await namesIn(join(folder, "cells"))).filter((name) => name.endsWith(".json")).sort()) {
    const path = join(folder, "cells", name);
    try {
      const cell = await readJson(path) as CellRecord;
      requireVersion(cell, path);
      if (`${cell.id}.json` !== name) throw new SyntaxError(`Cannot read ${path}: it holds the cell ${cell.id}`);
      cells.set(cell.id, cell);
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      unreadable.push(path);
    }
  }
  return { cells, unreadable };
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

async function readJson(path: string): Promise<unknown> {
  try {
    return JSON.parse(await Deno.readTextFile(path));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    if (error instanceof SyntaxError) throw new SyntaxError(`Cannot read ${path}: it is not complete JSON`);
    throw error;
  }
}

function requireVersion(record: { recordVersion: number } | null, path: string): void {
  if (record?.recordVersion === RECORD_VERSION) return;
  throw new SyntaxError(`Cannot read ${path}: record version ${record?.recordVersion}, expected ${RECORD_VERSION}`);
}
