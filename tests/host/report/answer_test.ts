import assert from "node:assert/strict";
import { join } from "node:path";
import { Ajv2020 } from "ajv/dist/2020.js";
import { answerOf, answerText, ReportAnswer } from "../../../report/answer.ts";
import { inFolder, SMALL, writtenRun } from "./support.ts";
import { syntheticRun, writeSyntheticRun } from "./synthetic_run.ts";

Deno.test("answerOf() is a document of its schema, with every claim and every configuration", async () => {
  await inFolder(async (dir) => {
    const run = await writtenRun(dir, "run", { ...SMALL, everything: true });
    const answer = JSON.parse(JSON.stringify(await answerOf([run])));
    const check = new Ajv2020({ allowUnionTypes: true }).compile(ReportAnswer);
    assert.ok(check(answer), JSON.stringify(check.errors));
    assert.equal(answer.claims.length, 18);
    const lean = answer.claims.find(({ id }: { id: string }) => id === "C1a");
    assert.equal(lean.axes.memory, "yes");
    assert.deepEqual(Object.keys(lean.settings[0].axes[1]).sort(), [
      "answer",
      "axis",
      "figure",
      "model",
      "needed",
      "region",
      "unit",
      "weight",
      "why",
    ]);
    const rung = answer.configurations.find(({ phase, label }: Record<string, string>) =>
      phase === "ladder" && label === "+ Adafactor"
    );
    assert.ok(rung.memoryRatio > 3 && rung.throughputRatio.n === 2 && rung.processes === 2);
    assert.equal(rung.cells.length, 2);
    assert.deepEqual(Object.keys(rung.observedParts), ["context", "kernels", "booked", "rest"]);
    assert.equal(rung.observedParts.booked, rung.bookedPeakBytes);
  });
});

Deno.test("answerOf() leaves out the ends of an interval that one process has", async () => {
  await inFolder(async (dir) => {
    const { configurations } = await answerOf([await writtenRun(dir, "run", { ...SMALL, seeds: [0] })]);
    const { estimate, low, high, n } = configurations[0].tokensPerSecond!;
    assert.ok(estimate > 0);
    assert.deepEqual([low, high, n], [null, null, 1]);
  });
});

Deno.test("answerText() fits 80 columns: the verdict, and a row a rung", async () => {
  await inFolder(async (dir) => {
    const run = await writtenRun(dir, "run", {
      ...SMALL,
      everything: true,
      hostile: "\u001b[31m long".repeat(9),
    });
    const lines = (await answerText([run])).split("\n");
    assert.ok(lines.every((line) => [...line].length <= 80), lines.join("\n"));
    assert.ok(!/\p{Cc}/u.test(lines.join("")), "no control characters");
    assert.match(lines.join(" "), /configuration +memory +× +tokens\/s +× +loss/);
    const plain = (await answerText([await writtenRun(dir, "plain", { ...SMALL, ladder: true })])).split(
      "\n",
    );
    assert.match(plain.join(" "), /a third of the memory: yes/);
    assert.match(plain.at(-1)!, /^\+ Adafactor +22\.\d MiB +3\.12× +[\d.]+ k +0\.6\d× +\d\.\d{3}$/);
  });
});

Deno.test("answerOf() needs a run", async () => {
  await assert.rejects(answerOf([]), { name: "InputError" });
});

Deno.test("answerText() ends with a line for each phase and kind of end of what has no figures", async () => {
  await inFolder(async (dir) => {
    const text = async (name: string, change: (run: ReturnType<typeof syntheticRun>) => void) => {
      const run = syntheticRun({ ...SMALL, ladder: true });
      change(run);
      await writeSyntheticRun(join(dir, name), run);
      return (await answerText([join(dir, name)])).split("\n");
    };
    const whole = await text("whole", () => {});
    const broken = await text("broken", ({ cells }) => {
      const [a, b, c] = cells.filter(({ phase }) => phase === "batch-size");
      Object.assign(a, { status: "oom", samples: null, reason: `first ${"long ".repeat(40)}` });
      Object.assign(b, { status: "oom", samples: null, reason: "second" });
      Object.assign(c, { status: "not-run", samples: null, reason: "plan needs 2 GiB, budget 1 GiB" });
    });
    assert.ok(!whole.some((line) => line.startsWith("phase ")));
    const lines = broken.filter((line) => line.startsWith("phase "));
    assert.equal(lines.length, 2);
    assert.match(lines[0], /^phase batch-size: 2 cells oom: first long long .*…, and 1 more reason$/);
    assert.equal([...lines[0]].length, 80);
    assert.equal(lines[1], "phase batch-size: 1 cell not-run: plan needs 2 GiB, budget 1 GiB");
  });
});
