/**
 * What to switch on for a given memory: of the measured combinations that fit, and that no other one is shown
 * to be faster than, the simplest.
 */
import type { Analysis } from "./analysis.ts";
import { fasterAmong, switchedCount } from "./faster.ts";
import { combinationKey, type Configuration, settingKey } from "./configuration.ts";
import { equalTokens, heldOutLosses } from "./held_out.ts";
import { ratioOf } from "../../results/measured.ts";
import { GIB } from "../../results/bytes.ts";
import { learnedBy, lossDifference, type LossOutcome } from "./loss_difference.ts";
import { lossMargin } from "../../results/margins.ts";
import type { Interval } from "../../results/stats.ts";

/** Memory of common devices, GiB. */
export const BUDGETS_GIB = [6, 8, 12, 16, 24, 48] as const;
/** Shares of the baseline's booked peak, for runs that fit anywhere. */
const SHARES = [1, 3 / 4, 1 / 2, 1 / 3, 1 / 4] as const;

export interface Candidate {
  configuration: Configuration;
  /** What a device must hold for it: see `needsOf`. */
  bytes: number;
  booked: number;
  throughputRatio: Interval | null;
  memoryRatio: number;
  /** Null where the configuration has no seeds to compare with. */
  loss: LossOutcome | null;
  isBaseline: boolean;
}

export interface BudgetRow {
  /** `12 GiB`, `1/3 of the baseline`. */
  bytes: number;
  gib: number | null;
  share: number | null;
  /** Null where nothing that was measured fits. */
  best: Candidate | null;
  /** How many combinations fit. */
  fitting: number;
}

export interface Budgets {
  baseline: Configuration;
  candidates: Candidate[];
  rows: BudgetRow[];
  /** Rows by shares of the baseline; empty where GiB tell the combinations apart. */
  scaled: BudgetRow[];
  /** What `bytes` are. */
  basis: "observed with context" | "booked";
}

/** Every combination at the baseline's setting that trained all parameters: the one with most cells. */
export function combinations({ configurations, baseline }: Analysis): Configuration[] {
  if (!baseline) return [];
  const setting = settingKey(baseline);
  const byCombination = new Map<string, Configuration>();
  for (const one of configurations) {
    const [cell] = one.ok;
    if (!cell || settingKey(one) !== setting || one.shows === "overflow-recovery") continue;
    if (cell.trainableParameters !== cell.parameters) continue;
    const key = combinationKey(one);
    const known = byCombination.get(key);
    if (!known || one === baseline || (known !== baseline && one.ok.length > known.ok.length)) {
      byCombination.set(key, one);
    }
  }
  return [...byCombination.values()];
}

/** Budgets against what was measured; null where methods were not varied. */
export function budgetsOf(analysis: Analysis): Budgets | null {
  const { baseline } = analysis;
  const all = combinations(analysis).filter(({ memory, tokensPerSecond }) =>
    memory?.bookedBytes != null && tokensPerSecond
  );
  const base = baseline?.memory?.bookedBytes;
  if (!baseline || !base || all.length < 2) return null;
  const isSoftware = analysis.loaded.run.environment.software;
  // A device must hold the driver's share too; a software adapter has no device, and its process holds the
  // whole runtime.
  const isObserved = !isSoftware && all.every(({ contextBytes }) => contextBytes);
  const tokens = equalTokens(all);
  const losses = heldOutLosses(all, tokens);
  const baseLoss = losses[all.indexOf(baseline)] ?? null;
  const learned = learnedBy(baseline, tokens);
  const isFaster = fasterAmong(all);
  const candidates = all.map((configuration, i): Candidate => {
    const booked = configuration.memory!.bookedBytes!;
    const margin = lossMargin(analysis.loaded.run.decisions, configuration.config);
    const difference = configuration === baseline
      ? null
      : lossDifference(baseLoss, losses[i], { margin, learned });
    return {
      configuration,
      booked,
      bytes: isObserved ? configuration.contextBytes!.interval.estimate : booked,
      throughputRatio: ratioOf(configuration.tokensPerSecond, baseline.tokensPerSecond),
      memoryRatio: base / booked,
      isBaseline: configuration === baseline,
      loss: configuration === baseline
        ? "equal"
        : !difference || difference.refusal !== null
        ? null
        : difference.outcome,
    };
  });
  const row = (
    bytes: number,
    of: (candidate: Candidate) => number,
    gib: number | null,
    share: number | null,
  ) => {
    const fits = candidates.filter((candidate) => of(candidate) <= bytes);
    const worthy = fits.filter(({ loss }) => loss !== "worse");
    // Of all that no other one is shown to be faster than, the simplest; of these the fastest estimate.
    const tied = worthy.filter((one) =>
      !worthy.some((other) => isFaster(other.configuration, one.configuration))
    );
    const best = tied.toSorted((a, b) =>
      switchedCount(a.configuration) - switchedCount(b.configuration) ||
      (b.throughputRatio?.estimate ?? 0) - (a.throughputRatio?.estimate ?? 0)
    )[0] ?? null;
    return { bytes, gib, share, best, fitting: fits.length };
  };
  const rows = BUDGETS_GIB.map((gib) => row(gib * GIB, ({ bytes }) => bytes, gib, null));
  const isTold = rows.some(({ fitting }) => fitting < candidates.length);
  const scaled = isTold ? [] : SHARES.map((share) => row(base * share, ({ booked }) => booked, null, share));
  return { baseline, candidates, rows, scaled, basis: isObserved ? "observed with context" : "booked" };
}
