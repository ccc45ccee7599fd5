// A run folder as one file: what is in it, what is not, and going on from it.
import assert from "node:assert/strict";
import { basename, join } from "node:path";
import { parseTar } from "nanotar";
import { archiveRun } from "../../../suites/run_archive.ts";
import { records, run, sweep, withSuite } from "./command_line.ts";

const namesIn = async (file: string) => parseTar(await Deno.readFile(file)).map(({ name }) => name);

/** Writes what an archive holds into a folder. */
async function unpack(file: string, into: string): Promise<void> {
  for (const { name, data } of parseTar(await Deno.readFile(file))) {
    await Deno.mkdir(join(into, name, ".."), { recursive: true });
    await Deno.writeFile(join(into, name), data!);
  }
}

Deno.test("an archive holds a run's records and nothing that belongs to the machine", async () => {
  const folder = await Deno.makeTempDir({ prefix: "threefold-" });
  try {
    const out = join(folder, "run");
    for (
      const file of [
        "run.json",
        "lock.json",
        "lock-1-of-2.json",
        "cells/a.json",
        "cells/b.json.7.tmp",
        "models/a/w",
      ]
    ) {
      await Deno.mkdir(join(out, file, ".."), { recursive: true });
      await Deno.writeTextFile(join(out, file), file);
    }
    const file = join(folder, "there", "run.tar");
    await archiveRun(out, file);
    assert.deepEqual(await namesIn(file), ["run/cells/a.json", "run/run.json"]);
    assert.deepEqual(await Array.fromAsync(Deno.readDir(join(folder, "there")), ({ name }) => name), [
      "run.tar",
    ]);

    await assert.rejects(archiveRun(out, join(out, "run.json", "x.tar")), /Cannot write .*\(--archive\)/);
    // `/cells/a.json` leaves 87 bytes of a header's 100.
    for (const [length, fits] of [[87, true], [88, false]] as const) {
      const named = join(folder, "x".repeat(length));
      await Deno.rename(out, named);
      const archived = archiveRun(named, file);
      await (fits ? archived : assert.rejects(archived, /of at most 87 bytes/));
      await Deno.rename(named, out);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("bench --archive writes it after each phase: a run that is cut off goes on elsewhere, with its tier", () => {
  const tiers = "tiers: { software: {}, gpu-short: {} }\n";
  return withSuite(tiers + sweep({ sizes: [1, 2], seeds: [1, 2] }), async ({ suite, out, folder }) => {
    const file = join(folder, "run.tar");
    const flags = ["--tier", "gpu-short", "--archive", file];
    const { code, err } = await run("bench", suite, "--out", out, ...flags, "--filter", "seed=1");
    assert.equal(code, 0, err);
    assert.deepEqual((await namesIn(file)).filter((name) => name.includes("cells/")).length, 2);
    const there = join(folder, "there");
    await unpack(file, there);
    const other = await run("bench", suite, "--out", join(there, basename(out)), "--resume");
    assert.equal(other.code, 0, other.err);
    const { run: record, cells } = await records(join(there, basename(out)));
    assert.deepEqual([record.tier, cells.length, record.decisions.length], ["gpu-short", 4, 1]);
  });
});

Deno.test("bench refuses a tier that the suite is not written for", () =>
  withSuite(
    "tiers: { software: {}, gpu-small: {} }\n" + sweep({ sizes: [1, 2], seeds: [1] }),
    async ({ suite }) => {
      const { code, err } = await run("bench", suite, "--tier", "gpu-short", "--dry-run");
      assert.equal(code, 2);
      assert.match(
        err.replaceAll(/\s+/g, " "),
        /with --tier gpu-short: expected one of its tiers, software, gpu-small/,
      );
    },
  ));
