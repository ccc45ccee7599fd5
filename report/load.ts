/** Records in. The only file of the report that reads the disk. */
import { basename, join, resolve } from "node:path";
import type { CellRecord, RunRecord } from "../results/record.ts";
import { InputError } from "./input_error.ts";
import { asCellRecord, asRunRecord } from "./validate.ts";

/** A cell the run announced that has no usable record. */
export interface Gap {
  id: string;
  phase: string;
  label: string;
  /** What was found in place of a record. */
  problem: string;
}

/** A run folder as read: its records, and what is not there. */
export interface LoadedRun {
  dir: string;
  /** Last part of the folder's path: how a run is told from others. */
  name: string;
  run: RunRecord;
  /** In the order of `run.cells`. */
  cells: CellRecord[];
  /** Announced cells that have not run (yet). */
  missing: Gap[];
  /** Files that end too early or are not JSON: written while the machine stopped. */
  unreadable: Gap[];
}

async function readText(path: string): Promise<string | null> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) return null;
    throw error;
  }
}

function parse(text: string): { value: unknown } | { problem: string } {
  if (text.trim() === "") return { problem: "the file is empty" };
  try {
    return { value: JSON.parse(text) };
  } catch {
    // Not the parser's message: its words change with the engine, and the page must not.
    return { problem: `not complete JSON (${text.length} characters)` };
  }
}

/**
 * Reads `run.json` and the cells it names.
 *
 * @throws InputError where `run.json` is absent or malformed, where a record has an unknown version, or where a field is not
 * what the contract says. Cell files that are cut off are listed in `unreadable`, not thrown.
 */
export async function loadRun(dir: string): Promise<LoadedRun> {
  const runFile = join(dir, "run.json");
  const runText = await readText(runFile);
  if (runText === null) throw new InputError(`Cannot read ${runFile}: no such file, expected a run folder`);
  const parsed = parse(runText);
  if ("problem" in parsed) throw new InputError(`Cannot read ${runFile}: ${parsed.problem}`);
  const run = asRunRecord(parsed.value, runFile);
  const loaded: LoadedRun = {
    dir,
    name: basename(resolve(dir)),
    run,
    cells: [],
    missing: [],
    unreadable: [],
  };
  const seen = new Set<string>();
  for (const [index, entry] of run.cells.entries()) {
    if (seen.has(entry.id)) {
      throw new InputError(`Cannot read ${runFile}: field cells[${index}].id is "${entry.id}" a second time`);
    }
    seen.add(entry.id);
    await loadCell(loaded, entry);
  }
  return loaded;
}

async function loadCell(loaded: LoadedRun, entry: RunRecord["cells"][number]): Promise<void> {
  const file = join(loaded.dir, "cells", `${entry.id}.json`);
  const text = await readText(file);
  if (text === null) {
    loaded.missing.push({ ...entry, problem: "no record" });
    return;
  }
  const parsed = parse(text);
  if ("problem" in parsed) {
    loaded.unreadable.push({ ...entry, problem: parsed.problem });
    return;
  }
  const cell = asCellRecord(parsed.value, file);
  if (cell.id !== entry.id) {
    throw new InputError(`Cannot read ${file}: field id is "${cell.id}", expected "${entry.id}"`);
  }
  loaded.cells.push(cell);
}
