/** Attention against sequence length: naive and tiled, in both precisions, over each kind of base weights. */
import type { Configuration } from "./configuration.ts";
import { measure, type Measured, ratioOf, samplesOf } from "../../results/measured.ts";
import { methodName } from "../words/names.ts";
import type { Interval } from "../../results/stats.ts";

export interface AttentionRow {
  configuration: Configuration;
  sequenceLength: number;
  flash: boolean;
  half: boolean;
  /** What else is switched on: `f32 base`, `QLoRA int8`, … */
  base: string;
  isQuantized: boolean;
  /** Milliseconds of the attention kernels in a profiled step; null where no cell was profiled. */
  attentionMs: Measured | null;
  /** Milliseconds of an evaluation, the last of each process; null where records do not time them. */
  evaluationMs: Measured | null;
}

/** Phases that show attention by sequence length, by base, precision, kind and sequence length. */
export function attentionRows(configurations: readonly Configuration[]): AttentionRow[] {
  const phase = configurations.filter((one) => one.shows === "attention-lengths");
  const rows = phase.map((configuration): AttentionRow => {
    const { methods, sequenceLength } = configuration.config;
    const others = methods.filter((method) => method !== "flash" && method !== "fp16");
    return {
      configuration,
      sequenceLength,
      flash: methods.includes("flash"),
      half: methods.includes("fp16"),
      base: others.length > 0 ? others.map(methodName).join(" + ") : "f32 base",
      isQuantized: others.some((method) => method.startsWith("qlora")),
      attentionMs: measure(samplesOf(configuration.ok, attentionMsOf)),
      evaluationMs: measure(samplesOf(configuration.ok, evaluationMsOf)),
    };
  });
  return rows.toSorted((a, b) =>
    Number(a.isQuantized) - Number(b.isQuantized) || Number(a.half) - Number(b.half) ||
    Number(a.flash) - Number(b.flash) || a.sequenceLength - b.sequenceLength
  );
}

function attentionMsOf({ profile }: Configuration["ok"][number]): number[] {
  const kernels = profile?.filter(({ kernel }) => /attention/.test(kernel)) ?? [];
  const ms = kernels.reduce((sum, kernel) => sum + kernel.ms, 0);
  return ms > 0 ? [ms] : [];
}

/** The last evaluation: the first one of a process is slower. */
function evaluationMsOf({ heldOut }: Configuration["ok"][number]): number[] {
  const ms = heldOut.toSorted((a, b) => a.step - b.step).at(-1)?.ms;
  return ms === undefined ? [] : [ms];
}

/** Naive and flash attention where all else is equal. */
export interface AttentionPair {
  naive: AttentionRow;
  flash: AttentionRow;
  /** Times as fast: by the attention kernels alone, or, where no cell was profiled, by the whole step. */
  speedup: Interval | null;
  byKernels: boolean;
  /** Times as fast in an evaluation, the forward pass alone; null where that was not timed. */
  inference: Interval | null;
  /** Times less booked memory in the whole step. */
  memoryRatio: number | null;
}

/** Pairs by rising sequence length. */
export function attentionPairs(rows: readonly AttentionRow[], confidence?: number): AttentionPair[] {
  return rows.filter(({ flash }) => flash).flatMap((flash): AttentionPair[] => {
    const naive = rows.find((row) =>
      !row.flash && row.half === flash.half && row.base === flash.base &&
      row.sequenceLength === flash.sequenceLength &&
      row.configuration.config.microBatchSize === flash.configuration.config.microBatchSize
    );
    if (!naive) return [];
    const byKernels = ratioOf(naive.attentionMs, flash.attentionMs, confidence);
    const bySteps = ratioOf(
      flash.configuration.tokensPerSecond,
      naive.configuration.tokensPerSecond,
      confidence,
    );
    const [more, less] = [naive, flash].map(({ configuration }) => configuration.memory?.bookedBytes ?? null);
    return [{
      naive,
      flash,
      speedup: byKernels ?? bySteps,
      byKernels: byKernels !== null,
      inference: ratioOf(naive.evaluationMs, flash.evaluationMs, confidence),
      memoryRatio: more && less ? more / less : null,
    }];
  }).toSorted((a, b) => a.flash.sequenceLength - b.flash.sequenceLength);
}
