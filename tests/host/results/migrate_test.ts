import assert from "node:assert/strict";
import { join } from "node:path";
import { loadRun } from "../../../results/load.ts";
import { asCellRecord, asRunRecord } from "../../../results/check.ts";
import { mixtureOf } from "../../../results/environment.ts";
import { syntheticRun } from "../report/synthetic_run.ts";

type Json = Record<string, unknown>;

/** A record as version 1 had it. */
function ofVersion1(record: unknown): Json {
  const { numerics: _, round: __, process: ___, ...old } = structuredClone(record) as Json;
  const { key: _k, tree: _t, card: _c, threads: _n, vectorWidth: _v, ...environment } = old
    .environment as Json;
  return { ...old, recordVersion: 1, environment };
}

const { run, cells } = syntheticRun({ batches: [1, 4], seeds: [0], statuses: { 4: "not-run" } });

Deno.test("a cell of version 1 is read as one of this version, of numerics 1 and of a process of its own", () => {
  const cell = asCellRecord(ofVersion1(cells[0]), "FILE");
  const { environment, numerics, process, round, ...rest } = cell;
  assert.deepEqual([numerics, process, round], [1, cell.id, 0]);
  const { environment: now, numerics: _, process: __, round: ___, ...expected } = cells[0];
  assert.deepEqual(rest, expected);
  assert.deepEqual(environment, {
    ...now,
    tree: null,
    threads: null,
    vectorWidth: 256, // the adapter's name has it
    key:
      "llvmpipe (LLVM 15.0.6, 256 bits) | Example CPU 3.1 GHz | driver Mesa 22.3.6 | wgpu of Deno 2.9.6 | " +
      "threads as the driver has them | vector width 256 bits",
  });
});

Deno.test("a cell of version 1 that did not run has no process, and one that shares a run that run's", () => {
  const idle = { ...ofVersion1(cells[1]), wallMs: 0 };
  assert.equal(asCellRecord(idle, "FILE").process, null);
  const shared = { ...ofVersion1(cells[0]), sameRunAs: "0123456789ab" };
  assert.equal(asCellRecord(shared, "FILE").process, "0123456789ab");
});

Deno.test("records from before there were two implementations of WebGPU are wgpu's", () => {
  const old = ofVersion1(run);
  const { gpuProvider: _, gpuProviderVersion: __, ...environment } = old.environment as Json;
  const { gpuProvider, gpuProviderVersion } = asRunRecord({ ...old, environment }, "FILE").environment;
  assert.deepEqual([gpuProvider, gpuProviderVersion], ["wgpu", "wgpu, the only one when this was recorded"]);
});

Deno.test("phases of runs from before they said what they show are known by their names", () => {
  const phase = (name: string) => ({ name, kind: "matrix", description: "" });
  const names = ["ladder", "3b", "scaling-batch", "base", "constructor"];
  for (const old of [ofVersion1(run), { ...run } as Json]) {
    const { phases } = asRunRecord({ ...old, phases: names.map(phase) }, "FILE");
    assert.deepEqual(phases.map(({ shows }) => shows), [
      "method-ladder",
      "three-billion-plan",
      "growth-with-batch",
      null,
      null,
    ]);
  }
  const said = asRunRecord({ ...run, phases: [{ ...phase("ladder"), shows: null }] }, "FILE");
  assert.equal(said.phases[0].shows, null, "what a phase says counts");
  assert.throws(
    () => asRunRecord({ ...run, phases: [{ ...phase("a"), shows: "ladders" }] }, "FILE"),
    /field phases\[0\]\.shows is "ladders", expected one of single-methods, .* or null/,
  );
});

Deno.test("what is wrong with a record of version 1 is named as in one of this version", () => {
  const cell = ofVersion1(cells[0]);
  assert.throws(
    () => asCellRecord({ ...cell, environment: 3 }, "FILE"),
    /field environment is 3, expected an object/,
  );
  assert.throws(
    () => asCellRecord({ ...cell, repeat: "first" }, "FILE"),
    /field repeat is "first", expected a number of at least 0/,
  );
});

/**
 * The published runs, which stay as they were written: cells with a record, cells announced, whether it came
 * to its end.
 */
const PUBLISHED: [folder: string, cells: number, announced: number, finished: boolean, commit: string][] = [
  ["nvidia-h100-80gb-hbm3/paper", 107, 112, false, "2c0b5dd89dd1735dcf68cc7d7a94f76dda99e494+"],
  ["nvidia-h100-80gb-hbm3/paper-seeds", 80, 81, false, "204897cfd6e3d0c0a1a4ad0ab60c5c049d218a1d+"],
  ["nvidia-h100-80gb-hbm3/hf-guide", 18, 18, true, "df855ef949cb7e9c73a2b7d546ceb8986b32b357+"],
  ["nvidia-h200/hf-guide", 18, 18, true, "41b11999b1d6c326938ba2fadcd5ef32f29e7c15+"],
];

for (const [folder, count, announced, finished, commit] of PUBLISHED) {
  Deno.test(`the published run ${folder} is read, with what results/README.md says of it`, async () => {
    const path = join(import.meta.dirname!, "..", "..", "..", "results", folder);
    assert.equal(
      JSON.parse(await Deno.readTextFile(join(path, "run.json"))).recordVersion,
      1,
      "it is edited",
    );
    const { run, cells, missing, unreadable } = await loadRun(path);
    assert.deepEqual(unreadable, []);
    assert.deepEqual([cells.length, missing.length], [count, announced - count]);
    assert.equal(run.finishedAt !== null, finished);
    for (const record of [run, ...cells]) {
      assert.deepEqual([record.recordVersion, record.numerics], [2, 1]);
      assert.deepEqual([record.environment.commit, record.environment.tree], [commit, null]);
    }
    assert.equal(mixtureOf(cells), null);
    const ran = cells.filter(({ process }) => process !== null);
    assert.deepEqual(ran.map(({ id }) => id), cells.filter(({ samples }) => samples).map(({ id }) => id));
    // One of them names a folder of the machine it ran on, in the command that run.json repeats it with.
    assert.equal(/ \/\w/.test(run.command), folder === "nvidia-h200/hf-guide");
  });
}
