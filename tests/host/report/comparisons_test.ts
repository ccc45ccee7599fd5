import assert from "node:assert/strict";
import { attentionPairs, attentionRows } from "../../../report/rows/attention.ts";
import { breakEven, effectsByBatch } from "../../../report/rows/batch_effects.ts";
import { budgetsOf, combinations } from "../../../report/rows/budgets.ts";
import { fasterAmong, switchedCount } from "../../../report/rows/faster.ts";
import { guidePlans } from "../../../report/claims/guide.ts";
import { pairWeight } from "../../../report/rows/pairs.ts";
import { analyse, type Analysis } from "../../../report/rows/analysis.ts";
import { chainOf, fineTunings, seedwise, taskScores } from "../../../report/rows/fine_tuning.ts";
import { meanInterval } from "../../../results/intervals.ts";
import { profileOf, roofOf, utilisation } from "../../../report/rows/kernels.ts";
import { scaleRuns } from "../../../report/rows/loss_scales.ts";
import { combinationName } from "../../../report/words/names.ts";
import { llama7b, threeBillion } from "../../../report/claims/plans.ts";
import { judge } from "../../../report/claims/judge.ts";
import { fineTuningSection } from "../../../report/page/sections/fine_tuning.ts";
import { LEAN, stackPairs } from "../../../report/claims/stacks.ts";
import type { CellRecord } from "../../../results/record.ts";
import { asLoaded } from "./support.ts";
import { syntheticRun } from "./synthetic_run.ts";

const WHOLE = syntheticRun({ everything: true, batches: [1, 4], seeds: [0, 1, 2], tokens: 1024 });

function changed(change: (cells: CellRecord[]) => void, run = WHOLE.run) {
  const cells = structuredClone(WHOLE.cells);
  change(cells);
  return analyse(asLoaded({ run, cells }));
}

const asItIs = changed(() => {});

Deno.test("meanInterval() is Student's interval of a mean", () => {
  // t(0.975, 2) = 4.302653; the deviation of 1, 2, 3 is 1: reach 4.302653 / √3.
  const { estimate, low, high } = meanInterval([1, 2, 3]);
  assert.equal(estimate, 2);
  assert.ok(Math.abs(high - 2 - 4.302652729911275 / Math.sqrt(3)) < 1e-9);
  assert.ok(Math.abs(low + high - 4) < 1e-12);
  assert.deepEqual(meanInterval([5]), { estimate: 5, low: 5, high: 5, n: 1 });
  assert.throws(() => meanInterval([]), RangeError);
});

Deno.test("breakEven() finds the batch from which on a method saves memory", () => {
  const [first] = effectsByBatch(asItIs, "fp16");
  const effects = (...extra: [number, number][]) =>
    extra.map(([microBatchSize, bytes]) => ({
      ...first,
      microBatchSize,
      baseline: { ...first.baseline, memory: { ...first.baseline.memory!, bookedBytes: 1000 } },
      changed: { ...first.changed, memory: { ...first.changed.memory!, bookedBytes: 1000 + bytes } },
    }));
  assert.deepEqual(breakEven(effects([1, 30], [2, 10], [4, -10])), {
    kind: "between",
    below: 2,
    above: 4,
    at: 3,
  });
  assert.equal(breakEven(effects([1, -1], [2, -5]))!.kind, "always saves");
  assert.equal(breakEven(effects([1, 5], [2, 1]))!.kind, "never saves");
  assert.equal(breakEven(effects([1, 5])), null);
  // What costs nothing more has broken even.
  const at = breakEven(effects([1, 30], [2, 0]))!;
  assert.deepEqual([at.kind, at.kind === "between" && at.at], ["between", 2]);
  assert.equal(breakEven(effects([1, 0], [2, 0]))!.kind, "always saves");
});

Deno.test("effectsByBatch() compares each batch size with itself, in the phase made for it", () => {
  const effects = effectsByBatch(asItIs, "checkpoint");
  assert.deepEqual(effects.map(({ microBatchSize }) => microBatchSize), [1, 2, 4, 8]);
  for (const { baseline, changed, microBatchSize } of effects) {
    assert.equal(baseline.config.microBatchSize, microBatchSize);
    assert.equal(changed.phase, "per-batch-size");
    assert.deepEqual(baseline.config.methods, []);
  }
});

Deno.test("scaleRuns() counts the skipped updates after which the scale was not halved", () => {
  const runs = scaleRuns(
    changed((cells) => {
      for (const { samples, phase } of cells) if (phase === "overflow") samples!.lossScale![3] = 2 ** 24;
    }).configurations.filter(({ phase }) => phase === "overflow"),
  );
  assert.deepEqual(runs.map(({ faults }) => faults), [1, 1, 1]);
});

Deno.test("attentionPairs() pairs naive and flash attention where all else is equal", () => {
  const pairs = attentionPairs(attentionRows(asItIs.configurations));
  assert.equal(pairs.length, 20);
  for (const { naive, flash, byKernels } of pairs) {
    assert.ok(byKernels);
    const strip = ({ configuration: { config } }: typeof naive) =>
      config.methods.filter((method) => method !== "flash").join();
    assert.equal(strip(naive), strip(flash));
    assert.equal(naive.sequenceLength, flash.sequenceLength);
  }
  const unprofiled = changed((cells) => cells.forEach((cell) => cell.profile = null));
  assert.ok(
    attentionPairs(attentionRows(unprofiled.configurations)).every(({ byKernels, speedup }) =>
      !byKernels && speedup
    ),
  );
});

Deno.test("attentionPairs(): inference is timed by the last evaluation of each process", () => {
  assert.ok(
    attentionPairs(attentionRows(asItIs.configurations)).every(({ inference }) => inference === null),
  );
  const timed = changed((cells) => {
    for (const cell of cells.filter(({ phase }) => phase === "attention")) {
      const last = cell.config.methods.includes("flash") ? 10 : 15;
      cell.heldOut = [[0, 1000], [3, last]].map(([step, ms]) => ({ step, tokens: 64 * step, loss: 3, ms }));
    }
  });
  for (const { inference } of attentionPairs(attentionRows(timed.configurations))) {
    assert.ok(Math.abs(inference!.estimate - 1.5) < 1e-12, `${inference!.estimate}`);
  }
});

Deno.test("fineTunings() puts chains of different seeds together, and leaves out other starting points", () => {
  const tunings = fineTunings(asItIs);
  assert.deepEqual(tunings.map(({ kind }) => kind), ["full", "lora", "qlora-nf4", "qlora-int8"]);
  assert.ok(tunings.every(({ own }) => own.after.byCell.length === 3));
  const elsewhere = changed((cells) => {
    const base = cells.find(({ phase }) => phase === "base")!.id;
    for (const { label, config } of cells) if (label === "QLoRA NF4") config.startFrom = base;
  });
  assert.deepEqual(fineTunings(elsewhere).map(({ kind }) => kind), [
    "full",
    "lora",
    "qlora-int8",
  ]);
});

/** Fine-tuning to a task: accuracies 0.6, 0.7, 0.8 of three seeds in full, a tenth less with adapters. */
const withTask = changed((cells) => {
  for (const { phase, config, heldOut } of cells) {
    if (phase !== "fine-tuning") continue;
    const accuracy = 0.6 + 0.1 * config.seed - (config.methods.length > 0 ? 0.1 : 0);
    heldOut[0].accuracy = 0.99; // of the start, which counts for nothing
    Object.assign(heldOut.at(-1)!, { accuracy, macroF1: accuracy - 0.05, majorityShare: 0.5 });
  }
});

Deno.test("taskScores() are means over seeds after the last step, full fine-tuning first", () => {
  assert.deepEqual(taskScores(asItIs), [], "no labels, no scores");
  const scores = taskScores(withTask);
  assert.deepEqual(scores.map(({ configuration }) => configuration.label), [
    "full",
    "LoRA",
    "QLoRA NF4",
    "QLoRA int8",
  ]);
  const [full, lora] = scores;
  assert.equal(full.accuracy.byCell.length, 3);
  // t(0.975, 2) = 4.302653; the deviation of 0.6, 0.7, 0.8 is 0.1.
  assert.ok(Math.abs(full.accuracy.interval.estimate - 0.7) < 1e-12);
  assert.ok(Math.abs(full.accuracy.interval.high - 0.7 - 0.4302652729911275 / Math.sqrt(3)) < 1e-9);
  assert.ok(Math.abs(full.macroF1.interval.estimate - 0.65) < 1e-12);
  assert.ok(Math.abs(lora.accuracy.interval.estimate - 0.6) < 1e-12);
  assert.equal(full.majorityShare, 0.5);
});

Deno.test("the page has accuracy and F1 of fine-tuning with the interval of its seeds", () => {
  const context = { prefix: "", folderOf: () => "..", drawn: new Set<string>(), judgement: judge(withTask) };
  const text = (html: { text: string } | null) => html!.text.replace(/<[^>]+>/g, " ").replace(/\s+/g, " ");
  const page = text(fineTuningSection(withTask, context));
  assert.match(page, /Fine-tuning, accuracy and F1 fine-tuning accuracy macro F1 .* full 0\.7(00)? /);
  assert.match(page, /95 % interval over 3 seeds/);
  const without = text(fineTuningSection(asItIs, { ...context, judgement: judge(asItIs) }));
  assert.ok(!without.includes("accuracy"));
});

Deno.test("seedwise() compares what common seeds did", () => {
  const of = (...values: [number, number][]) => ({
    byCell: values.map(([seed, value]) => ({ id: "", seed, value })),
    interval: meanInterval(values.map(([, value]) => value)),
  });
  assert.ok(Math.abs(seedwise(of([1, 5], [2, 7], [3, 0]), of([2, 6], [1, 4]))!.estimate - 1) < 1e-12);
  assert.equal(seedwise(of([1, 5]), of([1, 4])), null);
});

Deno.test("chainOf() ends where weights come from nowhere, and where records go round in a circle", () => {
  const cells = structuredClone(WHOLE.cells);
  const last = cells.find(({ phase }) => phase === "fine-tuning")!;
  assert.deepEqual(chainOf(last, cells).map(({ phase }) => phase), ["base", "specialization", "fine-tuning"]);
  const [base] = chainOf(last, cells);
  base.config.startFrom = last.id;
  assert.equal(chainOf(last, cells).length, 3);
});

Deno.test("stackPairs() takes the phase with most seeds of a setting, whatever its figures", () => {
  const analysis = changed((cells) => {
    // The same stack in another phase, faster, with one seed.
    const [one] = cells.filter(({ phase, config }) => phase === "ladder" && config.optimizer === "adafactor");
    const copy = structuredClone(one);
    Object.assign(copy, { id: "0".repeat(12), phase: "single" });
    copy.samples!.ms = copy.samples!.ms.map((ms) => ms / 10);
    cells.unshift(copy);
  });
  const ours = stackPairs(analysis, LEAN).filter(({ changed }) => changed.config.model === "gpt2-tiny");
  assert.deepEqual(ours.map(({ changed }) => changed.phase), ["ladder"]);
});

Deno.test("pairWeight() counts the usual form, then seeds, then a common phase, then which; a sweep's cells least", () => {
  const [one] = asItIs.trained;
  const weight = (changes: Partial<typeof one> = {}, other: Partial<typeof one> = {}) => {
    const plain = { ...one, phaseKind: "matrix" as const, shows: null, phase: "a", seeds: [1] };
    return pairWeight({ ...plain, ...changes }, { ...plain, phase: "b", ...other });
  };
  const quantized = {
    ...one.config,
    optimizer: "adamw8bit",
    optimizerOptions: { quantizeEmbeddings: true },
  };
  const many = Array.from({ length: 60 }, (_, i) => i);
  const rising = [
    weight({ phaseKind: "batch-sweep", seeds: many, phase: "b" }, { seeds: many }),
    weight({ config: quantized, seeds: many, phase: "b" }, { seeds: many }),
    weight(),
    weight({}, { shows: "method-combinations" }),
    weight({}, { shows: "single-methods" }),
    weight({ phase: "b" }),
    weight({ seeds: [1, 2] }, { seeds: [1, 2] }),
    weight({ seeds: many }, { seeds: many }),
  ];
  assert.deepEqual(rising.toSorted((a, b) => a - b), rising);
  assert.equal(new Set(rising).size, rising.length);
  assert.equal(weight({ seeds: many }), weight(), "the side with fewer seeds counts");
});

Deno.test("budgetsOf() chooses the simplest of what nothing that fits is shown to be faster than, and no worse loss", () => {
  const { scaled, rows, candidates, basis } = budgetsOf(asItIs)!;
  assert.equal(basis, "booked");
  assert.ok(rows.every(({ fitting }) => fitting === candidates.length), "everything fits into GiB");
  assert.deepEqual(scaled.map(({ share }) => Number(share!.toFixed(2))), [1, 0.75, 0.5, 0.33, 0.25]);
  const isFaster = fasterAmong(candidates.map(({ configuration }) => configuration));
  for (const { best, bytes } of scaled) {
    const fits = candidates.filter(({ booked, loss }) => booked <= bytes && loss !== "worse");
    const unbeaten = fits.filter(({ configuration }) =>
      !fits.some((other) => isFaster(other.configuration, configuration))
    );
    assert.equal(best === null, fits.length === 0);
    if (!best) continue;
    assert.ok(unbeaten.includes(best));
    const counts = unbeaten.map(({ configuration }) => switchedCount(configuration, asItIs.baseline));
    assert.equal(switchedCount(best.configuration, asItIs.baseline), Math.min(...counts));
  }
});

Deno.test("budgetsOf() has what fits to the byte, nothing whose loss is worse, and needs two combinations", () => {
  const half = (bytes: number, worse = 0) => {
    const analysis = changed((cells) => {
      const ladder = cells.filter(({ phase }) => phase === "ladder");
      const [baseline] = ladder;
      const kept = ladder.filter(({ label }) => label === baseline.label || label === "+ fp16");
      for (const { label, memory, heldOut } of kept) {
        memory!.bookedPeakBytes = label === baseline.label ? 2e6 : bytes;
        if (label !== baseline.label) heldOut.forEach((point) => point.loss += worse);
      }
      cells.splice(0, cells.length, ...kept);
    });
    return budgetsOf(analysis)!.scaled.find(({ share }) => share === 0.5)!;
  };
  assert.deepEqual([half(1e6).fitting, half(1e6 + 1).fitting], [1, 0]);
  assert.equal(half(1e6).best?.configuration.label, "+ fp16");
  const worse = half(1e6, 1);
  assert.deepEqual([worse.fitting, worse.best], [1, null]);
  const alone = changed((cells) =>
    cells.splice(0, cells.length, ...cells.filter(({ phase }) => phase === "base"))
  );
  assert.equal(budgetsOf(alone), null);
});

Deno.test("budgetsOf() of a GPU counts what the driver holds, and needs no shares where GiB tell combinations apart", () => {
  const run = { ...WHOLE.run, environment: { ...WHOLE.run.environment, software: false } };
  const large = changed((cells) => {
    for (const { memory } of cells) {
      if (!memory?.bookedPeakBytes) continue;
      memory.bookedPeakBytes *= 300;
      if (memory.observedPeakBytes) memory.observedPeakBytes *= 300;
      memory.observedBaselineBytes = 2 * 2 ** 30;
    }
  }, run);
  const { rows, scaled, basis } = budgetsOf(large)!;
  assert.equal(basis, "observed with context");
  assert.deepEqual(scaled, []);
  assert.ok(rows[0].fitting < rows.at(-1)!.fitting);
  assert.ok(rows.every(({ best, bytes }) => !best || best.bytes <= bytes && best.bytes > best.booked));
});

/** The run with the baseline at batch 16 in a phase of its own: its times, and where its losses end. */
function withLargeBatch(slowness: number, loss: number) {
  return changed((cells) => {
    const rung = cells.filter(({ phase, label }) => phase === "ladder" && label === "baseline");
    for (const [i, cell] of rung.entries()) {
      const copy = structuredClone(cell);
      Object.assign(copy, { id: `${i}`.padStart(12, "f"), phase: "single", label: "baseline at batch 16" });
      copy.config.microBatchSize = 16;
      copy.samples!.ms = copy.samples!.ms.map((ms) => ms * slowness * 4);
      copy.samples!.tokens = copy.samples!.tokens.map((tokens) => tokens * 4);
      copy.heldOut = copy.heldOut.map((point) => ({ ...point, loss: point.loss + loss }));
      cells.push(copy);
    }
  });
}

Deno.test("budgetsOf() leaves the batch free: another one is advised where it is faster beyond the noise", () => {
  const best = (slowness: number) => budgetsOf(withLargeBatch(slowness, 0))!.rows[0].best!;
  assert.equal(best(0.3).configuration.effectiveBatchSize, 16);
  assert.equal(best(1).configuration.effectiveBatchSize, asItIs.baseline!.effectiveBatchSize);
});

Deno.test("budgetsOf() compares losses at equal effective batch alone", () => {
  const [plain, higher] = [0, 5].map((loss) =>
    budgetsOf(withLargeBatch(0.3, loss))!.candidates.map((one) => [one.configuration.key, one.loss])
  );
  assert.deepEqual(plain, higher, "what the other batch ends at changes no outcome");
  const batches = new Set(
    budgetsOf(asItIs)!.candidates.map(({ configuration }) => configuration.effectiveBatchSize),
  );
  assert.ok(batches.size > 1);
});

Deno.test("combinations() takes no times of a search, of a rate sweep or of an overflow", () => {
  const search = changed((cells) => {
    for (const cell of cells) if (cell.phase === "single") cell.role = "search";
  });
  const phases = (analysis: Analysis) => new Set(combinations(analysis).map(({ phase }) => phase));
  assert.ok(phases(asItIs).has("single") && !phases(search).has("single"));
  for (const phase of ["rates", "overflow"]) assert.ok(!phases(asItIs).has(phase), phase);
});

Deno.test("guidePlans() finds the guide's rows among planned cells", () => {
  assert.deepEqual(guidePlans(asItIs).map(({ row }) => row.label), [
    "baseline, batch 4, AdamW",
    "batch 1 × accumulation 4",
    "+ checkpointing",
    "batch 1 × 4 + checkpointing + fp16 + Adafactor",
  ]);
});

Deno.test("threeBillion() and llama7b() set planned bytes beside the paper's sums", () => {
  const small = threeBillion(asItIs)!;
  assert.deepEqual(small.roles.map(({ ours }) => ours.toFixed(1)), ["12.0", "12.0", "6.6"]);
  assert.equal(small.quantized!.gigabytes.toFixed(1), "6.1");
  assert.match(small.reasons[1], /2\.21 bytes a parameter: .* embeddings and small tensors keep f32\.$/);
  assert.match(
    small.reasons[2],
    /^With quantized embeddings it takes 2\.03, 6\.1 GB at 3 B, and weights .* can jump/,
  );
  const [large] = llama7b(asItIs);
  assert.equal(large.total.ours.toFixed(1), "11.8");
  assert.ok(large.reasons.every((reason) => reason.endsWith(".")));
});

Deno.test("profileOf() holds each kernel against the roof over it", () => {
  const one = asItIs.configurations.find(({ phase, config }) =>
    phase === "attention" && config.methods.length === 0
  )!;
  const roof = { matmulFlopsPerSecond: { f32: 100e9, f16: null }, copyBytesPerSecond: 10e9, how: "" };
  const { kernels } = profileOf(one, roof)!;
  const matmul = kernels.find(({ kernel }) => kernel.startsWith("matmul"))!;
  const [record] = one.ok[0].profile!.filter(({ kernel }) => kernel === matmul.kernel);
  const ceiling = Math.min(100e9, 10e9 * record.flops / record.bytes);
  assert.ok(Math.abs(matmul.ofRoof! - record.flops / record.ms * 1000 / ceiling) < 1e-12);
  const norm = kernels.find(({ kernel }) => kernel === "layer_norm")!;
  assert.ok(Math.abs(norm.ofRoof! - norm.bytesPerSecond! / 10e9) < 1e-12, "without products, bytes count");
  assert.ok(Math.abs(kernels.reduce((sum, { share }) => sum + share, 0) - 1) < 1e-12);
  const peak = one.ok[0].modelFlopsPerStep! / one.stepMs!.interval.estimate * 1000;
  assert.ok(Math.abs(utilisation(one, roof)! - peak / 100e9) < 1e-12);
});

Deno.test("roofOf() is no lower than the kernels under it", () => {
  const one = asItIs.configurations.find(({ phase, config }) =>
    phase === "attention" && config.methods.length === 0
  )!;
  const low = { matmulFlopsPerSecond: { f32: 1, f16: null }, copyBytesPerSecond: 1, how: "measured" };
  const shares = profileOf(one, roofOf([one], low))!.kernels.map(({ ofRoof }) => ofRoof ?? 0);
  assert.ok(Math.max(...shares) > 0.999 && shares.every((share) => share <= 1 + 1e-12), `shares ${shares}`);
  // Under the roof as measured, which all of them go through, none is printed as above it.
  for (const { ofRoof, bytesPerSecond } of profileOf(one, low)!.kernels) {
    assert.ok(bytesPerSecond! > low.copyBytesPerSecond && ofRoof === 1, `${ofRoof}`);
  }
  const high = { matmulFlopsPerSecond: { f32: 1e15, f16: null }, copyBytesPerSecond: 1e15, how: "measured" };
  assert.equal(roofOf([one], high), high);
  assert.equal(roofOf([one], null), null);
});

Deno.test("combinationName() names what is switched on, in the order of the ladder", () => {
  const { config } = WHOLE.cells[0];
  const of = (change: Partial<typeof config>) => combinationName({ ...config, ...change });
  const selective = { methods: ["fp16", "checkpoint"], methodOptions: { checkpoint: { selective: true } } };
  assert.match(of(selective), /^(accumulation \+ )?selective checkpointing \+ fp16/);
  assert.equal(of({}), "nothing switched on");
  assert.equal(
    of({ methods: ["flash", "fp16", "checkpoint"], gradientAccumulationSteps: 4, optimizer: "adamw8bit" }),
    "accumulation + checkpointing + fp16 + flash attention + 8-bit AdamW",
  );
  const eightBit = (quantizeEmbeddings: boolean, methods: string[] = []) =>
    of({ optimizer: "adamw8bit", optimizerOptions: { quantizeEmbeddings }, methods });
  assert.equal(eightBit(true), "8-bit AdamW with quantized embeddings");
  assert.equal(eightBit(false), "8-bit AdamW");
  assert.equal(eightBit(true, ["lora"]), "LoRA + 8-bit AdamW", "adapters leave embeddings alone");
});
