/**
 * A verdict on every claim of the paper (Samonov 2024, doi:10.20295/2413-2527-2024-339-5-12), worked out from
 * records. The only figures typed in are the paper's own (paper.ts, guide.ts); whatever else a verdict hangs
 * on comes from the records.
 */
import type { CellRecord } from "../../results/record.ts";
import type { Analysis } from "../rows/analysis.ts";
import { isAlone } from "../../results/intervals.ts";
import type { Pair } from "../rows/pairs.ts";
import { C11, C12, C16, C17, C9 } from "./adapters.ts";
import { type Claim, type Finding, type Outcome, outcomeOf, OUTCOMES, overall } from "./claim.ts";
import { type Ledger, ledgerOf } from "./ledger.ts";
import { C10, C7, C8 } from "./optimizers.ts";
import { C13, C14, C15 } from "./protocol.ts";
import { C1a, C1b, C2, C3, C4, C5, C6 } from "./training.ts";

/** What one setting says of a claim, with its verdict. */
export interface SettingVerdict extends Omit<Finding, "cells" | "notes"> {
  outcome: Outcome;
  /** Ids of the cells it rests on. */
  cells: string[];
}

/** What this run says of one claim. */
export interface ClaimVerdict extends Pick<Claim, "id" | "claim" | "paper" | "source" | "rule"> {
  /** Over all settings; see `overall`. */
  outcome: Outcome;
  /** The outcome with the settings it holds in: `reproduced in 1 of 2 settings`. */
  says: string;
  settings: SettingVerdict[];
  /** Our figures with their intervals, or what would test it. */
  ours: string;
  /** Cells it rests on. */
  cells: string[];
  /** Part of the page that draws the evidence; null where nothing was tested. */
  section: string | null;
  /** What the first setting's verdict compares, where it is one configuration with another. */
  pair: Pair | null;
}

/** All verdicts, and what they were reached with. */
export interface Judgement {
  verdicts: ClaimVerdict[];
  ledger: Ledger;
  /** The claim of the first screen: C1a, or C1b where that alone was tested; null where neither was. */
  first: ClaimVerdict | null;
  /** The stack that it is judged on, and its baseline. */
  stack: Pair | null;
}

const CLAIMS: readonly Claim[] = [
  ...[C1a, C1b, C2, C3, C4, C5, C6, C7, C8, C9],
  ...[C10, C11, C12, C13, C14, C15, C16, C17],
];

/** What the paper says that cannot be tested as it is worded. */
export const NOT_TESTABLE =
  "hallucinations, exceptional situations, ease of deployment, the price of GPUs; RLHF and bf16, which are not built here";

/** Verdicts in the order of the claims; every claim has one. */
export function judge(analysis: Analysis): Judgement {
  const examinations = CLAIMS.map((claim) => claim.examine(analysis));
  const { decisions } = analysis.loaded.run;
  const comparisons = examinations.flatMap((one) => one?.comparisons ?? []);
  const ledger = ledgerOf(comparisons, decisions, analysis.learners);
  const verdicts = CLAIMS.map((claim, i) => verdictOf(claim, examinations[i]?.judge(ledger.loss) ?? []));
  const first = verdicts.find(({ id, pair }) => (id === "C1a" || id === "C1b") && pair !== null) ?? null;
  return { verdicts, ledger, first, stack: first?.pair ?? null };
}

function verdictOf({ id, claim, paper, source, rule, untested }: Claim, findings: Finding[]): ClaimVerdict {
  const settings = findings.map(({ cells, notes: _, ...finding }): SettingVerdict => ({
    ...finding,
    outcome: outcomeOf(finding.axes),
    cells: [...new Set(cells.flatMap(({ ok, cells }) => idsOf(ok.length > 0 ? ok : cells)))],
  }));
  // What ran in one process decides nothing, whatever it shows: it counts where there is nothing else.
  const repeated = settings.filter((one) => !isSingle(one));
  const counted = repeated.length > 0 ? repeated : settings;
  const outcomes = counted.map(({ outcome }) => outcome);
  const outcome = overall(outcomes);
  const others = settings.length - counted.length;
  const texts = new Set([
    ...settings.map(({ ours }) => ours),
    ...findings.flatMap(({ notes }) => notes ?? []),
  ]);
  return {
    id,
    claim,
    paper,
    source,
    rule,
    outcome,
    says: saying(outcome, outcomes) + (others > 0 ? ` (${others} more in one process each)` : ""),
    settings,
    ours: texts.size > 0 ? [...texts].join(". ") : untested,
    cells: [...new Set(settings.flatMap(({ cells }) => cells))],
    section: settings[0]?.section ?? null,
    pair: settings[0]?.pair ?? null,
  };
}

/** Whether a figure that decides comes from one process or seed. */
function isSingle({ axes }: SettingVerdict): boolean {
  return axes.some(({ weight, figure }) => weight === "decides" && figure !== null && isAlone(figure));
}

/** `cannot tell`; where settings differ: `reproduced in 1 of 3 settings, not reproduced in 1`. */
function saying(outcome: Outcome, outcomes: readonly Outcome[]): string {
  const kinds = [...new Set(outcomes)].sort((a, b) => OUTCOMES.indexOf(a) - OUTCOMES.indexOf(b));
  if (kinds.length < 2) return outcome;
  const n = (kind: Outcome) => outcomes.filter((one) => one === kind).length;
  const [first, ...others] = kinds;
  return [
    `${first} in ${n(first)} of ${outcomes.length} settings`,
    ...others.map((kind) => `${kind} in ${n(kind)}`),
  ].join(", ");
}

const idsOf = (cells: readonly CellRecord[]) => cells.map(({ id }) => id);
