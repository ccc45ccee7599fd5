// Shards in waves, put together: the same run as one machine makes, whoever merges and in whatever order.
import assert from "node:assert/strict";
import { join } from "node:path";
import { canonicalJson } from "../../../results/canonical_json.ts";
import type { CellRecord } from "../../../results/record.ts";
import { records, run, withSuite } from "./command_line.ts";

const SUITE = `title: waves
defaults: { model: fake, data: words, heldOutFraction: 0.1, sequenceLength: 16, tokens: 1024 }
phases:
  - { name: batch-size, kind: batch-sweep, axes: { effectiveBatchSize: [1, 2, 4] }, seeds: [1, 2, 3], rule: fastest-within-seed-spread }
  - name: single
    kind: matrix
    defaults: { effectiveBatchSize: chosen }
    seeds: [4, 5]
    cells: [{ label: baseline }, { label: checkpointing, methods: [checkpoint] }, { label: accumulation, microBatchSize: 1 }]
`;

const SHARDS = ["1/3", "2/3", "3/3"];

/** Copies a run folder, as somebody does who takes it to another machine. */
async function copy(from: string, to: string): Promise<void> {
  await Deno.mkdir(join(to, "cells"), { recursive: true });
  for await (const { name } of Deno.readDir(join(from, "cells"))) {
    await Deno.copyFile(join(from, "cells", name), join(to, "cells", name));
  }
  await Deno.copyFile(join(from, "run.json"), join(to, "run.json"));
}

async function succeeds(...args: string[]): Promise<string> {
  const { code, err } = await run(...args);
  assert.equal(code, 0, err);
  return err;
}

/** Runs the suite in two waves of three shards, each in a folder of its own. */
async function inWaves(suite: string, folder: string): Promise<string[]> {
  const first = SHARDS.map((_, i) => join(folder, `s${i + 1}`));
  for (const [i, shard] of SHARDS.entries()) {
    await succeeds("bench", suite, "--shard", shard, "--out", first[i], "--until-decision");
  }
  const between = join(folder, "between");
  const merged = await run("merge", ...first, "--out", between);
  assert.equal(merged.code, 1, "not whole yet");
  assert.match(merged.err.replaceAll(/\s+/g, " "), /not whole\. To go on: deno task bench .* --resume/);
  const second = first.map((path) => `${path}b`);
  for (const [i, shard] of SHARDS.entries()) {
    await copy(between, second[i]);
    await succeeds("bench", suite, "--shard", shard, "--out", second[i], "--resume", "--until-decision");
  }
  return second;
}

const TIMES = ["startedAt", "wallMs", "process", "memory", "environment", "command", "round"];

/** A record without times and without what is observed from outside. */
const timeless = (cell: CellRecord) =>
  canonicalJson(Object.fromEntries(Object.entries(cell).filter(([key]) => !TIMES.includes(key))));

/** All files of a folder with their bytes, but for the name of the folder on the page. */
async function bytesOf(folder: string): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for await (const { name } of Deno.readDir(join(folder, "cells"))) {
    found.set(name, await Deno.readTextFile(join(folder, "cells", name)));
  }
  for (const name of ["run.json", "report/index.html"]) {
    found.set(name, (await Deno.readTextFile(join(folder, name))).replaceAll(folder, "OUT"));
  }
  return new Map([...found].sort());
}

Deno.test("merged waves are the run of one machine, and how they are merged makes no difference", () =>
  withSuite(SUITE, async ({ suite, out, folder }) => {
    await succeeds("bench", suite, "--out", out);
    const whole = await records(out);
    const [s1, s2, s3] = await inWaves(suite, folder);
    const merges: string[][] = [[s1, s2, s3], [s3, s1, s2], [s1, s2, s3, s1]];
    const folders = merges.map((_, i) => join(folder, `m${i}`));
    for (const [i, parts] of merges.entries()) await succeeds("merge", ...parts, "--out", folders[i]);
    const again = join(folder, "again");
    await succeeds("merge", folders[0], s1, "--out", again);

    const { run: merged, cells } = await records(folders[0]);
    assert.deepEqual(cells.map(timeless).sort(), whole.cells.map(timeless).sort());
    assert.deepEqual(merged.cells, whole.run.cells);
    assert.deepEqual(merged.decisions.map(({ name, value }) => [name, value]), [["effectiveBatchSize", 4]]);
    assert.notEqual(merged.finishedAt, null);
    assert.doesNotMatch(merged.command, /--shard|--out|--resume|--until-decision/);
    const wanted = await bytesOf(folders[0]);
    for (const other of [...folders.slice(1), again]) assert.deepEqual(await bytesOf(other), wanted);
  }));

Deno.test("merge names cells that two folders disagree on, and writes nothing", () =>
  withSuite(SUITE, async ({ suite, out, folder }) => {
    await succeeds("bench", suite, "--out", out);
    const changed = join(folder, "changed");
    await copy(out, changed);
    const [{ id, label }] = (await records(out)).cells;
    const path = join(changed, "cells", `${id}.json`);
    const cell: CellRecord = JSON.parse(await Deno.readTextFile(path));
    cell.samples!.loss[0]! += 1e-9;
    await Deno.writeTextFile(path, JSON.stringify(cell));
    const target = join(folder, "m");
    const { code, err } = await run("merge", out, changed, "--out", target);
    assert.equal(code, 1);
    assert.match(
      err,
      new RegExp(`Cell ${id} \\(${label}\\) is one thing in ${out} and another in ${changed}`),
    );
    assert.equal(await Deno.stat(target).catch(() => null), null);

    // Killed in one part, it has run in the other.
    await Deno.writeTextFile(
      path,
      JSON.stringify({ ...cell, status: "killed", reason: "killed", heldOut: [] }),
    );
    for (const parts of [[out, changed], [changed, out]]) {
      const into = join(folder, `killed ${parts.indexOf(out)}`);
      await succeeds("merge", ...parts, "--out", into);
      assert.ok((await records(into)).cells.every(({ status }) => status === "ok"));
    }
  }));

Deno.test("merge refuses what is not one run, naming what differs, and folders that are there", () =>
  withSuite(SUITE, async ({ suite, out, folder }) => {
    await succeeds("bench", suite, "--out", out);
    const other = join(folder, "other");
    await copy(out, other);
    const target = join(folder, "m");
    const whole = JSON.parse(await Deno.readTextFile(join(out, "run.json")));
    const environment = { ...whole.environment, key: "another", adapter: "another card" };
    const cases: [object, RegExp, boolean][] = [
      [{ tier: "gpu-large" }, /tier is software in the first, gpu-large in the second/, false],
      [{ quick: true }, /quick is false in the first, true in the second/, false],
      [{ suiteHash: "ab".repeat(32) }, /suiteHash is .* in the second/, false],
      [{ numerics: 1 }, /numerics is .* in the first, 1 in the second; --allow-mixed/, true],
      [{ environment }, /adapter is .* in the first, another card in the second/, true],
    ];
    for (const [change, message, canMix] of cases) {
      await Deno.writeTextFile(join(other, "run.json"), JSON.stringify({ ...whole, ...change }));
      const { code, err } = await run("merge", out, other, "--out", target);
      assert.equal(code, 2);
      assert.match(err.replaceAll(/\s+/g, " "), message);
      const mixed = await run(
        "merge",
        out,
        other,
        "--out",
        join(folder, `mixed ${message}`.slice(0, 60)),
        "--allow-mixed",
      );
      assert.equal(mixed.code, canMix ? 0 : 2, mixed.err);
    }
    assert.match((await run("merge", out, "--out", out)).err, /it is there already/);
    assert.match((await run("merge", out)).err, /without --out/);
    assert.match(
      (await run("merge", join(folder, "none"), "--out", target)).err,
      /no such file, expected a run folder/,
    );
    await Deno.writeTextFile(suite, SUITE.replace("seeds: [4, 5]", "seeds: [4]"));
    assert.match(
      (await run("merge", out, "--out", target)).err.replaceAll(/\s+/g, " "),
      /name the suite with --suite/,
    );
  }));

Deno.test("bench --resume of a run that is whole asks for no adapter, and changes no record", () =>
  withSuite(SUITE, async ({ suite, out }) => {
    await succeeds("bench", suite, "--out", out);
    const path = join(out, "run.json");
    const before = JSON.parse(await Deno.readTextFile(path));
    // Of another machine: with something to run it would be refused.
    const there = JSON.stringify({ ...before, environment: { ...before.environment, key: "another" } });
    await Deno.writeTextFile(path, there);
    assert.match(await succeeds("bench", suite, "--out", out, "--resume"), /15 cells: 15 ok/);
    assert.equal(await Deno.readTextFile(path), there);
    await Deno.remove(join(out, "cells", `${before.cells[0].id}.json`));
    assert.equal((await run("bench", suite, "--out", out, "--resume")).code, 2);
  }));

Deno.test("a shard joins the folder of one that has ended, and no run of another suite", () =>
  withSuite(SUITE, async ({ suite, out }) => {
    await succeeds("bench", suite, "--shard", "1/2", "--out", out, "--until-decision");
    await succeeds("bench", suite, "--shard", "2/2", "--out", out, "--until-decision");
    await succeeds("bench", suite, "--shard", "1/2", "--out", out, "--until-decision");
    assert.equal((await records(out)).run.cells.length, 15);
    await Deno.writeTextFile(suite, SUITE.replace("seeds: [4, 5]", "seeds: [4]"));
    assert.match(
      (await run("bench", suite, "--shard", "1/2", "--out", out)).err,
      /holds a run of suite with hash/,
    );
  }));
