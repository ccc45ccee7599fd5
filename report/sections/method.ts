import { type Analysis, BOOTSTRAP } from "../derive.ts";
import { LOSS_MARGIN } from "../findings.ts";
import { type Html, markup } from "../html.ts";
import { type PageContext, section } from "./context.ts";

/** How the figures came about; written for who wants to doubt them. */
export function methodSection({ loaded: { cells } }: Analysis, context: PageContext): Html {
  const warmups = [...new Set(cells.map(({ warmupSteps }) => warmupSteps))].sort((a, b) => a - b);
  const how = [...new Set(cells.flatMap(({ memory }) => memory ? [memory.observedHow] : []))].sort();
  const timed = warmups.length > 0 ? warmups.join(" or ") : "warm-up";
  const here = how.length > 0 ? ` (here: ${how.join("; ")})` : "";
  const margin = LOSS_MARGIN * 100;
  return section(
    context,
    "method",
    "How it was measured",
    markup`<ul>
<li><strong>Cells.</strong> Each cell trained in a process of its own, from the configuration listed below and nothing else. Cells that differ only in seed or repeat form one configuration.</li>
<li><strong>Time.</strong> The first ${timed} steps of a cell are left out of timing; all later ones count, outliers too. Throughput is a step's trained tokens divided by its time; figures are medians over all steps of all cells.</li>
<li><strong>Intervals</strong> hold 95 %. Times and throughput: the wider of two, by percentile bootstrap of the median over all steps (Efron 1979; ${BOOTSTRAP.resamples} resamples, fixed seed) and by Student's t over the cells, since the steps of one process share its luck. Losses: mean over seeds, Student's t. How much cells of one configuration scatter (in logarithms) is pooled over the configurations of a phase, because two or three cells say too little of it. Where every configuration has one cell, intervals know the steps alone.</li>
<li><strong>No difference.</strong> Two figures differ where the interval of their ratio, built in the same way, leaves out 1. Everything else is shown grey and called no difference. Losses are called equal only where two one-sided tests (Schuirmann 1987) place the difference within ±${margin} % of the baseline's loss.</li>
<li><strong>Held-out loss</strong> is the mean over targets of the held-out end of the corpus, compared after equally many trained tokens; between two evaluations it is interpolated.</li>
<li><strong>Memory.</strong> <em>Planned</em>: what the planner predicts before anything runs. <em>Booked</em>: what the ledger of allocations counted, equal to the plan or the cell is an error. <em>Observed</em>: what the driver or the operating system saw from outside, less the baseline before training${here}; it includes what no plan can know, such as shader compilers and driver caches.</li>
</ul>
<p>This page is a function of the records alone: the same records give the same bytes.</p>`,
  );
}
