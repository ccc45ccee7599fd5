/**
 * A verdict on every claim of the paper (Samonov 2024, doi:10.20295/2413-2527-2024-339-5-12), worked out from
 * records. The only figures typed in are the paper's own (paper.ts, guide.ts); whatever else a verdict hangs
 * on comes from the records.
 */
import type { CellRecord } from "../../results/record.ts";
import { C11, C12, C9 } from "./adapters.ts";
import type { Claim, Finding, Outcome } from "./claim.ts";
import { type Ledger, ledgerOf } from "./ledger.ts";
import { C10, C7, C8 } from "./optimizers.ts";
import { C13, C14, C15 } from "./protocol.ts";
import { C1, C2, C3, C4, C5, C6 } from "./training.ts";
import type { Analysis } from "../rows/analysis.ts";
import type { Pair } from "../rows/pairs.ts";

/** What this run says of one claim. */
export interface ClaimVerdict extends Pick<Claim, "id" | "claim" | "paper" | "rule"> {
  outcome: Outcome;
  /** Our figure with its interval, or why there is none. */
  ours: string;
  /** Cells it rests on. */
  cells: string[];
  /** Part of the page that draws the evidence; null where nothing was tested. */
  section: string | null;
  /** What the verdict compares, where it is one configuration with another. */
  pair: Pair | null;
}

/** All verdicts, and what they were reached with. */
export interface Judgement {
  verdicts: ClaimVerdict[];
  ledger: Ledger;
  /** The stack that claim C1 is judged on, and its baseline; null where it was not tested. */
  stack: Pair | null;
}

const CLAIMS: readonly Claim[] = [C1, C2, C3, C4, C5, C6, C7, C8, C9, C10, C11, C12, C13, C14, C15];

/** Verdicts in the order of the claims; every claim has one. */
export function judge(analysis: Analysis): Judgement {
  const examinations = CLAIMS.map((claim) => claim.examine(analysis));
  const ledger = ledgerOf(examinations.flatMap((one) => one && "judge" in one ? one.comparisons : []));
  const verdicts = CLAIMS.map((claim, i) => {
    const one = examinations[i];
    return verdictOf(claim, one && "judge" in one ? one.judge(ledger.loss) : one);
  });
  return { verdicts, ledger, stack: verdicts[CLAIMS.indexOf(C1)].pair };
}

function verdictOf({ id, claim, paper, rule, untested }: Claim, finding: Finding | null): ClaimVerdict {
  const cells = finding?.cells.flatMap(({ ok, cells }) => idsOf(ok.length > 0 ? ok : cells)) ?? [];
  return {
    id,
    claim,
    paper,
    rule,
    outcome: finding?.outcome ?? "not tested here",
    ours: finding?.ours ?? untested,
    cells: [...new Set(cells)],
    section: finding?.section ?? null,
    pair: finding?.pair ?? null,
  };
}

const idsOf = (cells: readonly CellRecord[]) => cells.map(({ id }) => id);
