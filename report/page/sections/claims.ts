import type { ClaimVerdict, SettingVerdict } from "../../claims/judge.ts";
import { NOT_TESTABLE } from "../../claims/judge.ts";
import { type Axis, type Outcome, OUTCOMES } from "../../claims/claim.ts";
import type { Analysis } from "../../rows/analysis.ts";
import { MARGINS } from "../../../results/margins.ts";
import { count } from "../../words/format.ts";
import { type Html, type HtmlValue, markup } from "../html.ts";
import { type Column, table } from "../table.ts";
import { type PageContext, section, traced } from "./context.ts";

/** Cells named beside a verdict; the rest are counted. */
const CELLS_SHOWN = 3;

/** Shape and word, so that the verdict does not hang on colour. */
const SIGNS: Record<Outcome, string> = {
  "reproduced": "●",
  "shown by axis": "◉",
  "not reproduced": "○",
  "depends on the setting": "◐",
  "cannot tell": "?",
  "by construction": "=",
  "not tested here": "–",
};

/** What the run says of each claim of the paper. Drawn after the sections it links to. */
export function claimsSection(_: Analysis, context: PageContext): Html | null {
  const { verdicts, ledger } = context.judgement;
  // A batch sweep alone touches one of them, and a table of blanks says nothing.
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
      cell: ({ outcome, says, settings }) =>
        markup`<strong class="outcome">${SIGNS[outcome]}\u00a0${says}</strong><br>${axesOf(settings)}`,
    },
    {
      head: "here",
      cell: (verdict) =>
        verdict.cells.length === 0
          ? verdict.ours
          : markup`${verdict.ours} (${evidenceLinks(verdict, context)})`,
    },
    {
      head: "paper, and what others say",
      cell: ({ paper, source }) =>
        markup`${paper}${source !== null && markup`<br><span class="reason">${source}</span>`}`,
    },
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
<p class="muted">A verdict hangs on ${
      MARGINS.confidence.value * 100
    } % intervals (in brackets) over processes and seeds: inside what the claim asks for, it holds; outside, it does not; across the edge, nobody can tell. ${
      count(tests, "loss")
    } ${
      tests === 1 ? "was" : "were"
    } compared for this table, and Holm's correction keeps the chance that any of them calls a loss kept that was not below ${
      Math.round((1 - MARGINS.confidence.value) * 50)
    } %; intervals of throughput are not corrected. “Shown by axis”: all axes hold, but quality on another model than memory and time, so that no one model shows all. “By construction” can only fail by a fault, and counts apart. In the last column the paper's own figures stand first, and what others say below them. Not testable as the paper words them: ${NOT_TESTABLE}.</p>`,
  );
}

/** `memory: yes; throughput: cannot tell (n = 1)`, for each setting where there are several. */
function axesOf(settings: readonly SettingVerdict[]): HtmlValue {
  const line = ({ axes }: SettingVerdict) => axes.map(axisText).join("; ");
  const lines = settings.map((one) =>
    settings.length > 1 ? markup`${one.setting}: ${line(one)}<br>` : line(one)
  );
  return lines.length === 0 ? null : markup`<span class="reason">${lines}</span>`;
}

function axisText({ axis, answer, why, weight, model }: Axis): string {
  const on = model === null ? "" : `on ${model}`;
  const aside = weight === "reported" ? "told, not judged" : weight === "by construction" ? weight : "";
  const notes = [on, aside, answer === "cannot tell" ? why : ""].filter(Boolean).join(": ");
  return `${axis}: ${answer}${notes ? ` (${notes})` : ""}`;
}

function tally(verdicts: readonly ClaimVerdict[]): string {
  const n = (outcome: Outcome) => verdicts.filter((verdict) => verdict.outcome === outcome).length;
  const parts = OUTCOMES.filter((outcome) => n(outcome) > 0).map((outcome) => `${n(outcome)} ${outcome}`);
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
