import { type ClaimVerdict, claimVerdicts } from "../claims.ts";
import type { Analysis } from "../derive.ts";
import { type Html, markup } from "../html.ts";
import { type Column, table } from "../table.ts";
import { type PageContext, section, traced } from "./context.ts";

/** What the run says of each claim of the paper. */
export function claimsSection(analysis: Analysis, context: PageContext): Html | null {
  const verdicts = claimVerdicts(analysis);
  // A batch sweep alone touches one of them, and a table of fourteen blanks says nothing.
  if (verdicts.filter(({ outcome }) => outcome !== "not tested here").length < 2) return null;
  const columns: Column<ClaimVerdict>[] = [
    { head: "", cell: ({ id }) => id },
    { head: "claim", cell: ({ claim }) => claim },
    { head: "verdict", cell: ({ outcome }) => markup`<strong>${outcome}</strong>` },
    { head: "here", cell: ({ ours, cells }) => traced(context, cells.at(-1) ?? null, ours) },
    { head: "paper", cell: ({ paper }) => paper },
  ];
  const rules: Column<ClaimVerdict>[] = [
    { head: "", cell: ({ id }) => id },
    { head: "reproduced when", cell: ({ rule }) => rule },
  ];
  return section(
    context,
    "claims",
    "The paper's claims",
    markup`${
      table(verdicts, columns, {
        caption: "Verdicts, worked out from the records",
        strong: ({ outcome }) => outcome === "reproduced",
      })
    }
<p class="muted">Intervals are 95 %. Fifteen claims are judged at once: at this level, one in twenty comparisons errs.</p>
<details><summary>The rule behind each verdict</summary>${
      table(verdicts, rules, { caption: "Rules" })
    }</details>`,
  );
}
