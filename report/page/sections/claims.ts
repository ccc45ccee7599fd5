import type { ClaimVerdict } from "../../claims/judge.ts";
import type { Outcome } from "../../claims/claim.ts";
import type { Analysis } from "../../rows/analysis.ts";
import { count } from "../../words/format.ts";
import { type Html, type HtmlValue, markup } from "../html.ts";
import { ALPHA, MARGIN_DEVIATIONS } from "../../rows/loss_difference.ts";
import { type Column, table } from "../table.ts";
import { type PageContext, section, traced } from "./context.ts";

/** Cells named beside a verdict; the rest are counted. */
const CELLS_SHOWN = 3;

/** Shape and word, so that the verdict does not hang on colour. */
const SIGNS: Record<Outcome, string> = {
  reproduced: "●",
  partly: "◐",
  "not reproduced": "○",
  "not tested here": "–",
};

/** What the run says of each claim of the paper. Drawn after the sections it links to. */
export function claimsSection(_: Analysis, context: PageContext): Html | null {
  const { verdicts, ledger } = context.judgement;
  // A batch sweep alone touches one of them, and a table of fourteen blanks says nothing.
  if (verdicts.filter(({ outcome }) => outcome !== "not tested here").length < 2) return null;
  const columns: Column<ClaimVerdict>[] = [
    { head: "", cell: ({ id }) => markup`<span id="${context.prefix}claim-${id}">${id}</span>` },
    {
      head: "claim",
      cell: ({ claim, rule }) =>
        markup`${claim}<details><summary>rule</summary><span class="reason">${rule}</span></details>`,
    },
    {
      head: "verdict",
      cell: ({ outcome }) => markup`<strong class="outcome">${SIGNS[outcome]}\u00a0${outcome}</strong>`,
    },
    { head: "here", cell: ({ ours }) => ours },
    { head: "paper", cell: ({ paper }) => paper },
    { head: "evidence", cell: (verdict) => evidenceLinks(verdict, context) },
  ];
  const tests = ledger.testCount;
  return section(
    context,
    "claims",
    tally(verdicts),
    markup`${
      table(verdicts, columns, {
        caption: "Every claim of the paper, judged by rule from the records",
        kind: "claims",
      })
    }
<p class="muted">Ratios carry 95 % intervals. Losses are equal where two one-sided tests place the difference (90 % interval in brackets) within ${MARGIN_DEVIATIONS} standard deviations of the baseline's own seeds; ${
      count(tests, "such test")
    } ${
      tests === 1 ? "was" : "were"
    } made for this table, and Holm's correction keeps the chance that any of them calls different losses equal below ${
      ALPHA * 100
    } %. The intervals of throughput are not corrected: each errs once in twenty times.</p>`,
  );
}

function tally(verdicts: readonly ClaimVerdict[]): string {
  const n = (outcome: Outcome) => verdicts.filter((verdict) => verdict.outcome === outcome).length;
  const parts = (["reproduced", "partly", "not reproduced", "not tested here"] as const)
    .filter((outcome) => n(outcome) > 0).map((outcome) => `${n(outcome)} ${outcome}`);
  return `The paper's ${verdicts.length} claims: ${parts.join(", ")}`;
}

function evidenceLinks({ cells, section }: ClaimVerdict, context: PageContext): HtmlValue {
  const chart = section && context.drawn.has(section)
    ? markup`<a href="#${context.prefix}${section}">chart</a>${cells.length > 0 ? ", " : ""}`
    : "";
  // The last one is the configuration that is compared; the first one its baseline.
  const ends = cells.length > CELLS_SHOWN ? [cells[0], cells.at(-1)!] : cells;
  const links = ends.map((id, i) =>
    markup`${i > 0 ? ", " : ""}${traced(context, id, markup`<code>${id.slice(0, 6)}</code>`)}`
  );
  const more = cells.length > CELLS_SHOWN ? ` and ${cells.length - ends.length} more` : "";
  return markup`${chart}${links}${more}`;
}
