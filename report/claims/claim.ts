/** What a claim of the paper is. */
import type { Analysis } from "../rows/analysis.ts";
import type { Configuration } from "../rows/configuration.ts";
import type { Pair } from "../rows/pairs.ts";
import type { LossOf } from "./ledger.ts";

export type Outcome = "reproduced" | "partly" | "not reproduced" | "not tested here";

/** What a run says of a claim. */
export interface Finding {
  outcome: Outcome;
  /** Our figure with its interval, or why there is none. */
  ours: string;
  cells: Configuration[];
  /** Where on the page the evidence is drawn; the page leaves the link out where it has no such part. */
  section: string;
  /** What the verdict compares, where it is one configuration with another. */
  pair?: Pair;
}

/** What is to be tested for a verdict, and the verdict once the tests of all claims are corrected. */
export interface Examination {
  /** Pairs whose held-out losses the verdict compares. */
  comparisons: readonly Pair[];
  judge(loss: LossOf): Finding;
}

export interface Claim {
  id: string;
  claim: string;
  /** The paper's figure, in its words. */
  paper: string;
  /** What makes it reproduced, in words. */
  rule: string;
  /** What would test it. */
  untested: string;
  /** A verdict that hangs on no test is given at once; null where the run has no cells for it. */
  examine(analysis: Analysis): Examination | Finding | null;
}

/** `reproduced` where all hold, `not reproduced` where none does. */
export function verdictOn(...holds: readonly boolean[]): Outcome {
  return holds.every(Boolean) ? "reproduced" : holds.some(Boolean) ? "partly" : "not reproduced";
}
