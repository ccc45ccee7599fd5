import type { CellRecord, Decision, DecisionWarning } from "../results/record.ts";
import { finalLosses, typicalSpread } from "./candidates.ts";
import { effectiveBatchSize } from "../results/tokens_per_step.ts";

const RULE =
  "For each optimizer, of the learning rates whose runs all ended well, the one with the lowest mean held-out loss over " +
  "seeds at equal tokens; of those within the seed spread of it, the lowest rate. The seed spread is the standard deviation " +
  "of the held-out loss between seeds, the median over the rates.";

/** A learning rate that a sweep decided, and the effective batch size it was found at. */
export interface TunedRate {
  rate: number;
  effectiveBatchSize: number;
}

/** What a rate sweep decides for one optimizer. */
export interface RateDecision {
  optimizer: string;
  tuned: TunedRate;
  decision: Decision;
}

interface Candidate {
  rate: number;
  label: string;
  losses: number[];
  heldOutLoss: number | null;
}

/**
 * Applies the rule of a rate sweep to its cells, optimizer by optimizer.
 *
 * @param cells Records of all its cells.
 * @returns Nothing for an optimizer none of whose rates ended well.
 */
export function decideLearningRates(cells: readonly CellRecord[]): RateDecision[] {
  const optimizers = [...new Set(cells.map(({ config }) => config.optimizer))];
  return optimizers.flatMap((optimizer) => {
    const decided = decideFor(optimizer, cells.filter(({ config }) => config.optimizer === optimizer));
    return decided ? [decided] : [];
  });
}

/** What was tried for one optimizer, rates rising. */
function candidatesOf(cells: readonly CellRecord[]): Candidate[] {
  const rates = [...new Set(cells.map(({ config }) => config.learningRate))].sort((a, b) => a - b);
  return rates.map((rate) => ({
    rate,
    label: `lr ${rate}`,
    ...finalLosses(cells.filter(({ config }) => config.learningRate === rate)),
  }));
}

/** The rate with the lowest mean held-out loss; null where none ended well. */
function bestOf(candidates: readonly Candidate[]): Candidate | null {
  const usable = candidates.filter(({ heldOutLoss }) => heldOutLoss !== null);
  return usable.length === 0 ? null : usable.reduce((a, b) => b.heldOutLoss! < a.heldOutLoss! ? b : a);
}

/**
 * The rate beyond the end of a grid at which its best lies, as far from it as the grid's own last step; null
 * where the best lies inside, or is the only rate.
 *
 * @param cells Records of one optimizer.
 */
export function rateBeyond(cells: readonly CellRecord[]): { from: number; to: number } | null {
  const candidates = candidatesOf(cells);
  const best = bestOf(candidates);
  if (best === null || candidates.length < 2) return null;
  const rates = candidates.map(({ rate }) => rate);
  const end = endOf(rates, best.rate);
  if (end === null) return null;
  const next = end === "lowest" ? rates[1] : rates.at(-2)!;
  return { from: best.rate, to: Number((best.rate * best.rate / next).toPrecision(6)) };
}

function decideFor(optimizer: string, cells: readonly CellRecord[]): RateDecision | null {
  const candidates = candidatesOf(cells);
  const spread = typicalSpread(candidates.map(({ losses }) => losses));
  const best = bestOf(candidates);
  if (best === null) return null;
  // Rates rise, so that the first is the lowest.
  const winner = candidates.find(({ heldOutLoss }) =>
    heldOutLoss !== null && heldOutLoss <= best.heldOutLoss! + spread
  )!;
  const end = endOf(candidates.map(({ rate }) => rate), best.rate);
  const warnings = end === null ? [] : [edgeWarning(best, end)];
  const decision: Decision = {
    name: `learningRate/${optimizer}`,
    rule: RULE,
    inputs: cells.map(({ id }) => id),
    figures: Object.fromEntries(candidates.map(({ label, rate, heldOutLoss }) => [label, {
      learningRate: rate,
      heldOutLoss,
      seedSpread: spread,
    }])),
    chosen: winner.label,
    value: winner.rate,
    reason: [
      reasonFor(optimizer, winner, best, spread),
      ...outText(candidates),
      ...warnings.map(({ text }) => text),
    ]
      .join("; "),
    ...warnings.length > 0 && { warnings },
  };
  return {
    optimizer,
    tuned: { rate: winner.rate, effectiveBatchSize: effectiveBatchSize(cells[0].config) },
    decision,
  };
}

function reasonFor(optimizer: string, winner: Candidate, best: Candidate, spread: number): string {
  const loss = winner.heldOutLoss!.toFixed(4);
  if (winner === best) return `${winner.label} gives ${optimizer} its lowest held-out loss, ${loss}`;
  return `${winner.label} is the lowest rate of ${optimizer} whose held-out loss, ${loss}, is within the seed spread of ` +
    `${spread.toFixed(4)} of its lowest, ${best.heldOutLoss!.toFixed(4)} at ${best.label}`;
}

function outText(candidates: readonly Candidate[]): string[] {
  const out = candidates.filter(({ heldOutLoss }) => heldOutLoss === null).map(({ label }) => label);
  return out.length === 0
    ? []
    : [`${out.join(", ")} ${out.length === 1 ? "is" : "are"} out: not all runs ended well`];
}

/** Which end of a grid a rate is; null for those between. */
export function endOf(rates: readonly number[], rate: number): "lowest" | "highest" | null {
  if (rate === Math.min(...rates)) return "lowest";
  return rate === Math.max(...rates) ? "highest" : null;
}

/** A best rate at the end of the grid may have a better one beyond it. */
function edgeWarning({ label }: Candidate, end: "lowest" | "highest"): DecisionWarning {
  const other = end === "lowest" ? "lower" : "higher";
  return { kind: "edge", text: `${label} is the ${end} rate tried: a ${other} one may do better` };
}
