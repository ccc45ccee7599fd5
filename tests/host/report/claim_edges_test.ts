// Every axis of a claim at the edge of what it asks for, through the whole judge, by records without noise.
import assert from "node:assert/strict";
import { judge } from "../../../report/claims/judge.ts";
import { analyse } from "../../../report/rows/analysis.ts";
import type { CellRecord } from "../../../results/record.ts";
import type { Role } from "../../../results/record.ts";
import { asLoaded } from "./support.ts";
import { syntheticRun } from "./synthetic_run.ts";

const WHOLE = syntheticRun({ everything: true, batches: [1, 8], seeds: [0, 1], tokens: 1024 });
const CELLS = WHOLE.cells.filter(({ phase }) => phase !== "factorial");

type Change = (cell: CellRecord) => void;
type Which = (cell: CellRecord) => boolean;

/** The answers that a claim's settings give on an axis, each once; of settings that a pattern names alone. */
function answers(id: string, axis: string, change: (cells: CellRecord[]) => void, setting = /gpt2-tiny/) {
  const cells = structuredClone(CELLS);
  change(cells);
  const { settings } = judge(analyse(asLoaded({ run: WHOLE.run, cells }))).verdicts.find((one) =>
    one.id === id
  )!;
  const found = settings.filter((one) => setting.test(one.setting)).flatMap(({ axes }) =>
    axes.filter((one) => one.axis === axis).map(({ answer }) => answer)
  );
  return [...new Set(found)].join();
}

const each = (...changes: [Which, Change][]) => (cells: CellRecord[]) =>
  changes.forEach(([which, change]) => cells.filter(which).forEach(change));

const inPhase = (...phases: string[]) => ({ phase }: CellRecord) => phases.includes(phase);
const uses = (method: string) => ({ config }: CellRecord) => config.methods.includes(method);
const not = (which: Which) => (cell: CellRecord) => !which(cell);
const both = (...all: Which[]) => (cell: CellRecord) => all.every((which) => which(cell));
const isBare = ({ config }: CellRecord) => config.methods.length === 0 && config.optimizer === "adamw";
const accumulates = ({ config }: CellRecord) => config.gradientAccumulationSteps > 1;
const isBaseline = both(isBare, not(accumulates));

/** All steps take so long a token. */
const takes = (ms: number) => ({ samples }: CellRecord) => {
  if (samples) samples.ms = samples.tokens.map((tokens) => ms * tokens);
};
const books = (bytes: number) => ({ memory }: CellRecord) => {
  memory!.bookedPeakBytes = bytes;
};
const holds = (roles: Partial<Record<Role, number>>) => ({ memory }: CellRecord) => {
  for (const bytes of [memory!.plannedByRole, memory!.bookedByRole]) if (bytes) Object.assign(bytes, roles);
};
const plans = (bytes: number) => ({ memory }: CellRecord) => {
  memory!.plannedPeakBytes = bytes;
};

const isLean = both(inPhase("ladder"), ({ config }) => config.optimizer === "adafactor");
/** The baseline with accumulation beside the one without, wherever they ran. */
const split = both(isBare, accumulates);
const byBatch = inPhase("per-batch-size");
const long = both(inPhase("attention"), ({ config }) => config.sequenceLength === 1024);
const tuned = inPhase("fine-tuning");
const isFull = both(tuned, isBare);
const isQuantized: Which = ({ config }) => config.methods.some((method) => /qlora/.test(method));
const isLora = both(tuned, uses("lora"));
const ofInt8 = both(inPhase("llama2-7b"), uses("qlora-int8"));

/** The baseline's milliseconds a token, and the other's. */
const times = (baseline: Which, changed: Which) => (theirs: number, ours: number) =>
  each([baseline, takes(theirs)], [changed, takes(ours)]);
const bytes = (baseline: Which, changed: Which) => (theirs: number, ours: number) =>
  each([baseline, books(theirs)], [changed, books(ours)]);

Deno.test("C1a: a third of the memory, and 0.95 of the throughput", () => {
  const ladder = both(inPhase("ladder"), isBaseline);
  const memory = (ours: number) => answers("C1a", "memory", bytes(ladder, isLean)(3e6, ours));
  assert.deepEqual([1e6, 1e6 + 1].map(memory), ["yes", "no"]);
  const throughput = (ours: number) => answers("C1a", "throughput", times(ladder, isLean)(95, ours));
  assert.deepEqual([100, 100.01].map(throughput), ["yes", "no"]);
});

Deno.test("C2: fewer bytes than the baseline's; 0.95 of the throughput is told", () => {
  const memory = (ours: number) => answers("C2", "memory", bytes(isBaseline, split)(1e6, ours));
  assert.deepEqual([1e6 - 1, 1e6].map(memory), ["yes", "no"]);
  const throughput = (ours: number) => answers("C2", "throughput", times(isBaseline, split)(95, ours));
  assert.deepEqual([100, 100.01].map(throughput), ["yes", "no"]);
});

Deno.test("C3: fewer bytes of activations; 15 to 25 % slower", () => {
  const [plain, checkpointed] = [both(byBatch, isBare), both(byBatch, uses("checkpoint"))];
  const memory = (activations: number) =>
    answers(
      "C3",
      "memory",
      each([plain, holds({ activations: 1000 })], [checkpointed, holds({ activations })]),
    );
  assert.deepEqual([999, 1000].map(memory), ["yes", "no"]);
  const time = (ours: number) => answers("C3", "slow-down", times(plain, checkpointed)(100, ours));
  assert.deepEqual([114.99, 115, 125, 125.01].map(time), ["no", "yes", "yes", "no"]);
});

Deno.test("C4: faster at all; more bytes in some pair; weights one and a half times, to 0.05", () => {
  const [plain, half] = [both(byBatch, isBare), both(byBatch, uses("fp16"))];
  const speed = (ours: number) => answers("C4", "speed", times(plain, half)(100, ours));
  assert.deepEqual([99.9, 100, 100.1].map(speed), ["yes", "no", "no"]);
  const memory = (ours: number) => answers("C4", "more memory", bytes(plain, half)(1e5, ours));
  assert.deepEqual([1e5 + 1, 1e5, 1e5 - 1].map(memory), ["yes", "no", "no"]);
  const weights = (masterWeights: number) =>
    answers(
      "C4",
      "weights",
      each([plain, holds({ weights: 1000, masterWeights: 0 })], [
        half,
        holds({ weights: 1000, masterWeights }),
      ]),
    );
  assert.deepEqual([449, 451, 549, 551].map(weights), ["no", "yes", "yes", "no"]);
});

Deno.test("C5: a scale of 1 is as low as it goes, and keeping it is no fault", () => {
  const skips = (...lossScale: number[]) =>
    answers(
      "C5",
      "skips on overflow",
      each([uses("fp16"), ({ samples }) => {
        if (samples) Object.assign(samples, { lossScale, skipped: [0] });
      }]),
      /./,
    );
  assert.deepEqual([skips(2, 1), skips(1, 1), skips(2, 2), skips(1, 0.5)], ["yes", "yes", "no", "no"]);
});

Deno.test("C6: attention, or where it was timed evaluation, faster at all, fewer bytes, over a quantized base too", () => {
  const plain = both(long, not(isQuantized));
  const [naive, flash] = [not(uses("flash")), uses("flash")];
  const attends = (ms: number) => (cell: CellRecord) => {
    cell.profile = [{ kernel: "attention", ms, dispatches: 1, flops: 1, bytes: 1 }];
  };
  const speed = (ms: number) =>
    answers("C6", "speed", each([both(long, naive), attends(100)], [both(long, flash), attends(ms)]), /1024/);
  assert.deepEqual([99.9, 100].map(speed), ["yes", "no"]);
  const memory = (ours: number) =>
    answers("C6", "memory", bytes(both(plain, naive), both(plain, flash))(1e6, ours), /1024/);
  assert.deepEqual([1e6 - 1, 1e6].map(memory), ["yes", "no"]);
  const evaluates = (ms: number) => (cell: CellRecord) => {
    cell.heldOut = [{ step: 3, tokens: 192, loss: 3, ms }];
  };
  const inference = (ms: number) =>
    answers(
      "C6",
      "speed",
      each([both(long, naive), evaluates(100)], [both(long, flash), evaluates(ms)]),
      /1024/,
    );
  assert.deepEqual([99.9, 100].map(inference), ["yes", "no"]);
  const quantized = both(long, isQuantized);
  const over = (ours: number) =>
    answers(
      "C6",
      "with quantization",
      bytes(both(quantized, naive), both(quantized, flash))(1e6, ours),
      /1024/,
    );
  assert.deepEqual([1e6 - 1, 1e6].map(over), ["yes", "no"]);
});

Deno.test("C6 without sequence lengths: the whole step faster at all, in fewer bytes", () => {
  const without = (change: (cells: CellRecord[]) => void) => (cells: CellRecord[]) => {
    change(cells);
    cells.splice(0, cells.length, ...cells.filter(({ phase }) => phase !== "attention"));
  };
  const flash = both(inPhase("single"), uses("flash"));
  const speed = (ours: number) => answers("C6", "speed", without(times(isBaseline, flash)(100, ours)));
  assert.deepEqual([99.9, 100].map(speed), ["yes", "no"]);
  const memory = (ours: number) => answers("C6", "memory", without(bytes(isBaseline, flash)(1e6, ours)));
  assert.deepEqual([1e6 - 1, 1e6].map(memory), ["yes", "no"]);
});

Deno.test("C7: Adafactor's bytes a parameter from 4 to 4.5", () => {
  const of = (perParameter: number) =>
    answers(
      "C7",
      "Adafactor",
      each([both(inPhase("3b"), ({ config }) => config.optimizer === "adafactor"), (cell) => {
        Object.assign(cell, { parameters: 3e9, trainableParameters: 3e9 });
        holds({ optimizer: 3e9 * perParameter })(cell);
      }]),
      /./,
    );
  assert.deepEqual([3.999, 4, 4.5, 4.501].map(of), ["no", "yes", "yes", "no"]);
});

Deno.test("C8: the sum rounds to 30 GB from 29.5 on", () => {
  const of = (optimizer: number) =>
    answers(
      "C8",
      "sum",
      each([both(inPhase("3b"), ({ config }) => config.optimizer === "adamw8bit"), (cell) => {
        Object.assign(cell, { parameters: 3e9, trainableParameters: 3e9 });
        holds({ weights: 12e9, gradients: 12e9, optimizer })(cell);
      }]),
      /./,
    );
  assert.deepEqual([5.5e9, 5.49e9].map(of), ["yes", "no"]);
});

Deno.test("C9: 0.1 to 1 % trained, fewer bytes of gradients and states", () => {
  const share = (trainableParameters: number) =>
    answers(
      "C9",
      "trained share",
      each([isLora, (cell) => Object.assign(cell, { parameters: 1e6, trainableParameters })]),
    );
  assert.deepEqual([999, 1000, 10_000, 10_001].map(share), ["no", "yes", "yes", "no"]);
  const learning = (gradients: number) =>
    answers(
      "C9",
      "gradients and states",
      each([isFull, holds({ gradients: 1000, optimizer: 0 })], [isLora, holds({ gradients, optimizer: 0 })]),
    );
  assert.deepEqual([999, 1000].map(learning), ["yes", "no"]);
});

Deno.test("C9: planned ranks count up to 64", () => {
  const planned = (rank: number) =>
    answers(
      "C9",
      "trained share",
      each([inPhase("llama2-7b"), ({ config }) => {
        config.methodOptions = Object.fromEntries(config.methods.map((method) => [method, { rank }]));
      }]),
      /planned/,
    );
  assert.deepEqual([64, 65].map(planned), ["no", ""]);
});

Deno.test("C10: 15 to 17 GB to whole gigabytes, and fourfold from 3.5 on", () => {
  const memory = (bytes: number) => answers("C10", "memory", each([ofInt8, plans(bytes)]), /./);
  assert.deepEqual([14.49e9, 14.5e9, 17.5e9, 17.51e9].map(memory), ["no", "yes", "yes", "no"]);
  const fourfold = (bytes: number) =>
    answers("C10", "fourfold", (cells) => {
      const full = structuredClone(cells.find(ofInt8)!);
      full.config = { ...full.config, methods: [], methodOptions: {} };
      full.label = "full fine-tuning";
      plans(bytes)(full);
      each([ofInt8, plans(10e9)])(cells);
      cells.push(full);
    }, /./);
  assert.deepEqual([34.9e9, 35e9].map(fourfold), ["no", "yes"]);
});

Deno.test("C11: fewer bytes of weights and in all, and 0.95 of the throughput", () => {
  const quantized = both(tuned, isQuantized);
  const memory = (weights: number, peak: number) =>
    answers(
      "C11",
      "memory",
      each([isLora, holds({ weights: 1000 })], [isLora, books(1e6)], [quantized, holds({ weights })], [
        quantized,
        books(peak),
      ]),
    );
  assert.deepEqual([memory(999, 1e6 - 1), memory(1000, 1e6 - 1), memory(999, 1e6)], ["yes", "no", "no"]);
  const throughput = (ours: number) => answers("C11", "throughput", times(isLora, quantized)(95, ours));
  assert.deepEqual([100, 100.01].map(throughput), ["yes", "no"]);
});

/** How the loss on the original text rises, from a whole number so that little is rounded. */
const rises = (amount: number) => ({ heldOutElsewhere }: CellRecord) => {
  for (const { points } of heldOutElsewhere) {
    points[0].loss = 3;
    points.at(-1)!.loss = 3 + amount;
  }
};

Deno.test("C12: forgetting is a rise above 0, forgetting less is below full's, overcome is within the margin", () => {
  const adapters = both(tuned, not(isBare));
  const of = (axis: string, full: number, adapter: number) =>
    answers("C12", axis, each([isFull, rises(full)], [adapters, rises(adapter)]));
  // A loss that did not change was not forgotten, and leaves nothing to be told of the adapters.
  assert.deepEqual([of("full forgets", 1e-5, 0), of("full forgets", 0, 0)], ["yes", "cannot tell"]);
  assert.deepEqual([of("forgets less", 0.5, 0.4999), of("forgets less", 0.5, 0.5)], ["yes", "no"]);
  assert.deepEqual([of("overcomes", 0.5, 0.01), of("overcomes", 0.5, 0.0101)], ["yes", "no"]);
});

Deno.test("C13: throughput that differs by more than a twentieth, loss by more than the margin, either way", () => {
  const [first, last] = [1, 8].map((size) =>
    both(inPhase("batch-size"), ({ config }) => config.microBatchSize === size)
  );
  const throughput = (theirs: number, ours: number) =>
    answers("C13", "throughput", times(first, last)(theirs, ours));
  assert.deepEqual([throughput(95, 100), throughput(94.9, 100)], ["no", "yes"]);
  assert.deepEqual([throughput(100, 95), throughput(100, 94.9)], ["no", "yes"]);
  const ends = (loss: number) => ({ heldOut }: CellRecord) => heldOut.forEach((point) => point.loss = loss);
  const quality = (loss: number) => answers("C13", "quality", each([first, ends(3)], [last, ends(loss)]));
  assert.deepEqual([3.01, 3.0101, 2.99, 2.9899].map(quality), ["no", "yes", "no", "yes"]);
});

Deno.test("C14: first losses within a ten thousandth", () => {
  const first = (loss: number) => (cell: CellRecord) => {
    if (cell.samples) cell.samples.loss[0] = loss;
  };
  const of = (loss: number) =>
    answers("C14", "first step", each([isBaseline, first(1)], [split, first(loss)]));
  assert.deepEqual([1.0000999, 1.0001001].map(of), ["yes", "no"]);
});

Deno.test("C15: three stages, each of which lowers its loss by more than the margin, in two seeds or more", () => {
  const lowers = (amount: number) => ({ heldOut, samples }: CellRecord) => {
    if (heldOut.length === 0) return;
    samples!.loss[0] = heldOut[0].loss = 3;
    heldOut.at(-1)!.loss = 3 - amount;
  };
  const stages = inPhase("base", "specialization", "fine-tuning");
  const of = (amount: number, axis = "specialization") =>
    answers("C15", axis, each([stages, lowers(amount)]), /→/);
  assert.deepEqual([of(0.0101), of(0.0099)], ["yes", "no"]);
  assert.equal(of(0.1, "three stages"), "yes");
  const fewer = (change: (cells: CellRecord[]) => void, axis: string) =>
    answers("C15", axis, (cells) => {
      each([stages, lowers(0.1)])(cells);
      change(cells);
    }, /→/);
  const two = each([inPhase("specialization"), ({ config }) => config.startFrom = null]);
  assert.equal(fewer(two, "three stages"), "cannot tell");
  const oneSeed = (cells: CellRecord[]) => {
    cells.splice(0, cells.length, ...cells.filter(({ config }) => config.seed === 0));
  };
  assert.equal(fewer(oneSeed, "specialization"), "cannot tell");
});

Deno.test("C16: ten times as fast", () => {
  const of = (ours: number) =>
    answers("C16", "computing", times(isFull, both(tuned, not(isBare)))(100, ours));
  assert.deepEqual([10, 10.001].map(of), ["yes", "no"]);
});

Deno.test("C17: faster at all, and adapters of a tenth of the model's bytes", () => {
  const adapters = both(tuned, not(isBare));
  const time = (ours: number) => answers("C17", "time", times(isFull, adapters)(100, ours));
  assert.deepEqual([99.9, 100].map(time), ["yes", "no"]);
  const storage = (adapterBytes: number) =>
    answers(
      "C17",
      "storage",
      each([adapters, (cell) => Object.assign(cell, { parameters: 1e6, adapterBytes })]),
    );
  assert.deepEqual([400_000, 400_001].map(storage), ["yes", "no"]);
});

Deno.test("C7 compares two optimizers at least", () => {
  const tested = (...optimizers: string[]) =>
    answers("C7", "AdamW", (cells) => {
      cells.splice(0, cells.length, ...cells.filter(({ config }) => optimizers.includes(config.optimizer)));
    }, /./);
  assert.deepEqual([tested("adamw"), tested("adamw", "adafactor")], ["", "yes"]);
});
