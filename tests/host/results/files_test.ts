import assert from "node:assert/strict";
import { join } from "node:path";
import { syntheticRun } from "../report/synthetic_run.ts";
import { cellFile, readCells, readRun, writeJsonAtomically } from "../../../results/files.ts";

async function inFolder(test: (folder: string) => Promise<void>) {
  const folder = await Deno.makeTempDir();
  try {
    await test(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("writeJsonAtomically() writes the whole value and leaves no temporary file", () =>
  inFolder(async (folder) => {
    const value = { text: "ä".repeat(300_000), list: [1, null, 2.5] };
    const path = join(folder, "deep", "file.json");
    await writeJsonAtomically(path, value);
    assert.deepEqual(JSON.parse(await Deno.readTextFile(path)), value);
    assert.deepEqual((await Array.fromAsync(Deno.readDir(join(folder, "deep")))).map(({ name }) => name), [
      "file.json",
    ]);
  }));

Deno.test("writeJsonAtomically() never shows a half-written file to a reader", () =>
  inFolder(async (folder) => {
    const path = join(folder, "file.json");
    const big = (n: number) => ({ n, padding: "x".repeat(2_000_000) });
    await writeJsonAtomically(path, big(0));
    let done = false;
    const writing = (async () => {
      for (let n = 1; n <= 15; n++) await writeJsonAtomically(path, big(n));
      done = true;
    })();
    let reads = 0;
    while (!done) {
      assert.equal(JSON.parse(await Deno.readTextFile(path)).padding.length, 2_000_000);
      reads++;
    }
    await writing;
    assert.ok(reads > 1, `only ${reads} reads: the test saw nothing`);
  }));

Deno.test("writeJsonAtomically() keeps the old file when the new value cannot be written", () =>
  inFolder(async (folder) => {
    const path = join(folder, "file.json");
    await writeJsonAtomically(path, { good: true });
    const cyclic: Record<string, unknown> = {};
    cyclic.self = cyclic;
    await assert.rejects(() => writeJsonAtomically(path, cyclic), TypeError);
    assert.deepEqual(JSON.parse(await Deno.readTextFile(path)), { good: true });
    assert.deepEqual((await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name), ["file.json"]);
  }));

const [RECORD] = syntheticRun({ batches: [1], seeds: [0], tokens: 512 }).cells;

Deno.test("readCells() takes whole records and says of each other file why it is none", () =>
  inFolder(async (folder) => {
    const write = (id: string, value: unknown) => writeJsonAtomically(cellFile(folder, id), value);
    await write("aaaaaaaaaaaa", { ...RECORD, id: "aaaaaaaaaaaa" });
    await write("bbbbbbbbbbbb", { ...RECORD, id: "bbbbbbbbbbbb", recordVersion: 99 });
    await write("cccccccccccc", { ...RECORD, id: "dddddddddddd" });
    await write("dddddddddddd", { recordVersion: 2, id: "dddddddddddd" });
    await Deno.writeTextFile(cellFile(folder, "eeeeeeeeeeee"), '{"recordVersion": 2, "id": "eee');
    await Deno.writeTextFile(`${cellFile(folder, "ffffffffffff")}.1.tmp`, "{");
    const { cells, unreadable } = await readCells(folder);
    assert.deepEqual([...cells.keys()], ["aaaaaaaaaaaa"]);
    assert.deepEqual(unreadable.map((problem) => problem.replace(join(folder, "cells"), "CELLS")), [
      "Cannot read CELLS/bbbbbbbbbbbb.json: field recordVersion is 99, expected 1 or 2",
      'Cannot read CELLS/cccccccccccc.json: field id is "dddddddddddd", expected "cccccccccccc"',
      "Cannot read CELLS/dddddddddddd.json: field kind is missing, expected one of trained, planned",
      "Cannot read CELLS/eeeeeeeeeeee.json: not complete JSON (31 characters)",
    ]);
  }));

Deno.test("readRun() is null without a run, and refuses a file of another version", () =>
  inFolder(async (folder) => {
    assert.equal(await readRun(folder), null);
    await writeJsonAtomically(join(folder, "run.json"), { recordVersion: 7 });
    await assert.rejects(() => readRun(folder), /field recordVersion is 7, expected 1 or 2/);
  }));
