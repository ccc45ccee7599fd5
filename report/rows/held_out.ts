/** Held-out losses of configurations, compared after equally many tokens. */
import { heldOutAt } from "../../results/held_out_at.ts";
import type { Configuration } from "./configuration.ts";
import { type CellSamples, measure, type Measured } from "../../results/measured.ts";

/** The most tokens that every configuration with held-out points has trained; null where there are none. */
export function equalTokens(configurations: readonly Configuration[]): number | null {
  const trained = configurations.flatMap(({ ok }) => ok)
    .map((cell) => Math.max(...cell.heldOut.map((point) => point.tokens)))
    .filter((tokens) => tokens > 0);
  return trained.length > 0 ? Math.min(...trained) : null;
}

/** Held-out losses at `tokens`, one a seed, with the mean over seeds; null where one has none. */
export function heldOutLosses(
  configurations: readonly Configuration[],
  tokens: number | null,
): (Measured | null)[] {
  return configurations.map((one) => measure(tokens === null ? [] : lossesAt(one, tokens), "difference"));
}

/** One value a seed: repeats of a seed compute the same numbers. */
function lossesAt({ ok }: Configuration, tokens: number): CellSamples[] {
  const bySeed = new Map<number, CellSamples>();
  for (const cell of ok) {
    const { seed } = cell.config;
    const loss = heldOutAt(cell, tokens);
    if (loss !== null && !bySeed.has(seed)) bySeed.set(seed, { id: cell.id, seed, values: [loss] });
  }
  return [...bySeed.values()];
}

/** Held-out loss of one configuration by itself: mean over seeds with its 95 % interval. */
export function heldOutLoss(configuration: Configuration, tokens: number | null): Measured | null {
  return heldOutLosses([configuration], tokens)[0];
}
