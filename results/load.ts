/** Records in. The only file of the report that asks for what is on disk. */
import { basename, resolve } from "node:path";
import { readCell, readRun, runFile } from "./files.ts";
import type { CellRecord, RunRecord } from "./record.ts";
import { InputError } from "../engine/input_error.ts";

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

/**
 * Reads `run.json` and the cells it names.
 *
 * @throws InputError where `run.json` is absent or malformed, where a record has an unknown version, or where
 * a field is not what the contract says. Cell files that are cut off are listed in `unreadable`, not thrown.
 */
export async function loadRun(dir: string): Promise<LoadedRun> {
  const run = await readRun(dir).catch((error) => {
    if (error instanceof Deno.errors.NotADirectory) return null;
    throw error;
  });
  if (run === null) throw new InputError(`Cannot read ${runFile(dir)}: no such file, expected a run folder`);
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
      throw new InputError(
        `Cannot read ${runFile(dir)}: field cells[${index}].id is "${entry.id}" a second time`,
      );
    }
    seen.add(entry.id);
    await loadCell(loaded, entry);
  }
  return loaded;
}

async function loadCell(loaded: LoadedRun, entry: RunRecord["cells"][number]): Promise<void> {
  const file = await readCell(loaded.dir, entry.id);
  switch (file.state) {
    case "whole":
      return void loaded.cells.push(file.cell);
    case "absent":
      return void loaded.missing.push({ ...entry, problem: "no record" });
    case "cut off":
      return void loaded.unreadable.push({ ...entry, problem: file.problem });
    case "malformed":
      throw file.error;
  }
}
