import assert from "node:assert/strict";
import { join } from "node:path";
import { loadRun } from "../../../results/load.ts";
import { syntheticRun, writeSyntheticRun } from "./synthetic_run.ts";
import { inFolder, SMALL } from "./support.ts";

type Json = Record<string, unknown>;

/** Loads a run whose records `change` has spoilt, and returns what it failed with. */
async function failureOf(change: (run: Json, cell: Json) => void): Promise<string> {
  let message = "";
  await inFolder(async (dir) => {
    const made = structuredClone(syntheticRun(SMALL));
    change(made.run as unknown as Json, made.cells[0] as unknown as Json);
    // A cell under another id than its own is written where the run says it is.
    const id = made.run.cells[0]?.id;
    await writeSyntheticRun(dir, made);
    if (id) await Deno.writeTextFile(join(dir, "cells", `${id}.json`), JSON.stringify(made.cells[0]));
    await assert.rejects(loadRun(dir), (error: Error) => {
      assert.equal(error.name, "InputError");
      message = error.message.replaceAll(dir, "RUN");
      return true;
    });
  });
  return message;
}

const FIRST = syntheticRun(SMALL).cells[0].id;

Deno.test("loadRun() refuses versions it does not know", async () => {
  assert.equal(
    await failureOf((run) => run.recordVersion = 3),
    "Cannot read RUN/run.json: field recordVersion is 3, expected 1 or 2",
  );
  assert.equal(
    await failureOf((_, cell) => delete cell.recordVersion),
    `Cannot read RUN/cells/${FIRST}.json: field recordVersion is missing, expected 1 or 2`,
  );
});

Deno.test("loadRun() names file and field of what is not as the contract says", async () => {
  const cases: [(run: Json, cell: Json) => void, string][] = [
    [(run) => run.decisions = {}, "run.json: field decisions is {}, expected an array"],
    [(run) => run.title = 3, "run.json: field title is 3, expected a string"],
    [
      (run) => (run.cells as Json[])[1].id = "../../etc/x",
      'run.json: field cells[1].id is "../../etc/x", expected twelve hex digits',
    ],
    [
      (run) => (run.cells as Json[])[1].id = FIRST,
      `run.json: field cells[1].id is "${FIRST}" a second time`,
    ],
    [
      (_, cell) => cell.status = "fine",
      `cells/${FIRST}.json: field status is "fine", expected one of ok, oom, diverged, timeout, device-lost, killed, error, not-run`,
    ],
    [
      (_, cell) => ((cell.samples as Json).ms as unknown[])[3] = "12",
      `cells/${FIRST}.json: field samples.ms[3] is "12", expected a number of at least 0`,
    ],
    [
      (_, cell) => ((cell.memory as Json).bookedByRole as Json).optimizer = null,
      `cells/${FIRST}.json: field memory.bookedByRole.optimizer is null, expected a number of at least 0`,
    ],
    [
      (_, cell) => cell.id = "0123456789ab",
      `cells/${FIRST}.json: field id is "0123456789ab", expected "${FIRST}"`,
    ],
  ];
  for (const [change, expected] of cases) {
    assert.equal(await failureOf(change), `Cannot read RUN/${expected}`);
  }
});

Deno.test("loadRun() refuses a folder without run.json, and a run.json that is not JSON", async () => {
  await inFolder(async (dir) => {
    await assert.rejects(loadRun(dir), {
      name: "InputError",
      message: /no such file, expected a run folder$/,
    });
    await Deno.writeTextFile(join(dir, "run.json"), '{"recordVersion": 1, ');
    await assert.rejects(loadRun(dir), { name: "InputError", message: /run\.json: not complete JSON/ });
  });
});

Deno.test("loadRun() lists cells that are cut off or absent, and loads the others", async () => {
  await inFolder(async (dir) => {
    const made = syntheticRun(SMALL);
    await writeSyntheticRun(dir, made);
    const file = (i: number) => join(dir, "cells", `${made.cells[i].id}.json`);
    await Deno.truncate(file(0), 100);
    await Deno.truncate(file(2), 0);
    await Deno.remove(file(4));
    const { cells, missing, unreadable } = await loadRun(dir);
    assert.deepEqual(cells.map(({ id }) => id), [1, 3, 5].map((i) => made.cells[i].id));
    assert.deepEqual(unreadable.map(({ problem }) => problem), [
      "not complete JSON (100 characters)",
      "the file is empty",
    ]);
    assert.deepEqual(missing.map(({ id }) => id), [made.cells[4].id]);
  });
});
