/**
 * Rounds: in each every configuration of a phase runs in one process. In which order their cells run, and
 * which of them is the baseline.
 */
import { createHash } from "node:crypto";
import { canonicalJson } from "../results/canonical_json.ts";
import { partOf, type RunConfig } from "../results/settings.ts";
import { effectiveBatchSize } from "../results/tokens_per_step.ts";
import type { Cell } from "./matrix.ts";
import { memoryKey } from "./memory_keys.ts";

/** Whether nothing is switched on: what others in the same setting are compared with. */
export function switchesNothingOn({ methods, optimizer, gradientAccumulationSteps }: RunConfig): boolean {
  return methods.length === 0 && optimizer === "adamw" && gradientAccumulationSteps === 1;
}

/**
 * The cell of a configuration's baseline in the same round: it switches nothing on, and all else that must be
 * equal is, the effective batch too. Null where there is none, and for baselines.
 */
export function baselineOf(cell: Cell, cells: readonly Cell[]): Cell | null {
  if (switchesNothingOn(cell.config)) return null;
  const setting = settingKey(cell.config);
  return cells.find((other) =>
    switchesNothingOn(other.config) && other.repeat === cell.repeat && other.role === cell.role &&
    other.config.seed === cell.config.seed && settingKey(other.config) === setting
  ) ?? null;
}

function settingKey(config: RunConfig): string {
  const apart = partOf(config, ({ compare }) => compare === "apart");
  return canonicalJson({ ...apart, effectiveBatchSize: effectiveBatchSize(config) });
}

/** The number that the order within rounds comes from: the same on every machine that runs the suite. */
export function orderSeed(suiteHash: string): number {
  return parseInt(suiteHash.slice(0, 8), 16);
}

/**
 * The cells of a phase in the order in which they run: round by round, and within a round in an order that
 * the seed draws, so that none always runs behind the same other. Each cell draws its own place: it does not
 * hang on which others are still to run. In the first round micro-batches of one configuration rise over the
 * places that they drew, as what runs out of memory keeps larger ones from running.
 */
export function inRunningOrder(cells: readonly Cell[], seed: number): Cell[] {
  const place = ({ id }: Cell) => createHash("sha256").update(`${seed} ${id}`).digest("hex");
  const rounds = [...Map.groupBy(cells, ({ repeat, config }) => `${repeat} ${config.seed}`).values()].map(
    (round) =>
      round.map((cell) => ({ cell, at: place(cell) })).sort((a, b) => a.at < b.at ? -1 : 1)
        .map(({ cell }) => cell),
  );
  return rounds.flatMap((round, i) => i === 0 ? risingMicroBatches(round) : round);
}

/** The same places for cells of each kind of memory, its micro-batches rising. */
function risingMicroBatches(cells: readonly Cell[]): Cell[] {
  const keys = new Map(cells.map((cell) => [cell, memoryKey(cell.config)]));
  const waiting = Map.groupBy(cells, (cell) => keys.get(cell)!);
  for (const group of waiting.values()) {
    group.sort((a, b) => a.config.microBatchSize - b.config.microBatchSize);
  }
  return cells.map((cell) => waiting.get(keys.get(cell)!)!.shift()!);
}
