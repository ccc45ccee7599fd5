/** Methods added one after another: memory and throughput of each rung against the first one's. */
import type { RunConfig } from "../../results/record.ts";
import type { Interval } from "../../results/stats.ts";
import type { Configuration } from "./configuration.ts";
import { equalTokens, heldOutLosses } from "./held_out.ts";
import { type Measured, ratioOf } from "../../results/measured.ts";

export interface LadderRow {
  configuration: Configuration;
  label: string;
  /** Booked peak of the baseline divided by this rung's. */
  memoryRatio: number | null;
  /** Throughput of this rung divided by the baseline's. */
  throughputRatio: Interval | null;
  /** Held-out loss at equal tokens. */
  heldOut: Measured | null;
  /** What the guide gives for the same methods: times less memory, times the throughput. */
  guide: { label: string; memory: number; throughput: number } | null;
}

/** The rungs in the order of the run; the first is the baseline of all ratios. */
export function ladderRows(
  configurations: readonly Configuration[],
  guideOf: (config: RunConfig) => LadderRow["guide"],
): LadderRow[] {
  const rungs = configurations.filter(({ shows }) => shows === "method-ladder");
  if (rungs.length === 0) return [];
  const [baseline] = rungs;
  const tokens = equalTokens(rungs);
  const losses = heldOutLosses(rungs, tokens);
  return rungs.map((configuration, i): LadderRow => {
    const { memory, tokensPerSecond, label, config } = configuration;
    const [ours, theirs] = [memory?.bookedBytes, baseline.memory?.bookedBytes];
    return {
      configuration,
      label,
      memoryRatio: ours && theirs ? theirs / ours : null,
      throughputRatio: ratioOf(tokensPerSecond, baseline.tokensPerSecond),
      heldOut: losses[i],
      guide: guideOf(config),
    };
  });
}
