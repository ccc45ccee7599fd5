/** C1 to C6: the combination, and the methods it is made of. */
import type { Analysis } from "../rows/analysis.ts";
import { type AttentionPair, attentionPairs, type AttentionRow, attentionRows } from "../rows/attention.ts";
import { breakEven, effectsByBatch, meanTime } from "../rows/batch_effects.ts";
import type { Configuration } from "../rows/configuration.ts";
import { scaleRuns } from "../rows/loss_scales.ts";
import { memoryRatio, observedRatio, pairsOf, throughputRatio } from "../rows/pairs.ts";
import { count, formatBytes, formatInterval, formatNumber, memoryText } from "../words/format.ts";
import { combinationName } from "../words/names.ts";
import { type Claim, type Examination, type Finding, verdictOn } from "./claim.ts";
import { CHECKPOINTING_SLOWDOWN, MIXED_WEIGHTS } from "./paper.ts";
import { rankedStacks, type Stack, stackPairs } from "./stacks.ts";
import { comparison, lossText } from "./words.ts";
import { isAlone } from "../rows/intervals.ts";
import { type Interval, inverse } from "../../results/stats.ts";

export const C1: Claim = {
  id: "C1",
  claim:
    "Accumulation, checkpointing, mixed precision and a lean optimizer together need a third of the memory, at the " +
    "same throughput and quality",
  paper: "3.08× less memory at 1.02× the throughput; loss not looked at",
  rule:
    "There is a full stack (with or without flash attention) whose booked peak is at least 3× smaller, whose throughput " +
    "ratio's 95 % interval does not reach below 1 by more than the baseline's own runs differ, nor by more than a tenth, and " +
    "whose held-out loss is equivalent or lower. Partly: the memory, without one of the other two or both. Of several " +
    "stacks the one that fulfils most speaks, then the one with the smallest peak.",
  untested: "needs the baseline and a full stack of suites/paper.yaml at the same effective batch",
  examine(analysis) {
    const comparisons = stackPairs(analysis);
    return comparisons.length === 0
      ? null
      : { comparisons, judge: (loss) => findingOn(rankedStacks(comparisons, loss)) };
  },
};

function findingOn([best, ...others]: readonly Stack[]): Finding {
  const { pair, memory, isLean, isFast, isEqual } = best;
  const among = others.length > 0 ? `; best of ${others.length + 1} stacks tried` : "";
  const observed = observedRatio(pair);
  const seen = observed
    ? ` (observed with context: ${memoryText(observed.estimate)}, ratio ${formatInterval(observed, 2)})`
    : "";
  return {
    outcome: !isLean ? "not reproduced" : isFast && isEqual ? "reproduced" : "partly",
    ours: `${combinationName(pair.changed.config)}: ${
      memory === null ? "no memory record" : memoryText(memory)
    }${seen}, ${throughputWords(best)}, ${lossText(best.loss)}${among}`,
    cells: [pair.baseline, pair.changed],
    section: "ladder",
    pair,
  };
}

function throughputWords({ throughput: ratio, isFast }: Stack): string {
  if (!ratio) return "not timed";
  const unshown = ratio.high >= 1 && !isFast ? " (not shown to hold)" : "";
  return `throughput × ${formatInterval(ratio, 2)}${unshown}`;
}

export const C2: Claim = {
  id: "C2",
  claim: "Accumulation raises the effective batch beyond what memory allows, and may slow training",
  paper: "1.72× less memory, 0.87× the throughput",
  rule:
    "At the same effective batch, less booked memory and an equivalent held-out loss. Partly: the memory alone.",
  untested: "needs a cell with accumulation beside the baseline",
  examine(analysis) {
    const [pair] = pairsOf(analysis, { methods: [], accumulates: true });
    if (!pair) return null;
    const saves = (memoryRatio(pair) ?? 0) > 1;
    const { config } = pair.changed;
    return {
      comparisons: [pair],
      judge(loss) {
        const equal = ["equal", "better"].includes(loss(pair)?.outcome ?? "");
        return {
          outcome: !saves ? "not reproduced" : equal ? "reproduced" : "partly",
          ours: `micro-batch ${config.microBatchSize} × ${config.gradientAccumulationSteps}: ${
            comparison(pair, loss)
          }`,
          cells: [pair.baseline, pair.changed],
          section: "ladder",
        };
      },
    };
  },
};

export const C3: Claim = {
  id: "C3",
  claim: "Checkpointing saves activation memory and slows training by about 20 %",
  paper: "20 % slower",
  rule:
    "Fewer bytes of activations at every batch size measured, and a slow-down (geometric mean over batch sizes) whose 95 % " +
    "interval lies above 0 and meets 15 to 25 %, which is what rounds to 20 %. Partly: it saves, with another slow-down or none " +
    "that the noise lets see.",
  untested: "needs a cell with checkpointing beside the same cell without",
  examine(analysis) {
    const effects = effectsByBatch(analysis, "checkpoint");
    if (effects.length === 0) return null;
    const activations = ({ memory }: Configuration) => memory?.byRole.activations ?? 0;
    const saves = effects.every(({ baseline, changed }) => activations(changed) < activations(baseline));
    const time = meanTime(effects);
    const asSlow = time !== null && !isAlone(time) && time.low > 1 &&
      time.low <= CHECKPOINTING_SLOWDOWN.high &&
      time.high >= CHECKPOINTING_SLOWDOWN.low;
    const each = effects.map(({ microBatchSize, baseline, changed, time }) =>
      `batch ${microBatchSize}: activations ${formatBytes(activations(baseline))} → ${
        formatBytes(activations(changed))
      }, time × ${time ? formatInterval(time, 2) : "–"}`
    );
    const together = time && effects.length > 1 ? `; in all time × ${formatInterval(time, 2)}` : "";
    return {
      outcome: !saves ? "not reproduced" : asSlow ? "reproduced" : "partly",
      ours: each.join("; ") + together,
      cells: effects.flatMap(({ baseline, changed }) => [baseline, changed]),
      section: "per-batch-size",
    };
  },
};

export const C4: Claim = {
  id: "C4",
  claim:
    "Mixed precision is faster; with small batches it can need more memory, because weights are held one and a half times",
  paper: "2.10× the throughput, 1.07× less memory; 6 instead of 4 bytes of weights",
  rule:
    "Throughput (geometric mean over batch sizes) with its interval above 1, and more booked memory at the smallest batch " +
    "while weights take 6 bytes where f32 has 4. Partly: one of the two.",
  untested: "needs a cell with fp16 beside the same cell without",
  examine(analysis) {
    const effects = effectsByBatch(analysis, "fp16");
    if (effects.length === 0) return null;
    const weights = ({ memory }: Configuration) =>
      (memory?.byRole.weights ?? 0) + (memory?.byRole.masterWeights ?? 0);
    const [smallest] = effects;
    const heavier = weights(smallest.changed) / weights(smallest.baseline);
    const time = meanTime(effects);
    const faster = time !== null && !isAlone(time) && time.high < 1;
    const needsMore =
      (smallest.changed.memory?.bookedBytes ?? 0) > (smallest.baseline.memory?.bookedBytes ?? 0);
    // Norms and biases stay in f32, so a little less than half is added.
    const holdsMore = heavier > 1 && Math.abs(heavier - MIXED_WEIGHTS) < 0.05;
    const speed = time && inverse(time);
    const ratio = memoryRatio(smallest);
    return {
      outcome: verdictOn(faster, needsMore && holdsMore),
      ours: [
        `throughput × ${speed ? formatInterval(speed, 2) : "–"} over ${count(effects.length, "batch size")}`,
        `batch ${smallest.microBatchSize}: ${ratio === null ? "no memory record" : memoryText(ratio)}`,
        breakEvenText(effects),
        `weights × ${formatNumber(heavier, 2)}`,
      ].join("; "),
      cells: effects.flatMap(({ baseline, changed }) => [baseline, changed]),
      section: "per-batch-size",
    };
  },
};

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
  claim: "Dynamic loss scaling: on overflow the update is skipped and the scale lowered",
  paper: "described, not measured",
  rule:
    "Every skipped update halves the scale of the next step, and every run with one ends with a finite loss. Partly: no " +
    "update overflowed, so nothing had to be survived.",
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
    return {
      outcome: faults + dead > 0 ? "not reproduced" : skips > 0 ? "reproduced" : "partly",
      ours: skips === 0
        ? `no update overflowed in ${count(runs.length, "run")}`
        : `${count(skips, "update")} skipped in ${hit.length} of ${count(runs.length, "run")}, ${
          skips - faults
        } followed by half the scale; ${hit.length - dead} of ${hit.length} ended with a finite loss`,
      cells: half.filter(({ cells }) => cells.some(({ id }) => ids.has(id))),
      section: "loss-scale",
    };
  },
};

export const C6: Claim = {
  id: "C6",
  claim: "FlashAttention-2 speeds up attention, and combines with quantization",
  paper: "no figure",
  rule:
    "At the longest sequence, in every precision measured, attention is faster (interval above 1) and the step needs less " +
    "memory; and over a quantized base it runs, with less memory than naive attention over the same base (or, where that was " +
    "not run, than flash attention over the f32 base). Partly: some of this.",
  untested: "needs cells with and without flash attention",
  examine(analysis) {
    const rows = attentionRows(analysis.configurations).filter(({ configuration }) =>
      configuration.ok.length > 0
    );
    const pairs = attentionPairs(rows);
    if (pairs.length === 0) return withoutLengths(analysis);
    const longest = Math.max(...pairs.map(({ flash }) => flash.sequenceLength));
    const atEnd = pairs.filter(({ flash }) => flash.sequenceLength === longest);
    const plain = atEnd.filter(({ flash }) => !flash.isQuantized);
    const overQuantized = rows.filter(({ flash, isQuantized }) => flash && isQuantized);
    const faster = plain.length > 0 && plain.every(({ speedup }) => isFaster(speedup));
    const leaner = plain.length > 0 && plain.every(({ memoryRatio }) => (memoryRatio ?? 0) > 1);
    const last = overQuantized.toSorted((a, b) => b.sequenceLength - a.sequenceLength)[0];
    const saved = last ? savedOverBase(last, rows, pairs) : null;
    const combines = saved !== null && saved.ratio > 1;
    const each = atEnd.map(({ flash, speedup, byKernels, memoryRatio }) =>
      `${flash.base}, ${flash.half ? "f16" : "f32"}: ${byKernels ? "attention" : "step"} × ${
        speedup ? formatInterval(speedup, 2) : "–"
      } as fast, ${memoryRatio === null ? "no memory record" : memoryText(memoryRatio)}`
    );
    const missing = !last ? "; no quantized base was run" : saved?.text ? `; ${saved.text}` : "";
    return {
      outcome: verdictOn(faster, leaner, combines),
      ours: `${longest} tokens: ${each.join("; ")}${missing}`,
      cells: atEnd.flatMap(({ naive, flash }) => [naive.configuration, flash.configuration]),
      section: "attention",
    };
  },
};

/** Whether the interval lies above 1; one process shows nothing. */
function isFaster(ratio: Interval | null): boolean {
  return ratio !== null && !isAlone(ratio) && ratio.low > 1;
}

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

/** Without the sequence lengths, one pair of whole steps shows a part of the claim at most. */
function withoutLengths(analysis: Analysis): Examination | null {
  const [pair] = pairsOf(analysis, { methods: ["flash"] });
  if (!pair) return null;
  const saves = (memoryRatio(pair) ?? 0) > 1;
  const faster = isFaster(throughputRatio(pair));
  return {
    comparisons: [pair],
    judge: (loss) => ({
      outcome: saves || faster ? "partly" : "not reproduced",
      ours: `whole step at ${pair.changed.config.sequenceLength} tokens: ${
        comparison(pair, loss)
      }; no quantized base and no longer sequence was run`,
      cells: [pair.baseline, pair.changed],
      section: "trade-off",
    }),
  };
}
