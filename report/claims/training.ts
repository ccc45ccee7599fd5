/** C1a to C6: the combination, and the methods it is made of. */
import { exactly, inverse } from "../../results/stats.ts";
import type { Analysis } from "../rows/analysis.ts";
import { type AttentionPair, attentionPairs, type AttentionRow, attentionRows } from "../rows/attention.ts";
import { equalMemoryRows } from "../rows/equal_memory.ts";
import { type BatchEffect, breakEven, effectGroups, meanTime } from "../rows/batch_effects.ts";
import type { Configuration } from "../rows/configuration.ts";
import { scaleRuns } from "../rows/loss_scales.ts";
import { BEYOND_CONFIDENCE, MARGINS } from "../../results/margins.ts";
import {
  bestPerSetting,
  memoryRatio,
  observedRatio,
  type Pair,
  pairsOf,
  throughputRatio,
} from "../rows/pairs.ts";
import { count, formatBytes, formatInterval, formatNumber, memoryText } from "../words/format.ts";
import { combinationName, optimizerName } from "../words/names.ts";
import {
  type Axis,
  type Claim,
  type Finding,
  measuredAxis,
  plainAxis,
  qualityAxis,
  untested,
} from "./claim.ts";
import { above, atLeast, between } from "./decide.ts";
import type { LossOf } from "./ledger.ts";
import { CHECKPOINTING_SLOWDOWN, MIXED_WEIGHTS, THREEFOLD } from "./paper.ts";
import { FLASH, LEAN, type StackKind, stackPairs } from "./stacks.ts";
import { comparison, lossText, settingName } from "./words.ts";

const CONFIDENCE = MARGINS.confidence.value;
const HELD = 1 - MARGINS.throughput.value;

const STACK_RULE =
  `Memory: a booked peak at least ${THREEFOLD}× smaller, exact. Throughput: at least ${HELD}× the baseline's at the same ` +
  "effective batch, by the interval over processes. Quality: held-out loss at equal tokens less than the margin higher. " +
  "Where the search at equal memory chose the micro-batch, the stack need not accumulate. ";

export const C1a: Claim = {
  id: "C1a",
  claim:
    "Accumulation, checkpointing, mixed precision and Adafactor: a threefold reduction of memory can be had while throughput " +
    "holds; convergence may be worse",
  paper: "threefold",
  source: "Hugging Face's guide (2022): up to 3×; BERT-large 3.08× at 1.02× the throughput",
  rule: STACK_RULE +
    "Memory and throughput decide, as the paper allows for worse convergence; quality stands beside them.",
  untested: "needs the baseline and that stack at the same effective batch (the ladder of suites/paper.yaml)",
  examine: (analysis) => examineStacks(analysis, LEAN, "reported"),
};

export const C1b: Claim = {
  id: "C1b",
  claim:
    "Accumulation, checkpointing, mixed precision and FlashAttention-2, correctly combined: a threefold reduction is possible, " +
    "throughput and quality kept; no optimizer is named",
  paper: "threefold",
  source: null,
  rule: STACK_RULE + "All three decide. Each optimizer that was tried is a setting of its own.",
  untested: "needs the baseline and that stack with FlashAttention-2 at the same effective batch",
  examine: (analysis) => examineStacks(analysis, FLASH, "decides"),
};

function examineStacks(analysis: Analysis, kind: StackKind, quality: Axis["weight"]) {
  const comparisons = stackPairs(analysis, kind);
  if (comparisons.length === 0) return null;
  return {
    comparisons,
    judge: (loss: LossOf) =>
      comparisons.map((pair, i) => {
        const finding = stackFinding(pair, loss, quality);
        return i > 0 ? finding : { ...finding, ours: finding.ours + bestOfAThird(analysis) };
      }),
  };
}

/** What the search at equal memory found for a third of it, whichever methods that switches on. */
function bestOfAThird(analysis: Analysis): string {
  const row = equalMemoryRows(analysis).find(({ ratio }) => ratio >= THREEFOLD);
  if (!row || row.fit > 0 && !row.throughputRatio) return "";
  const within = `. Of all combinations within ${formatBytes(row.budgetBytes)}, ${row.ratio}× less memory, `;
  if (row.fit === 0) return `${within}none fits`;
  const { config } = row.finalist!.configuration;
  return `${within}the fastest found (${
    combinationName(config)
  }, micro-batch ${config.microBatchSize}) has throughput × ${formatInterval(row.throughputRatio!, 2)}`;
}

function stackFinding(pair: Pair, loss: LossOf, quality: Axis["weight"]): Finding {
  const memory = memoryRatio(pair);
  const rate = throughputRatio(pair, CONFIDENCE);
  const observed = observedRatio(pair);
  const { config } = pair.changed;
  const seen = observed ? ` (observed with context: ratio ${formatInterval(observed, 2)})` : "";
  return {
    setting: `${settingName(pair.changed)}, micro-batch ${config.microBatchSize}, ${
      optimizerName(config.optimizer)
    }`,
    axes: [
      measuredAxis("memory", memory === null ? null : exactly(memory), atLeast(THREEFOLD)),
      measuredAxis("throughput", rate, atLeast(HELD)),
      qualityAxis(loss(pair), quality),
    ],
    ours: `${combinationName(config)}: ${memory === null ? "no memory record" : memoryText(memory)}${seen}, ${
      rate ? `throughput × ${formatInterval(rate, 2)}` : "not timed"
    }, ${lossText(loss(pair))}`,
    cells: [pair.baseline, pair.changed],
    section: "ladder",
    pair,
  };
}

export const C2: Claim = {
  id: "C2",
  claim: "Accumulation raises the effective batch beyond what memory allows; more passes can slow training",
  paper: "no figure",
  source: "guide: 1.72× less memory, 0.87× the throughput",
  rule:
    "By construction: at the same effective batch less booked memory, and a held-out loss that is not higher by the margin. It " +
    "fails by a fault alone. The slow-down is told.",
  untested: "needs a cell with accumulation beside the baseline",
  examine(analysis) {
    const pairs = bestPerSetting(pairsOf(analysis, { methods: [], accumulates: true }));
    if (pairs.length === 0) return null;
    return {
      comparisons: pairs,
      judge: (loss) =>
        pairs.map((pair, i) => {
          const { config } = pair.changed;
          const memory = memoryRatio(pair);
          return {
            setting: settingName(pair.changed),
            axes: [
              plainAxis("memory", memory === null ? null : memory > 1, { weight: "by construction" }),
              // Equal sums leave rounding: a loss that is not shown is no fault, one that is higher is.
              { ...constructed(qualityAxis(loss(pair))), axis: "equal loss" },
              measuredAxis("throughput", throughputRatio(pair, CONFIDENCE), atLeast(HELD), {
                weight: "reported",
              }),
            ],
            ours: `micro-batch ${config.microBatchSize} × ${config.gradientAccumulationSteps}: ${
              comparison(pair, loss)
            }${i === 0 ? beyondMemory(analysis) : ""}`,
            cells: [pair.baseline, pair.changed],
            section: "ladder",
          };
        }),
    };
  },
};

/** The largest batch that was planned both whole and in micro-batches: what accumulation makes room for. */
function beyondMemory({ planned }: Pick<Analysis, "planned">): string {
  const pairs = pairsOf({ trained: planned }, { methods: [], accumulates: true });
  const [largest] = pairs.toSorted((a, b) => b.changed.effectiveBatchSize - a.changed.effectiveBatchSize);
  if (!largest) return "";
  const { baseline, changed } = largest;
  const [whole, split] = [baseline, changed].map(({ memory }) => formatBytes(memory?.plannedBytes ?? null));
  const { model, sequenceLength, microBatchSize } = changed.config;
  return `. Planned: ${model} at ${changed.effectiveBatchSize} × ${sequenceLength} tokens takes ${whole} whole, ${split} in ` +
    `micro-batches of ${microBatchSize}`;
}

/** What holds by construction is refuted by a shown failure, and by nothing less. */
function constructed(axis: Axis): Axis {
  return {
    ...axis,
    weight: "by construction",
    answer: axis.answer === "no" ? "no" : "yes",
    why: axis.answer === "cannot tell" ? "the same sums in another order" : axis.why,
  };
}

export const C3: Claim = {
  id: "C3",
  claim: "Checkpointing makes the use of memory more efficient and slows learning by about 20 %",
  paper: "about 20 %",
  source: "guide: 0.77× the throughput (5.99 of 7.75 samples/s)",
  rule:
    "Memory: fewer bytes of activations at every batch size. Slow-down (geometric mean over batch sizes): an interval inside 15 " +
    "to 25 %, which is what rounds to 20 %; one outside, at 95 % since there are two sides to it, refutes it.",
  untested: "needs a cell with checkpointing beside the same cell without",
  examine(analysis) {
    const activations = ({ memory }: Configuration) => memory?.byRole.activations ?? 0;
    return untested(
      effectGroups(analysis, "checkpoint").map((effects) => {
        const saves = effects.every(({ baseline, changed }) => activations(changed) < activations(baseline));
        const each = effects.map(({ microBatchSize, baseline, changed, time }) =>
          `batch ${microBatchSize}: activations ${formatBytes(activations(baseline))} → ${
            formatBytes(activations(changed))
          }, time × ${time ? formatInterval(time, 2) : "–"}`
        );
        const slowdown = measuredAxis(
          "slow-down",
          meanTime(effects, CONFIDENCE),
          between(CHECKPOINTING_SLOWDOWN.low, CHECKPOINTING_SLOWDOWN.high),
          { beyond: meanTime(effects, BEYOND_CONFIDENCE) },
        );
        const together = slowdown.figure && effects.length > 1
          ? `; in all time × ${formatInterval(slowdown.figure, 2)}`
          : "";
        return {
          setting: sizesName(effects),
          axes: [
            plainAxis("memory", saves),
            slowdown,
          ],
          ours: each.join("; ") + together,
          cells: effects.flatMap(({ baseline, changed }) => [baseline, changed]),
          section: "per-batch-size",
        };
      }),
    );
  },
};

/** `gpt2 on moby-dick, 1024 tokens, batches 1, 2, 4`. */
function sizesName(effects: readonly BatchEffect[]): string {
  const { model, data, sequenceLength } = effects[0].changed.config;
  const sizes = effects.map(({ microBatchSize }) => microBatchSize).join(", ");
  return `${model} on ${data}, ${sequenceLength} tokens, ${
    effects.length > 1 ? "batches" : "batch"
  } ${sizes}`;
}

export const C4: Claim = {
  id: "C4",
  claim:
    "Mixed precision can be faster; it can need more memory, above all with small batches, since weights are held 1.5 times",
  paper: "1.5 times the weights",
  source: "guide: 2.10× the throughput, 1.07× less memory",
  rule:
    "Speed: times the throughput (geometric mean over batch sizes) by an interval above 1; one below refutes it. Memory: more " +
    "booked or planned bytes in some pair with and without it: bytes are exact, and “can” asks for one. Weights: " +
    "6 bytes where f32 has 4, by construction.",
  untested: "needs a cell with fp16 beside the same cell without",
  examine(analysis) {
    const groups = effectGroups(analysis, "fp16");
    const heavy = heaviest(analysis, groups.flat());
    return untested(
      groups.map((effects) => {
        const [smallest] = effects;
        const weights = ({ memory }: Configuration) =>
          (memory?.byRole.weights ?? 0) + (memory?.byRole.masterWeights ?? 0);
        const heavier = weights(smallest.changed) / weights(smallest.baseline);
        const time = meanTime(effects, CONFIDENCE);
        const speed = time && inverse(time);
        return {
          setting: sizesName(effects),
          axes: [
            measuredAxis("speed", speed, above(1)),
            measuredAxis("more memory", heavy && exactly(1 / heavy.ratio), above(1), { why: heavy?.name }),
            // Norms and biases stay in f32, so a little less than half is added.
            plainAxis("weights", Math.abs(heavier - MIXED_WEIGHTS) < 0.05, {
              weight: "by construction",
            }),
          ],
          ours: [
            `throughput × ${speed ? formatInterval(speed, 2) : "–"} over ${
              count(effects.length, "batch size")
            }`,
            heavy ? `${heavy.name}: ${memoryText(heavy.ratio)}` : "no memory record",
            breakEvenText(effects),
            `weights × ${formatNumber(heavier, 2)}`,
          ].join("; "),
          cells: effects.flatMap(({ baseline, changed }) => [baseline, changed]),
          section: "per-batch-size",
        };
      }),
    );
  },
};

/** The pair with and without fp16, run or planned, in which fp16 takes most more memory; null without any. */
function heaviest(
  { planned }: Pick<Analysis, "planned">,
  measured: readonly Pair[],
): { ratio: number; name: string } | null {
  const tokens = ({ config }: Configuration) => config.microBatchSize * config.sequenceLength;
  const bytes = ({ memory }: Configuration) => memory?.bookedBytes ?? memory?.plannedBytes ?? 0;
  const plans = planned.filter(({ shows }) => shows === "mixed-precision-plan");
  const pairs = plans.filter(({ config }) => config.methods.length === 0).flatMap((baseline): Pair[] => {
    const changed = plans.find((one) =>
      one.config.methods.join() === "fp16" && one.config.model === baseline.config.model &&
      tokens(one) === tokens(baseline)
    );
    return changed ? [{ baseline, changed }] : [];
  });
  const ratios = [...measured, ...pairs].filter(({ baseline, changed }) => bytes(baseline) && bytes(changed))
    .map(({ baseline, changed }) => ({ changed, ratio: bytes(baseline) / bytes(changed) }));
  const [least] = ratios.toSorted((a, b) => a.ratio - b.ratio);
  if (!least) return null;
  const { config, kind } = least.changed;
  const how = kind === "planned" ? " as planned" : "";
  return {
    ratio: least.ratio,
    name: `${config.model}, batch ${config.microBatchSize} × ${config.sequenceLength} tokens${how}`,
  };
}

/** `memory breaks even at batch 3 (between 2 and 4)`. */
export function breakEvenText(effects: Parameters<typeof breakEven>[0]): string {
  const found = breakEven(effects);
  if (!found) return "break-even needs two batch sizes";
  switch (found.kind) {
    case "between":
      return `memory breaks even at batch ${
        formatNumber(found.at, 1)
      } (between ${found.below} and ${found.above} measured)`;
    case "always saves":
      return `memory is saved at every batch from ${found.smallest}: break-even lies below`;
    case "never saves":
      return `no memory is saved up to batch ${found.largest}: break-even lies above`;
  }
  found satisfies never;
}

export const C5: Claim = {
  id: "C5",
  claim:
    "Cast to fp16, forward in fp16, loss in fp32 and scaled, backward in fp16, gradient to fp32 and unscaled; on overflow the " +
    "update is skipped (Fig. 2)",
  paper: "a constant scale; nothing of lowering or growing it",
  source: "lowering and growing: torch's GradScaler",
  rule:
    "Every run with an overflow skips that update, halves the scale (ours, the paper's is constant) and ends with a finite loss. " +
    "The casts hold by construction: a test for each.",
  untested: "needs a cell with fp16",
  examine({ configurations }) {
    const half = configurations.filter(({ config }) => config.methods.includes("fp16"));
    const runs = scaleRuns(half);
    if (runs.length === 0) return null;
    const hit = runs.filter(({ skipped }) => skipped.length > 0);
    const skips = hit.reduce((sum, { skipped }) => sum + skipped.length, 0);
    const faults = hit.reduce((sum, run) => sum + run.faults, 0);
    const dead = hit.filter(({ endsFinite }) => !endsFinite).length;
    const ids = new Set((hit.length > 0 ? hit : runs).map(({ id }) => id));
    const why = skips === 0 ? "no update overflowed" : "";
    return untested([{
      setting: count(runs.length, "run with fp16", "runs with fp16"),
      axes: [
        plainAxis("skips on overflow", skips === 0 ? null : faults === 0, { why }),
        plainAxis("survives", skips === 0 ? null : dead === 0, { why }),
        plainAxis("casts", true, { weight: "by construction", why: "each step has a test of its own" }),
      ],
      ours: skips === 0
        ? `no update overflowed in ${count(runs.length, "run")}`
        : `${count(skips, "update")} skipped in ${hit.length} of ${count(runs.length, "run")}, ${
          skips - faults
        } followed by half the scale; ${hit.length - dead} of ${hit.length} ended with a finite loss`,
      cells: half.filter(({ cells }) => cells.some(({ id }) => ids.has(id))),
      section: "loss-scale",
    }]);
  },
};

export const C6: Claim = {
  id: "C6",
  claim: "FlashAttention-2 speeds up inference; only in fp16 or bf16; it combines with 8-bit quantization",
  paper: "no figure",
  source: null,
  rule:
    "At the longest sequence, in each precision: evaluation faster by an interval above 1 (where records do not time it, attention " +
    "in a training step), less booked memory, and it runs over a quantized base with less memory than naive attention there. That it " +
    "runs in f32 here refutes “only”, and decides nothing.",
  untested: "needs cells with and without flash attention",
  examine(analysis) {
    const rows = attentionRows(analysis.configurations).filter(({ configuration }) =>
      configuration.ok.length > 0
    );
    const pairs = attentionPairs(rows, CONFIDENCE);
    if (pairs.length === 0) return withoutLengths(analysis);
    const longest = Math.max(...pairs.map(({ flash }) => flash.sequenceLength));
    const atEnd = pairs.filter(({ flash }) => flash.sequenceLength === longest);
    const plain = atEnd.filter(({ flash }) => !flash.isQuantized);
    const overQuantized = rows.filter(({ flash, isQuantized }) => flash && isQuantized);
    const last = overQuantized.toSorted((a, b) => b.sequenceLength - a.sequenceLength)[0];
    const saved = last ? savedOverBase(last, rows, pairs) : null;
    const each = atEnd.map(({ flash, speedup, byKernels, inference, memoryRatio }) =>
      `${flash.base}, ${precision(flash)}: ${
        inference ? `evaluation × ${formatInterval(inference, 2)}, ` : ""
      }${byKernels ? "attention in training" : "training step"} × ${
        speedup ? formatInterval(speedup, 2) : "–"
      } as fast, ${memoryRatio === null ? "no memory record" : memoryText(memoryRatio)}`
    );
    const missing = !last ? "; no quantized base was run" : saved?.text ? `; ${saved.text}` : "";
    return untested(plain.map((pair) => ({
      setting: `${longest} tokens, ${precision(pair.flash)}`,
      axes: [
        measuredAxis("speed", pair.inference ?? pair.speedup, above(1)),
        plainAxis("memory", pair.memoryRatio === null ? null : pair.memoryRatio > 1),
        plainAxis("with quantization", saved === null ? null : saved.ratio > 1, {
          why: saved === null ? "no quantized base was run" : "",
        }),
      ],
      ours: `${longest} tokens: ${each.join("; ")}${missing}`,
      cells: atEnd.flatMap(({ naive, flash }) => [naive.configuration, flash.configuration]),
      section: "attention",
    })));
  },
};

const precision = ({ half }: AttentionRow) => half ? "f16" : "f32";

/** What flash attention over a quantized base saves beside naive attention, else beside the f32 base. */
function savedOverBase(
  row: AttentionRow,
  rows: readonly AttentionRow[],
  pairs: readonly AttentionPair[],
): { ratio: number; text: string } | null {
  const pair = pairs.find(({ flash }) => flash === row);
  // Its figures stand among those of the longest sequence.
  if (pair?.memoryRatio) return { ratio: pair.memoryRatio, text: "" };
  const plain = rows.find((other) =>
    other.flash && !other.isQuantized && other.half === row.half &&
    other.sequenceLength === row.sequenceLength
  );
  const [more, less] = [plain, row].map((one) => one?.configuration.memory?.bookedBytes ?? null);
  if (!more || !less) return null;
  return { ratio: more / less, text: `over ${row.base}: ${memoryText(more / less)} than over the f32 base` };
}

/** Without the sequence lengths, whole steps show a part of the claim at most. */
function withoutLengths(analysis: Analysis) {
  const pairs = bestPerSetting(pairsOf(analysis, { methods: ["flash"] }));
  if (pairs.length === 0) return null;
  return {
    comparisons: pairs,
    judge: (loss: LossOf): Finding[] =>
      pairs.map((pair) => ({
        setting: settingName(pair.changed),
        axes: [
          measuredAxis("speed", throughputRatio(pair, CONFIDENCE), above(1)),
          plainAxis("memory", (memoryRatio(pair) ?? 0) > 1),
          plainAxis("with quantization", null, { why: "no quantized base was run" }),
        ],
        ours: `whole step at ${pair.changed.config.sequenceLength} tokens: ${
          comparison(pair, loss)
        }; no quantized base and no longer sequence was run`,
        cells: [pair.baseline, pair.changed],
        section: "trade-off",
      })),
  };
}
