import assert from "node:assert/strict";
import { join } from "node:path";
import { InputError } from "../../../engine/input_error.ts";
import type { Shard } from "../../../suites/matrix.ts";
import { exclusively, type LockSurroundings, type Owner, RunLock } from "../../../suites/run_lock.ts";
import { childrenOf, records, run, start, sweep, withSuite } from "./command_line.ts";

const HERE: Owner = { host: "here", processes: "boot ns", pid: 7, began: "100" };
const THERE: Owner = { host: "there", processes: "other ns", pid: 7, began: "100" };
const MINUTE = 60_000;

/** A lock of a process whose clock the test turns; nothing is renewed by itself. */
function lockOf(
  owner: Owner,
  clock: { ms: number },
  { shard = null as Shard | null, alive = true, renewMs = 1e9 } = {},
): RunLock {
  const surroundings: LockSurroundings = { now: () => clock.ms, owner, isAlive: () => alive, renewMs };
  return new RunLock(shard, surroundings);
}

async function withFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "threefold-" });
  try {
    await test(folder);
    assert.deepEqual([...Deno.readDirSync(folder)], [], "locks leave nothing behind");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const refused = (message: RegExp) => (error: unknown) =>
  error instanceof InputError && message.test(error.message);

Deno.test("a second runner is refused with host, process and what to do, until the first lets go", () =>
  withFolder(async (folder) => {
    const clock = { ms: Date.UTC(2026, 0, 1) };
    const first = lockOf(HERE, clock);
    await first.take(folder);
    await first.take(folder); // held already
    clock.ms += 12_000;
    const second = lockOf({ ...HERE, pid: 8 }, clock);
    await assert.rejects(
      () => second.take(folder),
      refused(
        /process 7 on here runs .* since 2026-01-01T00:00:00.000Z, last heard of 12 s ago\. Wait .*choose another --out; .*free 3 min after/,
      ),
    );
    await first.release();
    await second.take(folder);
    await second.release();
  }));

Deno.test("a lock is stale three minutes after it was renewed, not a millisecond before", () =>
  withFolder(async (folder) => {
    const clock = { ms: Date.UTC(2026, 0, 1) };
    const first = lockOf(THERE, clock);
    await first.take(folder);
    clock.ms += 2 * MINUTE;
    assert.equal(await first.renew(), true);
    clock.ms += 3 * MINUTE - 1;
    const second = lockOf(HERE, clock);
    await assert.rejects(() => second.take(folder), refused(/process 7 on there/));
    clock.ms += 1;
    await second.take(folder);
    // The first one finds out, stops, and takes nothing away.
    assert.equal(first.signal.aborted, false);
    assert.equal(await first.renew(), false);
    assert.equal(first.signal.aborted, true);
    await assert.rejects(
      () => first.requireHeld(),
      refused(/Stopped: process 7 on here has taken the lock/),
    );
    await first.release();
    assert.equal(await second.renew(), true);
    await second.release();
  }));

Deno.test("a lock whose process on this system is gone is taken at once, one of another container is not", () =>
  withFolder(async (folder) => {
    const clock = { ms: Date.UTC(2026, 0, 1) };
    const gone = lockOf(HERE, clock);
    await gone.take(folder);
    // The same name, another space of process ids: that the id is not there says nothing.
    const container = lockOf({ ...HERE, processes: "boot other" }, clock, { alive: false });
    await assert.rejects(() => container.take(folder), refused(/process 7 on here/));
    const next = lockOf({ ...HERE, pid: 9 }, clock, { alive: false });
    await next.take(folder);
    await gone.release();
    assert.equal(await next.renew(), true);
    await next.release();
  }));

Deno.test("of many that take a free or a stale lock at once exactly one wins", () =>
  withFolder(async (folder) => {
    const clock = { ms: Date.UTC(2026, 0, 1) };
    for (let round = 0; round < 10; round++) {
      if (round % 2 === 1) await lockOf(THERE, clock).take(folder); // and never let go
      clock.ms += 3 * MINUTE;
      const takers = Array.from({ length: 8 }, (_, i) => lockOf({ ...HERE, pid: 10 + i }, clock));
      const ends = await Promise.allSettled(takers.map((taker) => taker.take(folder)));
      const won = ends.flatMap(({ status }, i) => status === "fulfilled" ? [i] : []);
      assert.equal(won.length, 1, `round ${round}: ${ends.map(({ status }) => status)}`);
      for (const end of ends) if (end.status === "rejected") assert.ok(end.reason instanceof InputError);
      assert.equal(await takers[won[0]].renew(), true);
      await Promise.all(takers.map((taker) => taker.release()));
    }
  }));

Deno.test("shards hold a folder side by side where they have no cell in common", () =>
  withFolder(async (folder) => {
    const clock = { ms: Date.UTC(2026, 0, 1) };
    const of = (index: number, count: number) => lockOf(HERE, clock, { shard: { index, count } });
    const held = [of(1, 2), of(2, 4)];
    const joins = [];
    for (const lock of held) joins.push(await lock.take(folder));
    assert.deepEqual(joins, [false, true], "the second one joins the first");
    const names = [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
    assert.deepEqual(names, ["lock-1-of-2.json", "lock-2-of-4.json"]);
    // Cells 1 of 2 are 1 and 3 of 4; every third is among all of them; the whole is the whole.
    for (const lock of [of(1, 2), of(3, 4), of(2, 2), of(2, 3), of(1, 1), lockOf(HERE, clock)]) {
      await assert.rejects(() => lock.take(folder), refused(/runs shard \d\/\d of/));
    }
    const last = of(4, 4);
    await last.take(folder);
    await Promise.all([...held, last].map((lock) => lock.release()));
    const whole = lockOf(HERE, clock);
    await whole.take(folder);
    await assert.rejects(
      () => of(1, 2).take(folder),
      refused(/Cannot run shard 1\/2 in/),
    );
    await whole.release();
  }));

Deno.test("a lock file that cannot be read is as old as the file", () =>
  withFolder(async (folder) => {
    const path = join(folder, "lock.json");
    await Deno.writeTextFile(path, "");
    const clock = { ms: Date.now() };
    const lock = lockOf(HERE, clock);
    await assert.rejects(
      () => lock.take(folder),
      refused(/lock\.json was written \d+ s ago and cannot be read/),
    );
    clock.ms += 4 * MINUTE;
    await lock.take(folder);
    await lock.release();
  }));

Deno.test("a lock is renewed by itself, and is lost where its file is removed", () =>
  withFolder(async (folder) => {
    const clock = { ms: Date.UTC(2026, 0, 1) };
    const lock = lockOf(HERE, clock, { renewMs: 10 });
    await lock.take(folder);
    clock.ms += 5 * MINUTE;
    const text = () => Deno.readTextFileSync(join(folder, "lock.json"));
    while (!text().includes("00:05:00")) await new Promise((resolve) => setTimeout(resolve, 5));
    await exclusively(folder, () => Deno.remove(join(folder, "lock.json")));
    while (!lock.signal.aborted) await new Promise((resolve) => setTimeout(resolve, 5));
    await assert.rejects(() => lock.requireHeld(), refused(/Stopped: .*lock\.json is gone/));
    await lock.release();
  }));

Deno.test("exclusively() lets one in at a time, and the next where it throws", () =>
  withFolder(async (folder) => {
    let inside = 0;
    const results = await Promise.allSettled(
      Array.from({ length: 20 }, (_, i) =>
        exclusively(folder, async () => {
          assert.equal(++inside, 1);
          await new Promise((resolve) => setTimeout(resolve, 1));
          inside--;
          if (i % 3 === 0) throw new RangeError("on purpose");
          return i;
        })),
    );
    assert.equal(results.filter(({ status }) => status === "fulfilled").length, 13);
  }));

/** The suite of two cells that two people start at once. */
const TWO_CELLS = `title: "Trial <b>é</b> & \\"quotes\\""
description: tiny
defaults: { model: fake-slow, data: words, sequenceLength: 16, effectiveBatchSize: 1, learningRate: 1e-3, heldOutFraction: 0.05, steps: 60 }
phases:
  - name: plain
    kind: matrix
    seeds: [1]
    repeats: 1
    cells:
      - { label: "a <script>alert(1)</script>" }
      - { label: "naïve 🙂 & #2", methods: [checkpoint] }
`;

const filesOf = (folder: string) => [...Deno.readDirSync(folder)].map(({ name }) => name).sort();

/** What the lock of a run says, once it is that of the process. */
async function lockOfRun(
  out: string,
  pid: number,
  name = "lock.json",
): Promise<{ pid: number; host: string }> {
  const deadline = Date.now() + 60_000;
  while (true) {
    const text = await Deno.readTextFile(join(out, name)).catch(() => "");
    if (text !== "" && JSON.parse(text).pid === pid) return JSON.parse(text);
    assert.ok(Date.now() < deadline, "there is no lock");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

Deno.test("two benches in one folder: the second is refused with 2 and names the first, which goes on", () =>
  withSuite(TWO_CELLS, async ({ suite, out }) => {
    const first = start(["bench", suite, "--out", out]);
    const ended = first.output();
    await lockOfRun(out, first.pid);
    for (const more of [[], ["--resume"], ["--shard", "1/2"], ["--retry", "error"]]) {
      const second = await run("bench", suite, "--out", out, ...more);
      assert.equal(second.code, 2, `${more}: ${second.err}`);
      assert.match(
        second.err,
        new RegExp(`process ${first.pid} on ${Deno.hostname()} runs .*choose another --out`),
      );
    }
    const dry = await run("bench", suite, "--out", out, "--dry-run");
    assert.equal(dry.code, 0, "looking takes no lock");
    const { code, stderr } = await ended;
    assert.equal(code, 0, new TextDecoder().decode(stderr));
    assert.deepEqual((await records(out)).cells.map(({ status }) => status), ["ok", "ok"]);
    assert.deepEqual(filesOf(out), ["cells", "report", "run.json"], "the lock is gone");
  }));

Deno.test("ctrl-C removes the lock, a second ctrl-C too; after kill -9 --resume takes it at once, twice", () =>
  withSuite(TWO_CELLS, async ({ suite, out }) => {
    for (const [i, signals] of [["SIGTERM"], ["SIGINT", "SIGINT"]].entries()) {
      const child = start(["bench", suite, "--out", out, ...i > 0 ? ["--resume"] : []]);
      const ended = child.output();
      await lockOfRun(out, child.pid);
      while ((await childrenOf(child.pid)).length === 0) {
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      for (const signal of signals) {
        child.kill(signal as Deno.Signal);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      assert.equal((await ended).code, 130);
      assert.deepEqual(filesOf(out).filter((name) => /lock/.test(name)), [], `${signals}`);
    }
    for (let i = 0; i < 2; i++) {
      const child = start(["bench", suite, "--out", out, "--resume"]);
      const ended = child.output();
      await lockOfRun(out, child.pid);
      child.kill("SIGKILL");
      await ended;
      assert.ok(filesOf(out).includes("lock.json"));
    }
    const { code, err } = await run("bench", suite, "--out", out, "--resume");
    assert.equal(code, 0, err);
    assert.deepEqual((await records(out)).cells.map(({ status }) => status), ["ok", "ok"]);
    assert.ok(!filesOf(out).includes("lock.json"));
  }));

Deno.test("a runner whose lock is taken from it stops, and writes nothing more", () =>
  withSuite(TWO_CELLS, async ({ suite, out }) => {
    const child = start(["bench", suite, "--out", out]);
    const ended = child.output();
    const lock = await lockOfRun(out, child.pid);
    while (!await Deno.stat(join(out, "run.json")).catch(() => null)) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await exclusively(
      out,
      () =>
        Deno.writeTextFile(
          join(out, "lock.json"),
          JSON.stringify({ ...lock, token: "another", host: "there", pid: 4 }),
        ),
    );
    const { code, stderr } = await ended;
    assert.equal(code, 2);
    assert.match(new TextDecoder().decode(stderr), /Stopped: process 4 on there has taken the lock of/);
    assert.deepEqual(filesOf(out), ["cells", "lock.json", "run.json"]);
    assert.deepEqual(filesOf(join(out, "cells")), []);
  }));

Deno.test("shards that share a folder lose nothing: records, cells, decisions and the weights of the other", () => {
  const yaml = sweep({
    model: "fake-slow",
    sizes: [4, 8],
    seeds: [1, 2, 3],
    changes:
      `  - { name: base, kind: matrix, seeds: [1, 2, 3, 4], defaults: { effectiveBatchSize: chosen }, cells: [{ label: base }] }
  - name: tuned
    kind: matrix
    seeds: [1, 2, 3, 4]
    defaults: { effectiveBatchSize: chosen, startFrom: { phase: base, label: base } }
    cells: [{ label: tuned }]
`,
  });
  return withSuite(yaml, async ({ suite, out, folder }) => {
    const whole = join(folder, "whole");
    assert.equal((await run("bench", suite, "--out", whole)).code, 0);
    const expected = await records(whole);
    const both = async (...more: string[]) => {
      const args = (shard: string) => ["bench", suite, "--out", out, "--shard", shard, ...more];
      const one = start(args("1/2"));
      const oneEnds = one.output();
      await lockOfRun(out, one.pid, "lock-1-of-2.json");
      while (!await Deno.stat(join(out, "run.json")).catch(() => null)) {
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      const ends = await Promise.all([oneEnds, start(args("2/2")).output()]);
      return ends.map(({ code, stderr }) => ({ code, err: new TextDecoder().decode(stderr) }));
    };
    // The sweep first: whoever ends it has both halves and goes on, the other waits for a second call.
    const first = await both();
    for (const { code, err } of first) {
      assert.ok(code === 0 || /other shards/.test(err.replaceAll(/\s+/g, " ")), err);
    }
    const second = await both("--resume");
    for (const { code, err } of second) assert.equal(code, 0, err);
    const shared = await records(out);
    assert.deepEqual(shared.run.cells, expected.run.cells);
    assert.deepEqual(
      shared.run.decisions.map(({ value }) => value),
      expected.run.decisions.map(({ value }) => value),
    );
    assert.notEqual(shared.run.finishedAt, null, "whoever ends last finishes the run");
    assert.deepEqual(
      shared.cells.map(({ id, status, heldOut }) => ({ id, status, heldOut })),
      expected.cells.map(({ id, status, heldOut }) => ({ id, status, heldOut })),
    );
    const notes = [...first, ...second].map(({ err }) => err).join("\n");
    assert.doesNotMatch(notes, /are gone/, "no weights were removed that the other needed");
    assert.deepEqual(filesOf(out), ["cells", "report", "run.json"]);
  });
});
