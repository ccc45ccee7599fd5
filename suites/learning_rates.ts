import type { CellRecord, Decision } from "../results/record.ts";
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

function decideFor(optimizer: string, cells: readonly CellRecord[]): RateDecision | null {
  const rates = [...new Set(cells.map(({ config }) => config.learningRate))].sort((a, b) => a - b);
  const candidates = rates.map((rate): Candidate => ({
    rate,
    label: `lr ${rate}`,
    ...finalLosses(cells.filter(({ config }) => config.learningRate === rate)),
  }));
  const spread = typicalSpread(candidates.map(({ losses }) => losses));
  const usable = candidates.filter(({ heldOutLoss }) => heldOutLoss !== null);
  if (usable.length === 0) return null;
  const best = usable.reduce((a, b) => b.heldOutLoss! < a.heldOutLoss! ? b : a);
  const winner = usable.find(({ heldOutLoss }) => heldOutLoss! <= best.heldOutLoss! + spread)!; // rates rise
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
      ...edgeText(candidates, best),
    ]
      .join("; "),
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

/** A best rate at the end of the grid may have a better one beyond it. */
function edgeText(candidates: readonly Candidate[], best: Candidate): string[] {
  if (best === candidates[0]) return [`${best.label} is the lowest rate tried: a lower one may do better`];
  if (best === candidates.at(-1)) {
    return [`${best.label} is the highest rate tried: a higher one may do better`];
  }
  return [];
}
