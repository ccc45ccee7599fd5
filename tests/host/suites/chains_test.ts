import assert from "node:assert/strict";
import { join } from "node:path";
import { records, run, start, withSuite } from "./command_line.ts";

/** A base model, a specialization of it, and two ways to fine-tune that, two seeds each. */
function chain({ model = "fake", seeds = [1, 2], changes = "" } = {}): string {
  return `title: a chain
defaults: { model: ${model}, data: words, heldOutFraction: 0.1, sequenceLength: 16, tokens: 512, effectiveBatchSize: 2 }
phases:
  - { name: base, kind: matrix, seeds: [${seeds}], cells: [{ label: base }] }
  - name: specialization
    kind: matrix
    seeds: [${seeds}]
    defaults: { startFrom: { phase: base, label: base } }
    cells: [{ label: specialized }]
  - name: fine-tuning
    kind: matrix
    seeds: [${seeds}]
    defaults: { startFrom: { phase: specialization, label: specialized }, alsoEvaluate: [old-words] }
    cells:
      - { label: full }
      - { label: LoRA, methods: [lora] }
${changes}`;
}

const finalLoss = ({ heldOut }: { heldOut: { loss: number }[] }) => heldOut.at(-1)!.loss;

/** What a record says but for when, how fast, and on which commit. */
function withoutTime(text: string): unknown {
  const { startedAt: _, wallMs: __, environment: ___, memory: ____, process: _____, ...rest } = JSON.parse(
    text,
  );
  return rest;
}

Deno.test("a chain starts every cell from the weights of the cell named, with the same seed", () =>
  withSuite(chain(), async ({ suite, out }) => {
    const { code, err } = await run("bench", suite, "--out", out);
    assert.equal(code, 0, err);
    const { cells } = await records(out);
    assert.deepEqual(
      cells.map(({ phase, label, config, status }) => `${phase}/${label} ${config.seed} ${status}`),
      [
        "base/base 1 ok",
        "base/base 2 ok",
        "specialization/specialized 1 ok",
        "specialization/specialized 2 ok",
        "fine-tuning/full 1 ok",
        "fine-tuning/LoRA 1 ok",
        "fine-tuning/full 2 ok",
        "fine-tuning/LoRA 2 ok",
      ],
    );
    const find = (phase: string, label: string, seed: number) =>
      cells.find((cell) => cell.phase === phase && cell.label === label && cell.config.seed === seed)!;
    for (const seed of [1, 2]) {
      const base = find("base", "base", seed);
      const specialized = find("specialization", "specialized", seed);
      const full = find("fine-tuning", "full", seed);
      assert.equal(base.config.startFrom, null);
      assert.equal(specialized.config.startFrom, base.id);
      assert.equal(full.config.startFrom, specialized.id);
      // The fake trainer's loss falls with the tokens that its weights have seen.
      const after = (tokens: number) => 3 + 2 * Math.exp(-tokens / 1000) + 0.001 * seed;
      [base, specialized, full].forEach((cell, i) =>
        assert.ok(
          Math.abs(finalLoss(cell) - after(512 * (i + 1))) < 1e-12,
          `${cell.label}: ${finalLoss(cell)}`,
        )
      );
      assert.deepEqual(full.heldOutElsewhere.map(({ data }) => data), ["old-words"]);
      assert.equal(full.heldOutElsewhere[0].points.at(-1)!.loss, finalLoss(full) + 1);
      assert.equal(full.adapterBytes, null);
      assert.equal(find("fine-tuning", "LoRA", seed).adapterBytes, 321);
      assert.match(full.command, new RegExp(`^deno task bench .* --filter id=${full.id}$`));
    }
    await assert.rejects(() => Deno.stat(join(out, "models")), Deno.errors.NotFound);
  }));

Deno.test("--keep-models leaves the weights of every cell that later ones start from, and adapters", () =>
  withSuite(chain({ seeds: [1] }), async ({ suite, out }) => {
    assert.equal((await run("bench", suite, "--out", out, "--keep-models")).code, 0);
    const { cells } = await records(out);
    const names = (await Array.fromAsync(Deno.readDir(join(out, "models")))).map(({ name }) => name).sort();
    const saved = cells.filter(({ label }) => label !== "full").map(({ id }) => id).sort();
    assert.deepEqual(names, saved);
  }));

Deno.test("a chain that is killed at any point and resumed ends in the same records", async () => {
  const suiteText = chain({ model: "fake-slow-chain", seeds: [1] });
  await withSuite(suiteText, async ({ suite, out, folder }) => {
    const whole = join(folder, "whole");
    assert.equal((await run("bench", suite, "--out", whole)).code, 0);
    const expected = await records(whole);
    // Into training, into saving between its two files, after a record, and into later phases.
    for (const killAfterMs of [700, 900, 300, 1100, 600]) {
      const child = start([
        "bench",
        suite,
        "--out",
        out,
        ...await Deno.stat(join(out, "run.json")).then(
          () => ["--resume"],
          () => [],
        ),
      ]);
      await Promise.race([child.status, new Promise((resolve) => setTimeout(resolve, killAfterMs))]);
      try {
        child.kill("SIGKILL");
      } catch {
        // It had ended.
      }
      await child.output();
    }
    const { code, err } = await run("bench", suite, "--out", out, "--resume");
    assert.equal(code, 0, err);
    const resumed = await records(out);
    assert.deepEqual(resumed.run.cells, expected.run.cells);
    assert.notEqual(resumed.run.finishedAt, null);
    for (const { id } of expected.run.cells) {
      const text = (root: string) => Deno.readTextFile(join(root, "cells", `${id}.json`));
      const [a, b] = (await Promise.all([text(out), text(whole)])).map(withoutTime) as {
        samples: { ms: number[] };
        command: string;
      }[];
      assert.deepEqual(a, b);
    }
    await assert.rejects(() => Deno.stat(join(out, "models")), Deno.errors.NotFound);
  });
});

Deno.test("weights that are gone or cut off are trained again, and the records of their cells stay", () =>
  withSuite(chain({ seeds: [1] }), async ({ suite, out }) => {
    assert.equal((await run("bench", suite, "--out", out)).code, 0);
    const { cells } = await records(out);
    const [base, specialized, full] = cells;
    const before = await Deno.readTextFile(join(out, "cells", `${base.id}.json`));
    // A run that was killed before its last phase but one had ended, with half a model beside it.
    await Deno.remove(join(out, "cells", `${full.id}.json`));
    await Deno.mkdir(join(out, "models", `${specialized.id}.partial`), { recursive: true });
    await Deno.writeTextFile(join(out, "models", `${specialized.id}.partial`, "weights.json"), '{"mod');
    const { code, err } = await run("bench", suite, "--out", out, "--resume");
    assert.equal(code, 0, err);
    assert.match(err.replaceAll(/\s+/g, " "), /weights of specialized are gone.*weights of base are gone/);
    const again = (await records(out)).cells.find(({ id }) => id === full.id)!;
    assert.equal(finalLoss(again), finalLoss(full));
    assert.equal(await Deno.readTextFile(join(out, "cells", `${base.id}.json`)), before);
  }));

Deno.test("cells are skipped where the cell they start from ended badly, and run once it has ended well", () =>
  withSuite(chain({ model: "fake-throws", seeds: [1] }), async ({ suite, out }) => {
    assert.equal((await run("bench", suite, "--out", out)).code, 1, "all cells that ran ended as errors");
    const { cells } = await records(out);
    assert.deepEqual(cells.map(({ status }) => status), ["error", "not-run", "not-run", "not-run"]);
    assert.match(
      cells[1].reason!,
      new RegExp(`cell ${cells[0].id}, base, which it starts from, ended as error`),
    );
    assert.match(cells[2].reason!, /specialized, which it starts from, ended as not-run/);
  }));

Deno.test("--filter brings the cells along that the ones wanted start from; shards keep chains together", () =>
  withSuite(chain(), async ({ suite, out, folder }) => {
    const { code, err } = await run("bench", suite, "--out", out, "--filter", "label=LoRA,seed=2");
    assert.equal(code, 0, err);
    const { cells } = await records(out);
    assert.deepEqual(cells.map(({ label, config }) => `${label} ${config.seed}`), [
      "base 2",
      "specialized 2",
      "LoRA 2",
    ]);
    const parts: string[][] = [];
    for (const shard of ["1/2", "2/2"]) {
      const part = join(folder, `part-${shard[0]}`);
      assert.equal((await run("bench", suite, "--out", part, "--shard", shard)).code, 0);
      const { cells } = await records(part);
      assert.ok(cells.every(({ status }) => status === "ok"));
      parts.push(cells.map(({ id }) => id));
    }
    assert.equal(parts.flat().length, 8);
    assert.equal(new Set(parts.flat()).size, 8);
  }));

Deno.test("cells to start from that cannot be are refused with their place in the file", async () => {
  const cases: [string, RegExp][] = [
    [
      "  - { name: x, kind: matrix, defaults: { startFrom: { phase: bas, label: base } } }",
      /there is no such phase before this one.*did you mean base\?/,
    ],
    [
      "  - { name: x, kind: matrix, defaults: { startFrom: { phase: base, label: bse } } }",
      /there is none, expected base; did you mean base\?/,
    ],
    [
      "  - { name: x, kind: matrix, seeds: [3], defaults: { startFrom: { phase: base, label: base } } }",
      /it has no seed 3/,
    ],
    [
      "  - { name: x, kind: matrix, seeds: [1], defaults: { startFrom: { phase: fine-tuning, label: LoRA } } }",
      /it trains adapters, expected one that trains the model/,
    ],
    [
      "  - { name: x, kind: matrix, seeds: [1], defaults: { model: fake-slow, startFrom: { phase: base, label: base } } }",
      /it trains fake, this cell fake-slow: expected the same model/,
    ],
  ];
  for (const [changes, message] of cases) {
    await withSuite(chain({ changes: `${changes}\n` }), async ({ suite, out }) => {
      const { code, err } = await run("bench", suite, "--out", out);
      assert.equal(code, 2, err);
      assert.match(err, /suite\.yaml:17:\d+: phases\[3\].*Cannot start from cell/);
      assert.match(err, message);
    });
  }
});
