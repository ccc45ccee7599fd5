/**
 * The measurements behind the "threefold", for comparison: Hugging Face's guide "Methods and tools for
 * efficient training on a single GPU" (transformers, docs/source/performance.mdx, 2022), BERT-large, 512
 * sequences of 512 tokens, one V100 16 GB, each configuration run once. Samonov 2024
 * (doi:10.20295/2413-2527-2024-339-5-12) rests its claim on them.
 */
import type { RunConfig } from "../../results/record.ts";
import type { Analysis } from "../rows/analysis.ts";
import type { Configuration } from "../rows/configuration.ts";

export interface GuideRow {
  label: string;
  accumulates: boolean;
  checkpoint: boolean;
  fp16: boolean;
  optimizer: string;
  samplesPerSecond: number;
  /** What the driver reported, context included. */
  megabytes: number;
}

const row = (
  label: string,
  [accumulates, checkpoint, fp16]: [boolean, boolean, boolean],
  optimizer: string,
  samplesPerSecond: number,
  megabytes: number,
): GuideRow => ({ label, accumulates, checkpoint, fp16, optimizer, samplesPerSecond, megabytes });

export const GUIDE: readonly GuideRow[] = [
  row("baseline, batch 4, AdamW", [false, false, false], "adamw", 8.86, 14949),
  row("batch 1 × accumulation 4", [true, false, false], "adamw", 7.75, 8681),
  row("+ checkpointing", [true, true, false], "adamw", 5.99, 6775),
  row("fp16, batch 4", [false, false, true], "adamw", 18.64, 13939),
  row("batch 1 × 4 + checkpointing + fp16", [true, true, true], "adamw", 10.09, 7275),
  row("Adafactor, batch 4", [false, false, false], "adafactor", 7.96, 12295),
  row("batch 1 × 4 + checkpointing + fp16 + Adafactor", [true, true, true], "adafactor", 9.06, 4847),
  row("8-bit Adam, batch 4", [false, false, false], "adamw8bit", 9.15, 13085),
  row("batch 1 × 4 + checkpointing + fp16 + 8-bit Adam", [true, true, true], "adamw8bit", 10.35, 5363),
];

export interface GuideRatios {
  label: string;
  /** Baseline's memory divided by this row's. */
  memory: number;
  /** This row's throughput divided by the baseline's. */
  throughput: number;
}

/** A row of the guide against its baseline. */
export function guideRatios({ label, samplesPerSecond, megabytes }: GuideRow): GuideRatios {
  const [baseline] = GUIDE;
  return {
    label,
    memory: baseline.megabytes / megabytes,
    throughput: samplesPerSecond / baseline.samplesPerSecond,
  };
}

/**
 * The guide's two full stacks: with Adafactor 3.08× less memory at 1.02× the throughput, with 8-bit Adam
 * 2.79× at 1.17×.
 */
export const FULL_STACKS: readonly (GuideRatios & { name: string })[] = GUIDE.filter((
  { accumulates, checkpoint, fp16, optimizer },
) => accumulates && checkpoint && fp16 && optimizer !== "adamw").map((row) => ({
  name: row.optimizer === "adafactor" ? "Adafactor" : "8-bit Adam",
  ...guideRatios(row),
}));

/** The guide's row with the same methods; null where it has none (flash attention, LoRA, …). */
export function guideRowFor(config: RunConfig): GuideRatios | null {
  const match = GUIDE.find((row) => isRow(row, config));
  return match ? guideRatios(match) : null;
}

/** What the guide's driver reported before training: its context alone, and with the model loaded. */
export const LOADED_MODEL = { contextMegabytes: 1343, loadedMegabytes: 2631 } as const;

/** A row of the guide as planned here at full size. */
export interface GuidePlan {
  row: GuideRow;
  configuration: Configuration;
  bytes: number;
}

/** The guide's rows that were planned at full size, in the guide's order. */
export function guidePlans({ planned }: Analysis): GuidePlan[] {
  const full = planned.filter(({ shows, memory }) => shows === "guide-table" && memory);
  return GUIDE.flatMap((row) => {
    const configuration = full.find(({ config }) => isRow(row, config));
    return configuration ? [{ row, configuration, bytes: configuration.memory!.plannedBytes }] : [];
  });
}

/** Whether a configuration switches on what a row of the guide does, and nothing else. */
export function isRow(row: GuideRow, config: RunConfig): boolean {
  return config.methods.every((method) => method === "checkpoint" || method === "fp16") &&
    row.accumulates === config.gradientAccumulationSteps > 1 &&
    row.checkpoint === config.methods.includes("checkpoint") &&
    row.fp16 === config.methods.includes("fp16") && row.optimizer === config.optimizer;
}
