import { dirname, join } from "node:path";
import { InputError } from "../engine/input_error.ts";
import { asCellRecord, asRunRecord } from "./check.ts";
import type { CellRecord, RunRecord } from "./record.ts";

/**
 * The one writer and reader of a run folder: `run.json` and `cells/<id>.json`. Files appear whole or not at
 * all, so a run that is killed at any moment leaves a folder that can be read and resumed.
 */

/** Path of `run.json` in a run folder. */
export function runFile(folder: string): string {
  return join(folder, "run.json");
}

/** Path of a cell's record in a run folder. */
export function cellFile(folder: string, id: string): string {
  return join(folder, "cells", `${id}.json`);
}

/**
 * Writes a value as JSON under a temporary name beside the file, flushes it, then renames it over the file.
 */
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

/** What lies where a cell's record is to be. */
export type CellFile =
  | { state: "whole"; cell: CellRecord }
  | { state: "absent" }
  /** Not complete JSON: written while the machine stopped. */
  | { state: "cut off"; problem: string }
  /** Not a record as the contract has it. */
  | { state: "malformed"; error: InputError };

/**
 * `run.json` of a folder, or null where there is none. As every reader here it takes records of earlier
 * versions and gives them as of this one.
 *
 * @throws {InputError} naming file and field where it is not the record of a run.
 */
export async function readRun(folder: string): Promise<RunRecord | null> {
  const path = runFile(folder);
  const json = await readJson(path);
  if (json === null) return null;
  if ("problem" in json) throw new InputError(`Cannot read ${path}: ${json.problem}`);
  return asRunRecord(json.value, path);
}

/** The record of a cell in a folder. */
export async function readCell(folder: string, id: string): Promise<CellFile> {
  const path = cellFile(folder, id);
  const json = await readJson(path);
  if (json === null) return { state: "absent" };
  if ("problem" in json) return { state: "cut off", problem: json.problem };
  try {
    const cell = asCellRecord(json.value, path);
    if (cell.id === id) return { state: "whole", cell };
    throw new InputError(`Cannot read ${path}: field id is "${cell.id}", expected "${id}"`);
  } catch (error) {
    if (error instanceof InputError) return { state: "malformed", error };
    throw error;
  }
}

/** All cell records of a folder by id, and one sentence for each file that is none. */
export async function readCells(
  folder: string,
): Promise<{ cells: Map<string, CellRecord>; unreadable: string[] }> {
  const cells = new Map<string, CellRecord>();
  const unreadable: string[] = [];
  for (const name of (await namesIn(join(folder, "cells"))).filter((name) => name.endsWith(".json")).sort()) {
    const file = await readCell(folder, name.slice(0, -".json".length));
    if (file.state === "whole") cells.set(file.cell.id, file.cell);
    if (file.state === "cut off") {
      unreadable.push(`Cannot read ${join(folder, "cells", name)}: ${file.problem}`);
    }
    if (file.state === "malformed") unreadable.push(file.error.message);
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

async function readJson(path: string): Promise<{ value: unknown } | { problem: string } | null> {
  let text: string;
  try {
    text = await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
  if (text.trim() === "") return { problem: "the file is empty" };
  try {
    return { value: JSON.parse(text) };
  } catch {
    // Not the parser's message: its words change with the engine, and the report must not.
    return { problem: `not complete JSON (${text.length} characters)` };
  }
}
