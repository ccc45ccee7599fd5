/**
 * Runs of one suite that were made apart, as shards or part by part, put together as if one machine had run
 * them. Nothing is measured: what the records decide is decided here, by the runner's own rules.
 */
import { basename, join, resolve } from "node:path";
import { InputError } from "../engine/input_error.ts";
import { canonicalJson } from "../results/canonical_json.ts";
import { differences } from "../results/environment.ts";
import { readCells, readRun, writeCell, writeRun } from "../results/files.ts";
import { loadRun } from "../results/load.ts";
import type { CellRecord, RunRecord } from "../results/record.ts";
import { withModels } from "./hub_models.ts";
import { NOTHING_IS_MINE } from "./matrix.ts";
import { type RunListener, type RunOptions, runSuite } from "./runner.ts";
import { type SuiteFile, tieredSuite } from "./suite.ts";
import type { Tier } from "./schema.ts";

/** A run that is to be merged. */
export interface Part {
  folder: string;
  run: RunRecord;
  cells: CellRecord[];
}

/** A cell whose records in two folders say different things. */
export interface Conflict {
  id: string;
  label: string;
  folders: [string, string];
}

/** Reads run folders. @throws {InputError} for what is none, and for records that are not whole. */
export async function readParts(folders: readonly string[]): Promise<Part[]> {
  return await Promise.all(folders.map(async (folder) => {
    const { run } = await loadRun(folder);
    const { cells, unreadable } = await readCells(folder);
    if (unreadable.length > 0) throw new InputError(unreadable[0]);
    return { folder, run, cells: [...cells.values()] };
  }));
}

/**
 * In what runs differ that are not parts of one.
 *
 * @param mixed Whether machines, drivers, numerics and code may differ.
 * @throws {InputError} naming both folders, the field and both values.
 */
export function requireOneRun([first, ...others]: readonly Part[], mixed: boolean): void {
  for (const other of others) {
    const refuse = (what: string, one: unknown, two: unknown) => {
      throw new InputError(
        `Cannot merge ${first.folder} and ${other.folder}: ${what} is ${one} in the first, ${two} in the second` +
          (mixed
            ? ""
            : "; --allow-mixed merges runs of other machines, drivers or code, which the report says"),
      );
    };
    for (const field of ["suite", "suiteHash", "tier", "quick"] as const) {
      if (first.run[field] !== other.run[field]) refuse(field, first.run[field], other.run[field]);
    }
    const [difference] = differences(first.run, other.run);
    if (difference && !mixed) refuse(difference.what, difference.before, difference.now);
  }
}

/**
 * All cells of the parts by id, each once. A cell that was killed in one part gives way to its record in
 * another; of records that differ otherwise none is taken.
 */
export function unite(parts: readonly Part[]): { cells: Map<string, CellRecord>; conflicts: Conflict[] } {
  const found = new Map<string, { cell: CellRecord; folder: string }>();
  const conflicts: Conflict[] = [];
  for (const { folder, cells } of parts) {
    for (const cell of cells) {
      const before = found.get(cell.id);
      if (before === undefined || before.cell.status === "killed" && cell.status !== "killed") {
        found.set(cell.id, { cell, folder });
      } else if (cell.status !== "killed" && canonicalJson(before.cell) !== canonicalJson(cell)) {
        conflicts.push({ id: cell.id, label: cell.label, folders: [before.folder, folder] });
      }
    }
  }
  return { cells: new Map([...found].map(([id, { cell }]) => [id, cell])), conflicts };
}

/** When the last of the cells ended, the same on whatever machine and whenever it is asked. */
function endOf(cells: Iterable<CellRecord>): string {
  const ends = [...cells].map(({ startedAt, wallMs }) => Date.parse(startedAt) + wallMs);
  return new Date(Math.max(...ends)).toISOString();
}

/** The command of a run without what made it a part. */
function wholeCommand(command: string): string {
  return command.replace(/ --(shard|out|filter|archive) ('[^']*'|\S+)/g, "").replace(
    / --(resume|until-decision)\b/g,
    "",
  );
}

/** What a merge made. */
export interface Merged {
  /** Cells that the suite has and no part. */
  missing: number;
  cells: number;
  notes: string[];
}

/**
 * Writes the merged run: whole under a name of its own first, so that `out` is a whole run or not there.
 *
 * @throws {InputError} where there is something at `out`.
 */
export async function mergeRuns(
  parts: readonly Part[],
  cells: ReadonlyMap<string, CellRecord>,
  { out, suite, engine }: { out: string; suite: SuiteFile; engine: RunOptions["engine"] },
): Promise<Merged> {
  if (await Deno.stat(out).then(() => true, () => false)) {
    throw new InputError(`Cannot merge into ${out} (--out): it is there already; choose another folder`);
  }
  // The earliest speaks for all, so that the order in which they are given says nothing.
  const [{ run: earliest }] = parts.toSorted((a, b) => orderOf(a) < orderOf(b) ? -1 : 1);
  const building = `${resolve(out)}.${Deno.pid}.tmp`;
  const notes: string[] = [];
  try {
    await Deno.mkdir(join(building, "cells"), { recursive: true });
    await Promise.all([...cells.values()].map((cell) => writeCell(building, cell)));
    const outcome = await runSuite({
      suite,
      tiered: withModels(tieredSuite(suite, earliest.tier as Tier, earliest.quick), earliest.hubModels ?? []),
      hubModels: earliest.hubModels ?? [],
      choice: { tier: earliest.tier as Tier, reason: earliest.tierReason, memoryBudgetBytes: null },
      quick: earliest.quick,
      command: wholeCommand(earliest.command),
      cellCommand: "",
      environment: earliest.environment,
      previous: earliest,
      out: building,
      lock: { renew: () => Promise.resolve(true) },
      shard: NOTHING_IS_MINE,
      filter: null,
      retry: new Set(),
      keepModels: true,
      memory: "process",
      baselineBytes: null,
      measureScript: new URL("measure.ts", import.meta.url),
      profile: false,
      engine,
      signal: new AbortController().signal,
      listener: quiet(notes),
    });
    const run = (await readRun(building))!;
    const whole = run.finishedAt !== null;
    await writeRun(building, { ...run, finishedAt: whole ? endOf(outcome.records) : null });
    await Deno.rename(building, out);
    const missing = run.cells.filter(({ id }) => !cells.has(id)).length;
    return { missing: whole ? 0 : Math.max(1, missing), cells: cells.size, notes: whole ? [] : notes };
  } catch (error) {
    await Deno.remove(building, { recursive: true }).catch(() => {});
    throw error;
  }
}

const orderOf = ({ run, folder }: Part) => `${run.startedAt} ${basename(resolve(folder))}`;

/** Keeps what the runner has to say, for the case that something is missing. */
function quiet(notes: string[]): RunListener {
  return {
    onCell() {},
    onMessage() {},
    onRecord() {},
    onDecision() {},
    onNote: (text) => notes.push(text),
  };
}
