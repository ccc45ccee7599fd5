import type { CellRecord, Decision, DecisionWarning } from "../results/record.ts";
import { timedTokensPerSecond } from "../results/rates.ts";
import { median } from "../results/stats.ts";
import { finalLosses, typicalSpread } from "./candidates.ts";
import { effectiveBatchSize } from "../results/tokens_per_step.ts";

const RULE =
  "Of the batch sizes whose runs all ended well and whose mean held-out loss at equal tokens exceeds the lowest " +
  "by no more than the seed spread, the one with the highest median tokens per second. The seed spread is the standard " +
  "deviation of the held-out loss between seeds, the median over the batch sizes.";

interface Candidate {
  size: number;
  label: string;
  /** Null where not all runs of the batch size ended well. */
  tokensPerSecond: number | null;
  heldOutLoss: number | null;
  /** One mean loss a seed; empty where not all runs ended well. */
  losses: number[];
}

/**
 * Applies the rule of the batch sweep to its cells.
 *
 * @param phase Name of the sweep.
 * @param cells Records of all its cells.
 * @param smallestChoice Smaller batch sizes are compared but not chosen.
 * @returns Null where no batch size is left to choose.
 */
export function decideBatchSize(
  phase: string,
  cells: readonly CellRecord[],
  smallestChoice = 1,
): Decision | null {
  const sizes = [...new Set(cells.map(({ config }) => effectiveBatchSize(config)))].sort((a, b) => a - b);
  const candidates = sizes.map((size) =>
    candidateOf(size, cells.filter(({ config }) => effectiveBatchSize(config) === size))
  );
  const spread = typicalSpread(candidates.map(({ losses }) => losses));
  const usable = candidates.filter(({ heldOutLoss, tokensPerSecond }) =>
    heldOutLoss !== null && tokensPerSecond !== null
  );
  const allowed = usable.filter(({ size }) => size >= smallestChoice);
  if (allowed.length === 0) return null;
  const { best, good, winner } = pick(allowed, spread);
  const warnings = warningsFor(winner, pick(usable, spread).winner, smallestChoice, cells);
  return {
    name: "effectiveBatchSize",
    rule: smallestChoice > 1 ? `Of those of at least ${smallestChoice} sequences: ${RULE}` : RULE,
    inputs: cells.map(({ id }) => id),
    figures: Object.fromEntries(candidates.map((candidate) => [candidate.label, {
      effectiveBatchSize: candidate.size,
      tokensPerSecond: candidate.tokensPerSecond,
      heldOutLoss: candidate.heldOutLoss,
      seedSpread: spread,
    }])),
    chosen: winner.label,
    value: winner.size,
    reason: [
      reasonFor(winner, best, { good: good.length, spread, among: amongText(phase, smallestChoice) }),
      ...warnings.map(({ text }) => text),
    ].join("; "),
    ...warnings.length > 0 && { warnings },
  };
}

/** The fastest of those that learn as well as the best. */
function pick(candidates: readonly Candidate[], spread: number) {
  const best = candidates.reduce((a, b) => b.heldOutLoss! < a.heldOutLoss! ? b : a);
  const good = candidates.filter(({ heldOutLoss }) => heldOutLoss! <= best.heldOutLoss! + spread);
  const winner = good.reduce((a, b) => b.tokensPerSecond! > a.tokensPerSecond! ? b : a);
  return { best, good, winner };
}

/** Updates below which a run says more of its first steps than of its batch size. */
const FEW_UPDATES = 200;

/** @param free What the rule would pick without a floor. */
function warningsFor(
  winner: Candidate,
  free: Candidate,
  smallestChoice: number,
  cells: readonly CellRecord[],
): DecisionWarning[] {
  const warnings: DecisionWarning[] = [];
  if (free.size < smallestChoice) {
    warnings.push({
      kind: "floor",
      text: `the floor of ${smallestChoice} chose: by the rule alone it would be ${free.label}`,
    });
  }
  const sizes = cells.map(({ config }) => effectiveBatchSize(config));
  if (winner.size === Math.max(...sizes)) {
    warnings.push({
      kind: "edge",
      text: `${winner.label} is the largest tried: a larger one may be faster and learn as well`,
    });
  }
  const updates = Math.min(...cells.map(({ config }) => config.steps));
  if (updates < FEW_UPDATES) {
    warnings.push({
      kind: "updates",
      text: `the largest batch size made ${updates} updates, less than ${FEW_UPDATES}: its loss says little`,
    });
  }
  return warnings;
}

/** Which batch sizes the rule could pick from, in words. */
function amongText(phase: string, smallestChoice: number): string {
  return smallestChoice > 1
    ? `those of at least ${smallestChoice} sequences in the phase ${phase}`
    : `the phase ${phase}`;
}

function reasonFor(
  winner: Candidate,
  best: Candidate,
  { good, spread, among }: { good: number; spread: number; among: string },
): string {
  const rate = `${winner.tokensPerSecond!.toFixed(0)} tokens/s`;
  const loss = winner.heldOutLoss!.toFixed(4);
  if (winner === best && good === 1) {
    return `${winner.label} has the lowest held-out loss of ${among}, ${loss}, and no other of them comes ` +
      `within the seed spread of ${spread.toFixed(4)}; it trains at ${rate}`;
  }
  const compared = winner === best
    ? `its held-out loss of ${loss} is the lowest of ${among}`
    : `its held-out loss of ${loss} is within the seed spread of ${
      spread.toFixed(4)
    } of the lowest of ${among}, ` +
      `${best.heldOutLoss!.toFixed(4)} at ${best.label}`;
  return `${winner.label} is the fastest of the ${good} that learn equally well, ${rate}; ${compared}`;
}

function candidateOf(size: number, cells: readonly CellRecord[]): Candidate {
  const held = finalLosses(cells);
  return {
    size,
    label: `batch ${size}`,
    tokensPerSecond: held.heldOutLoss === null ? null : median(cells.flatMap(timedTokensPerSecond)),
    ...held,
  };
}
