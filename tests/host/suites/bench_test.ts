import assert from "node:assert/strict";
import { join } from "node:path";
import { childrenOf, records, run, start, sweep, withSuite } from "./command_line.ts";
import { FAKE_ROOFLINE } from "./fake_engine.ts";
import { NUMERICS } from "../../../engine/numerics.ts";
import { environmentKey } from "../../../results/environment.ts";
import type { Environment, RunRecord } from "../../../results/record.ts";

Deno.test("bench runs every cell, decides the batch size, writes run.json, cells and report", () =>
  withSuite(sweep(), async ({ suite, out }) => {
    const { code, out: printed, err } = await run("bench", suite, "--out", out);
    assert.equal(code, 0, err);
    const { run: record, cells } = await records(out);
    assert.deepEqual(cells.map(({ label, config, status }) => `${label} ${config.seed} ${status}`), [
      "batch 1 1 ok",
      "batch 2 1 ok",
      "batch 4 1 ok",
      "batch 1 2 ok",
      "batch 2 2 ok",
      "batch 4 2 ok",
    ]);
    assert.ok(
      cells.every(({ config, samples }) =>
        samples?.loss.length === config.steps && samples.ms.length === config.steps
      ),
    );
    assert.ok(cells.every(({ heldOut }) => heldOut.at(-1)?.tokens === 1024));
    assert.ok(cells.every(({ unigramLoss }) => unigramLoss === 3.25));
    // All steps of the fake take equally long: none is of a warm-up, whatever the suite gives at most.
    assert.ok(cells.every(({ warmupSteps }) => warmupSteps === 0));
    assert.ok(
      cells.every(({ memory }) =>
        memory?.observedHow === "process peak RSS up to step 20" && memory.observedPeakBytes! >= 0
      ),
    );
    assert.deepEqual(record.roofline, FAKE_ROOFLINE);
    assert.equal(record.decisions.length, 1);
    assert.equal(record.decisions[0].value, 4); // equal losses by construction, and larger is faster
    assert.deepEqual(record.decisions[0].inputs, cells.map(({ id }) => id));
    assert.notEqual(record.finishedAt, null);
    assert.equal(printed.trim(), join(out, "report", "index.html"));
    assert.ok((await Deno.readTextFile(join(out, "report", "index.html"))).includes(out));
    const files = await Array.fromAsync(Deno.readDir(join(out, "cells")));
    assert.ok(files.every(({ name }) => /^[0-9a-f]{12}\.json$/.test(name)), "no temporary files are left");
  }));

Deno.test("records have scores at every held-out point of a model that predicts labels", async () => {
  const yaml = `title: labels
defaults: { model: fake, data: words, task: classify, heldOutFraction: 0.1, sequenceLength: 16, tokens: 1024 }
phases: [{ name: labels, kind: matrix, cells: [{ label: a, alsoEvaluate: [old-words] }] }]
`;
  await withSuite(yaml, async ({ suite, out }) => {
    const { code, err } = await run("bench", suite, "--out", out);
    assert.equal(code, 0, err);
    const { cells: [{ heldOut, heldOutElsewhere }] } = await records(out);
    for (const [{ accuracy, macroF1, majorityShare }] of [heldOut, heldOutElsewhere[0].points]) {
      assert.deepEqual([accuracy, macroF1, majorityShare], [0.75, 0.7, 0.625]);
    }
  });
});

Deno.test("bench records how every kind of cell ended, and goes on", async () => {
  const models = [
    ["fake-device-lost", "device-lost", /unplugged/],
    ["fake-throws", "error", /A mistake in the engine[\s\S]*TypeError/],
    ["fake-killed", "killed", /killed by signal 9 at step 2 of 64.*nothing says that memory ran out/],
    ["fake-stopped", "killed", /killed by SIGHUP at step 2 of 64/],
    ["fake-crashes", "error", /killed by SIGSEGV at step 2 of 64/],
    ["fake-aborts", "error", /killed by SIGABRT at step 2 of 64/],
    ["fake-exits", "error", /ended with code 3 .*the driver said goodbye/s],
    ["fake-panics", "device-lost", /^the device was lost at step 2 of 64; .*Device\(Lost\)/s],
    ["fake-nan", "diverged", /loss NaN at step 3/],
    ["fake-rises", "diverged", /mean loss .* above 1.5 times the first/],
    ["fake-misplans", "error", /booked 1048580 bytes at the peak, planned 1048576/],
    ["fake-hangs", "timeout", /no result after 8 s, at step 2 of 64/],
    ["fake", "ok", null],
  ] as const;
  const yaml = `title: endings
defaults: { data: words, heldOutFraction: 0.1, sequenceLength: 16, tokens: 1024, effectiveBatchSize: 1 }
phases:
  - { name: endings, kind: matrix, timeoutSeconds: 8, axes: { model: [${
    models.map(([model]) => model).join(", ")
  }] } }
`;
  await withSuite(yaml, async ({ suite, out }) => {
    const { code, err } = await run("bench", suite, "--out", out);
    assert.equal(code, 1, err);
    const { cells, run: record } = await records(out);
    assert.equal(record.finishedAt, null, "two cells are still to be run");
    for (const [model, status, reason] of models) {
      const cell = cells.find(({ config }) => config.model === model)!;
      assert.equal(cell.status, status, `${model}: ${cell.reason}`);
      if (reason === null) assert.equal(cell.reason, null);
      else assert.match(cell.reason!, reason);
      if (status !== "ok") assert.ok(cell.samples!.loss.length >= 2, `${model} keeps the steps it did`);
    }
    assert.match(err, /error in cell [0-9a-f]{12} \(fake-throws/);
  });
});

Deno.test("bench skips larger batches after one ran out of memory, naming the cell", () =>
  withSuite(sweep({ model: "fake-out-of-memory", sizes: [2, 4, 8, 16] }), async ({ suite, out }) => {
    const { code, err } = await run("bench", suite, "--out", out);
    assert.equal(code, 0, err);
    const { cells, run: record } = await records(out);
    const bySeed = (seed: number) =>
      cells.filter(({ config }) => config.seed === seed).map(({ status }) => status);
    assert.deepEqual(bySeed(1), ["ok", "oom", "not-run", "not-run"]);
    assert.deepEqual(bySeed(2), ["ok", "oom", "not-run", "not-run"]);
    const [, oom, skipped] = cells;
    assert.match(skipped.reason!, new RegExp(`micro-batch 4 .* ran out of memory in cell ${oom.id}`));
    assert.equal(record.decisions[0].value, 2);
  }));

Deno.test("bench records a cell whose plan is over the tier's budget as oom, without running it", () => {
  const yaml = `${sweep({ sizes: [1, 2, 3], seeds: [1] }).replace("tokens: 1024", "tokens: 1152")}
tiers: { software: { memoryBudget: 2MiB } }
`;
  return withSuite(yaml, async ({ suite, out }) => {
    assert.equal((await run("bench", suite, "--out", out)).code, 0);
    const { cells } = await records(out);
    assert.deepEqual(cells.map(({ status }) => status), ["ok", "ok", "oom"]);
    assert.equal(cells[2].reason, "plan needs 3.00 MiB, budget 2.00 MiB");
    assert.equal(cells[2].memory?.plannedPeakBytes, 3 * 2 ** 20);
    assert.equal(cells[2].samples, null);
  });
});

Deno.test("bench gives the chosen batch size to later phases", () => {
  const yaml = sweep({
    seeds: [1],
    changes: `  - name: ladder
    kind: matrix
    seeds: [1]
    defaults: { effectiveBatchSize: chosen }
    cells:
      - { label: baseline }
      - { label: batch 1 × accumulation, microBatchSize: 1 }
      - { label: + checkpointing, microBatchSize: 1, methods: [checkpoint] }
`,
  });
  return withSuite(yaml, async ({ suite, out }) => {
    const { code, err } = await run("bench", suite, "--out", out);
    assert.equal(code, 0, err);
    const { cells } = await records(out);
    assert.deepEqual(
      cells.filter(({ phase }) => phase === "ladder").map(({ label, config }) =>
        `${label}: ${config.microBatchSize} × ${config.gradientAccumulationSteps}`
      ),
      ["baseline: 4 × 1", "batch 1 × accumulation: 1 × 4", "+ checkpointing: 1 × 4"],
    );
  });
});

Deno.test("bench stops with a message where no batch size is left to choose", () => {
  const yaml = sweep({
    model: "fake-device-lost",
    seeds: [1],
    changes: "  - { name: single, kind: matrix, defaults: { effectiveBatchSize: chosen } }\n",
  });
  return withSuite(yaml, async ({ suite, out }) => {
    const { code, err } = await run("bench", suite, "--out", out);
    assert.equal(code, 1);
    assert.match(
      err.replaceAll(/\s+/g, " "),
      /Phase single needs the batch size .* no batch size ran to its end/,
    );
  });
});

Deno.test("bench refuses a folder that holds a run, and --resume refuses a run of another suite or size", () =>
  withSuite(sweep({ sizes: [1, 2], seeds: [1] }), async ({ suite, out }) => {
    assert.equal((await run("bench", suite, "--out", out)).code, 0);
    const again = await run("bench", suite, "--out", out);
    assert.equal(again.code, 2);
    assert.match(again.err, /already holds a run: add --resume/);
    const quick = await run("bench", suite, "--out", out, "--resume", "--quick");
    assert.equal(quick.code, 2);
    assert.match(quick.err, /holds a full run, this is one with --quick/);
    const tier = await run("bench", suite, "--out", out, "--resume", "--tier", "gpu-small");
    assert.equal(tier.code, 2);
    assert.match(tier.err, /holds a run of tier software, this is gpu-small/);
    await Deno.writeTextFile(suite, sweep({ sizes: [1, 2, 4], seeds: [1] }));
    const changed = await run("bench", suite, "--out", out, "--resume");
    assert.equal(changed.code, 2);
    assert.match(changed.err, /holds a run of suite with hash/);
  }));

Deno.test("bench --resume goes on after kill -9: finished cells stay, cut ones run again, the record is the same", () =>
  withSuite(sweep({ model: "fake-slow", sizes: [1, 2], seeds: [1, 2] }), async ({ suite, out }) => {
    const first = start(["bench", suite, "--out", out]);
    const cellFiles = async () => {
      const names = await Array.fromAsync(Deno.readDir(join(out, "cells"))).catch(() => []);
      return names.map(({ name }) => name).filter((name) => name.endsWith(".json"));
    };
    while ((await cellFiles()).length < 1) await new Promise((resolve) => setTimeout(resolve, 50));
    first.kill("SIGKILL");
    await first.output();
    const [survivor] = await cellFiles();
    const before = await Deno.readTextFile(join(out, "cells", survivor));
    assert.equal((await records(out)).run.finishedAt, null);

    const second = await run("bench", suite, "--out", out, "--resume");
    assert.equal(second.code, 0, second.err);
    const { run: record, cells } = await records(out);
    assert.deepEqual(cells.map(({ status }) => status), ["ok", "ok", "ok", "ok"]);
    assert.equal(
      await Deno.readTextFile(join(out, "cells", survivor)),
      before,
      "a finished cell is not run again",
    );
    assert.equal(record.decisions.length, 1);
    assert.notEqual(record.finishedAt, null);

    // A cell cut off in the middle of a write is run again, and so is whole JSON that is no record.
    await Deno.writeTextFile(join(out, "cells", `${cells[2].id}.json`), '{"recordVersion":2,"id"');
    const bare = { recordVersion: 2, id: cells[3].id };
    await Deno.writeTextFile(join(out, "cells", `${cells[3].id}.json`), JSON.stringify(bare));
    const third = await run("bench", suite, "--out", out, "--resume");
    assert.equal(third.code, 0, third.err);
    assert.deepEqual((await records(out)).cells.map(({ status }) => status), ["ok", "ok", "ok", "ok"]);
    const said = third.err.replaceAll(/\s+/g, " ");
    assert.match(
      said,
      /not complete JSON \(23 characters\); it is not a whole record: its cell is run again/,
    );
    assert.match(said, /field kind is missing, expected .*; it is not a whole record: its cell is run again/);
  }));

Deno.test("bench --resume refuses another environment, numerics or code by name; --allow-mixed takes it and says so", () =>
  withSuite(sweep({ sizes: [1, 2], seeds: [1] }), async ({ suite, out }) => {
    assert.equal((await run("bench", suite, "--out", out)).code, 0);
    const { run: record, cells } = await records(out);
    assert.deepEqual([record.environment.commit, record.environment.tree], ["c".repeat(40), "d".repeat(40)]);
    assert.deepEqual([record.numerics, cells[0].numerics], [NUMERICS, NUMERICS]);
    const keyOf = (environment: Environment) => ({ ...environment, key: environmentKey(environment) });
    /** Leaves one cell that ran under `was`, and goes on. */
    const resume = async (was: Pick<RunRecord, "numerics" | "environment">, ...flags: string[]) => {
      const write = (file: string, value: unknown) =>
        Deno.writeTextFile(join(out, file), JSON.stringify(value));
      await write("run.json", { ...record, ...was, finishedAt: null });
      await write(`cells/${cells[0].id}.json`, { ...cells[0], ...was });
      await Deno.remove(join(out, "cells", `${cells[1].id}.json`)).catch(() => {});
      const ended = await run("bench", suite, "--out", out, "--resume", ...flags);
      return { ...ended, err: ended.err.replaceAll(/\s+/g, " ") };
    };
    const { environment, numerics } = record;
    const cases: [Pick<RunRecord, "numerics" | "environment">, RegExp][] = [
      [
        { numerics, environment: keyOf({ ...environment, driver: "Mesa 22" }) },
        /driver: Mesa 22 in the run, none here/,
      ],
      [
        {
          numerics,
          environment: keyOf({ ...environment, gpuProvider: "dawn", gpuProviderVersion: "Dawn 1" }),
        },
        /WebGPU by: Dawn 1 in the run, none here .*add --gpu dawn/,
      ],
      [{ numerics: numerics - 1, environment }, /numerics: \d+ in the run, \d+ here/],
      [
        { numerics, environment: { ...environment, tree: "e".repeat(40) } },
        /work tree: eeeeeeeeeeee \(cccccccccccc\) in the run, dddddddddddd \(cccccccccccc\) here/,
      ],
      [
        { numerics, environment: { ...environment, commit: "f".repeat(40), tree: null } },
        /commit: f{40} in the run, c{40} here .*go back to its code, choose another --out, or go on with --allow-mixed/,
      ],
    ];
    for (const [was, message] of cases) {
      const refused = await resume(was);
      assert.equal(refused.code, 2, refused.err);
      assert.match(refused.err, /Cannot resume .*: its cells and those to come would not compare/);
      assert.match(refused.err, message);
      await assert.rejects(Deno.stat(join(out, "cells", `${cells[1].id}.json`)), "nothing ran");
    }
    const mixed = await resume(cases[3][0], "--allow-mixed");
    assert.equal(mixed.code, 0, mixed.err);
    assert.match(
      mixed.err,
      /Going on with .* as --allow-mixed has it; the report will say so: work tree: eeee/,
    );
    assert.match(mixed.err, /Mixed: 1 of the 2 cells that ran are of one origin, 1 of another \(work tree/);
    const after = await records(out);
    assert.deepEqual(after.cells.map((cell) => cell.environment.tree![0]), ["e", "d"]);
    const same = await resume({ numerics, environment });
    assert.equal(same.code, 0, same.err);
    assert.doesNotMatch(same.err, /ixed/);
  }));

Deno.test("a record has the process that measured it, and a cell that shares a run that one's", () => {
  const yaml = sweep({
    seeds: [1],
    sizes: [1, 2],
    changes:
      "  - { name: again, kind: matrix, seeds: [1], reuse: true, axes: { effectiveBatchSize: [1, 4] } }\n" +
      "  - { name: planned, kind: plan, defaults: { effectiveBatchSize: 1 } }\n",
  });
  return withSuite(yaml, async ({ suite, out }) => {
    const { code, err } = await run("bench", suite, "--out", out);
    assert.equal(code, 0, err);
    const { cells } = await records(out);
    const [one, two, shared, four, planned] = cells.map(({ process }) => process);
    assert.equal(new Set([one, two, four]).size, 3);
    assert.match(one!, /^[0-9a-f-]{36}$/);
    assert.equal(shared, one);
    assert.equal(planned, null);
    assert.deepEqual(cells.map(({ round }) => round), [0, 0, 0, 0, 0]);
  });
});

Deno.test("ctrl-C ends the running cell, leaves a readable run and its report, says how to go on, exits with 130", async () => {
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    await withSuite(sweep({ model: "fake-slow", sizes: [1, 2], seeds: [1] }), async ({ suite, out }) => {
      const child = start(["bench", suite, "--out", out]);
      const ended = child.output();
      const firstCell = async () =>
        (await Array.fromAsync(Deno.readDir(join(out, "cells"))).catch(() => [])).length > 0;
      while (!await firstCell()) await new Promise((resolve) => setTimeout(resolve, 50));
      await new Promise((resolve) => setTimeout(resolve, 400)); // well inside the second cell
      child.kill(signal);
      const { code, stderr } = await ended;
      assert.equal(code, 130);
      const { run: record, cells } = await records(out);
      assert.deepEqual(cells.map(({ status }) => status), ["ok"], "the interrupted cell has no record");
      assert.equal(record.finishedAt, null);
      await Deno.stat(join(out, "report", "index.html"));
      assert.match(
        new TextDecoder().decode(stderr),
        new RegExp(`To go on: deno task bench ${suite} --out ${out} --resume`),
      );
    });
  }
});

Deno.test("a measuring process ends when the runner is gone", () =>
  withSuite(sweep({ model: "fake-hangs", sizes: [1, 2], seeds: [1] }), async ({ suite, out }) => {
    const runner = start(["bench", suite, "--out", out]);
    // run.json is written after the first child, which only looks at the adapter, has ended.
    while (!await Deno.stat(join(out, "run.json")).catch(() => null)) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    let children: number[] = [];
    while (children.length === 0) children = await childrenOf(runner.pid);
    runner.kill("SIGKILL");
    await runner.output();
    const gone = Date.now() + 5000;
    while (await isAlive(children[0])) {
      assert.ok(Date.now() < gone, "the measuring process outlives the runner");
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }));

async function isAlive(pid: number): Promise<boolean> {
  const status = await Deno.readTextFile(`/proc/${pid}/stat`).catch(() => "");
  return status !== "" && !/\) [ZX] /.test(status);
}

Deno.test("shards run disjoint cells that make up the whole, and merge into one run", () =>
  withSuite(sweep({ sizes: [1, 2, 4], seeds: [1, 2] }), async ({ suite, out, folder }) => {
    const ids: string[][] = [];
    for (const shard of ["1/2", "2/2"]) {
      const part = join(folder, `part-${shard[0]}`);
      const { code, err } = await run("bench", suite, "--out", part, "--shard", shard);
      assert.equal(code, 0, err);
      const { run: record, cells } = await records(part);
      ids.push(cells.map(({ id }) => id));
      assert.equal(record.cells.length, 6, "a shard announces all cells");
      assert.equal(record.finishedAt, null);
    }
    assert.ok(ids.every((part) => part.length > 0), "both shards have cells");
    assert.equal(new Set(ids.flat()).size, ids.flat().length, "no cell ran twice");
    assert.equal(ids.flat().length, 6);
    await Deno.mkdir(join(out, "cells"), { recursive: true });
    await Deno.copyFile(join(folder, "part-1", "run.json"), join(out, "run.json"));
    for (const part of ["part-1", "part-2"]) {
      for await (const { name } of Deno.readDir(join(folder, part, "cells"))) {
        await Deno.copyFile(join(folder, part, "cells", name), join(out, "cells", name));
      }
    }
    const { code } = await run("bench", suite, "--out", out, "--resume");
    assert.equal(code, 0);
    const { run: record } = await records(out);
    assert.notEqual(record.finishedAt, null);
    assert.equal(record.decisions.length, 1);
  }));

Deno.test("bench --dry-run lists cells with planned memory and time, and writes nothing", () =>
  withSuite(sweep({ seeds: [1] }), async ({ suite, out }) => {
    const { code, out: printed } = await run("bench", suite, "--out", out, "--dry-run");
    assert.equal(code, 0);
    const lines = printed.trim().split("\n");
    assert.equal(lines.length, 5);
    assert.match(lines[3], /^phase .*: \d+ to run, about /);
    assert.match(lines[2], /^[0-9a-f]{12} {2}batch-size: batch 4, seed 1 {2}4\.00 MiB {2}\d+ s$/);
    assert.match(
      lines[4],
      /^3 cells, 3 to run, about .*assuming 9 GFLOP\/s.*tier software: fake adapter runs on the CPU/,
    );
    await assert.rejects(() => Deno.stat(out), Deno.errors.NotFound);
  }));

Deno.test("bench --filter runs the cells that match", () =>
  withSuite(sweep({ sizes: [1, 2, 4], seeds: [1, 2] }), async ({ suite, out }) => {
    const { code, err } = await run("bench", suite, "--out", out, "--filter", "effectiveBatchSize!=2,seed=2");
    assert.equal(code, 0, err);
    const { cells } = await records(out);
    assert.deepEqual(cells.map(({ label, config }) => `${label} ${config.seed}`), ["batch 1 2", "batch 4 2"]);
  }));

Deno.test("wrong input ends with 2, a message without a stack, and nothing written", () =>
  withSuite(sweep(), async ({ suite, out, folder }) => {
    const cases: [string[], RegExp][] = [
      [["bench", suite, "--out", out, "--quik"], /Unknown flag --quik of bench; did you mean --quick\?/],
      [["bench", suite, "--out", out, "--shard", "3/2"], /Cannot use --shard 3\/2: expected I\/N/],
      [["bench", suite, "--out", out, "--filter", "batch=4"], /Unknown field batch in --filter/],
      [
        ["bench", suite, "--out", out, "--tier", "gpu"],
        /Unknown tier gpu: expected software, gpu-small, gpu-large/,
      ],
      [["bench", suite, suite], /Unexpected argument .* of bench/],
      [["bench", join(folder, "nothing.yaml")], /Cannot read the suite .*nothing.yaml: no such file/],
      [["bench", suite, "--out"], /Flag --out needs a value: --out DIR/],
      [["bench", suite, "--out", join(suite, "below")], /Cannot write to .* \(--out\): it is not a folder/],
      [["benhc"], /Unknown command benhc.*did you mean bench\?/],
    ];
    for (const [args, message] of cases) {
      const { code, err } = await run(...args);
      assert.equal(code, 2, `${args.join(" ")}: ${err}`);
      assert.match(err, message);
      assert.ok(!/^\s+at /m.test(err), `a stack helps nobody here: ${err}`);
    }
    await assert.rejects(() => Deno.stat(out), Deno.errors.NotFound);
  }));

Deno.test("bench refuses methods that are not implemented and cells that the planner refuses, before running any", async () => {
  const base =
    "title: x\ndefaults: { model: fake, data: words, tokens: 4096, effectiveBatchSize: 1 }\nphases:\n";
  const flash = `${base}  - { name: a, kind: matrix, axes: { methods: [[], [flash]] } }\n`;
  await withSuite(flash, async ({ suite, out }) => {
    const { code, err } = await run("bench", suite, "--out", out);
    assert.equal(code, 2);
    assert.match(err, /Cannot run FlashAttention-2 of phase a .*flash is not implemented in this version/);
    assert.deepEqual(await Array.fromAsync(Deno.readDir(join(out, "cells"))), []);
  });
  await withSuite(
    `${base}  - { name: a, kind: matrix, axes: { sequenceLength: [1024, 2048] } }\n`,
    async ({ suite, out }) => {
      const { code, err } = await run("bench", suite, "--out", out);
      assert.equal(code, 2);
      assert.match(err, /Cannot run T 2048 of phase a .*the model has 1024 positions/);
    },
  );
});
