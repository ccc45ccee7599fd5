import type { Analysis } from "../../rows/analysis.ts";
import type { Configuration } from "../../rows/configuration.ts";
import { count, formatNumber } from "../../words/format.ts";
import { type Html, type HtmlValue, markup } from "../html.ts";
import { optimizerName, quantizesEmbeddings } from "../../words/names.ts";
import { BEYOND_CONFIDENCE, MARGINS } from "../../../results/margins.ts";
import { figures, table } from "../table.ts";
import { type PageContext, section } from "./context.ts";

/** How the figures came about; written for who wants to doubt them. */
export function methodSection(
  { loaded: { cells, run }, configurations, planned }: Analysis,
  context: PageContext,
): Html {
  const trained = cells.filter(({ kind, status }) => kind === "trained" && status === "ok");
  const warmups = [...new Set(trained.map(({ warmupSteps }) => warmupSteps))].sort((a, b) => a - b);
  const how = [...new Set(trained.flatMap(({ memory }) => memory ? [memory.observedHow] : []))].sort();
  const timed = warmups.length > 0 ? warmups.join(" or ") : "warm-up";
  const here = how.length > 0 ? ` (here: ${how.join("; ")})` : "";
  const copies = cells.filter(({ sameRunAs }) => sameRunAs !== null).length;
  return section(
    context,
    "method",
    "How it was measured",
    markup`${phases(run.phases, cells)}<ul class="columns">
<li><strong>Cells.</strong> Each cell trained in a process of its own, from the configuration listed below and nothing else. Cells that differ only in seed or repeat form one configuration (${
      count(configurations.length, "configuration")
    } here). What a rule skipped, what failed and why stands above the table of all configurations.${
      copies > 0
        ? ` ${count(copies, "cell")} of a later phase had the configuration of an earlier one and ${
          copies === 1 ? "repeats its record" : "repeat their records"
        }: such a run counts once where phases are put together.`
        : ""
    }</li>
<li><strong>Fair comparison.</strong> Configurations are compared where model, data, sequence length, effective batch, schedule, clipping and dropout are the same; a seed fixes initial weights and the order of the data, so the same seed sees the same tokens in the same order in every configuration. Losses are compared after equally many trained tokens. ${
      rates(run.decisions)
    }</li>
<li><strong>Time.</strong> The first ${timed} steps of a cell are left out of timing: those before three in a row lie within three median absolute deviations of the median of the steps behind the suite's bound, or up to that bound. All later ones count, outliers too. Throughput is a step's trained tokens divided by its time, all micro-steps and the update included; a process counts by its median step, and a figure is the geometric mean over processes. Cells of a comparison take turns, so that drift of the machine spreads over all of them.</li>
<li><strong>Intervals</strong> hold 95 %. Times and throughput: Student's t on the logarithms of processes, each by its median step, since the steps of one process share its luck and say nothing of the next one. Ratios are taken seed by seed and round by round where both sides have the same ones, else by Welch's t. Losses: mean over seeds, Student's t. A figure of one process (n = 1) has no interval, and no verdict rests on it.</li>
<li><strong>No difference.</strong> Two figures differ where the interval of their ratio, built in the same way, leaves out 1. Everything else is shown grey and called no difference.</li>
<li><strong>Verdicts.</strong> A claim holds in a setting where the ${
      MARGINS.confidence.value * 100
    } % interval of each deciding figure lies inside what the claim asks for, and does not where one lies outside, at ${
      BEYOND_CONFIDENCE * 100
    } % where there are two sides to it; all else is “cannot tell”. Noise widens intervals: it takes verdicts away and gives none. Of several settings none speaks for the others.</li>
<li><strong>Margins</strong>, set before the run: ${
      Object.values(MARGINS).map(({ name, value, reason }, i) =>
        `${i > 0 ? "; " : ""}${name} ${value} (${reason})`
      )
    }.</li>
<li><strong>Losses</strong> are compared over seeds, paired where both sides ran the same ones (Welch's t otherwise), and only where the baseline's own loss fell by more than the margin and, where the record has it, below a histogram of its targets: before that, equality is rounding. The margin is what the run decided before the judged cells ran, else the floor.</li>
<li><strong>Many comparisons.</strong> The tests of losses behind the claims are corrected together (Holm 1979). Intervals of throughput, of interactions and of the ladder's own table are not corrected.</li>
<li><strong>Held-out loss</strong> is the mean over targets of the held-out end of the corpus; between two evaluations it is interpolated.</li>
<li><strong>Memory.</strong> <em>Planned</em>: what the planner predicts before anything runs. <em>Booked</em>: what the ledger of allocations counted, equal to the plan or the cell is an error; its ratios are exact and have no interval. <em>Observed</em>: what the driver or the operating system saw from outside, less the baseline before training${here}; it includes what no plan can know, such as shader compilers and driver caches. <em>Observed with context</em> adds that baseline back: it is what a driver's own figure shows, and what the guide's megabytes are. Booked ratios are larger, because a context is not saved by any method.</li>
${
      eightBit([...configurations, ...planned])
    }<li><strong>Factorial.</strong> Effects are contrasts of logarithms between cells that differ in what is named alone, averaged over all such pairs (pairs of pairs for interactions); with every combination run this is the classical analysis of a factorial experiment, and combinations that a rule left out bias nothing. Of a fraction, whose cells differ in two methods or more, all cells with a method are set against all without it, which have the same other methods beside them.</li>
<li><strong>Planned cells</strong> ran nowhere. The planner that lays out every trained cell laid them out too; how far its figures and the booked bytes agree in the cells that ran stands under Memory.</li>
</ul>
<p>This page is a function of the records alone: the same records give the same bytes.</p>`,
  );
}

/** What 8-bit AdamW does with embeddings here, and what goes wrong where it quantizes them. */
function eightBit(configurations: readonly Configuration[]): HtmlValue {
  const own = configurations.filter(({ config }) => config.optimizer === "adamw8bit");
  if (own.length === 0) return null;
  const quantized = own.filter(({ config }) => quantizesEmbeddings(config));
  const usual = own.length > quantized.length
    ? " Embeddings and tensors of fewer than 4096 elements keep f32 moments, as transformers' Trainer has it; all others have 8-bit ones."
    : "";
  const fault = quantized.length > 0 &&
    markup` ${
      count(quantized.length, "configuration")
    } here quantized embeddings, too (<code>--quantize-embeddings true</code>, or a record from before there was a choice). That has a fault: in a block that a rare token shares with a frequent one, the second moment of the rare one rounds to 0 while its first does not, and its next small gradient is divided by ε. Single weights of embeddings can then jump by thousands of learning rates, and losses with them; a head tied to the embedding hides it, since it gives every row a gradient in every step.`;
  return markup`<li><strong>8-bit AdamW.</strong>${usual}${fault}</li>
`;
}

/** Where parts of the page are missing because the suite does not ask for them. */
const SILENT = markup`
<p class="muted">No phase of this suite says what it <code>shows</code>, so the parts of a report that are made for one question each (one method after another, combinations, attention by length, …) are left out: see docs/suites.md.</p>
`;

function phases(
  all: Analysis["loaded"]["run"]["phases"],
  cells: Analysis["loaded"]["cells"],
): HtmlValue {
  if (all.length === 0) return null;
  const of = (name: string) => cells.filter(({ phase }) => phase === name);
  const listed = table(all, [
    { head: "phase", cell: ({ name }) => name },
    { head: "kind", cell: ({ kind }) => kind },
    { head: "what for", cell: ({ description }) => markup`<span class="reason">${description}</span>` },
    figures("cells", ({ name }) => formatNumber(of(name).length)),
    figures(
      "ended well",
      ({ name }) => formatNumber(of(name).filter(({ status }) => status === "ok").length),
    ),
    figures("seeds", ({ name }) => formatNumber(new Set(of(name).map(({ config }) => config.seed)).size)),
  ], { caption: "Phases, in the order they ran", kind: "dense" });
  const others = all.filter(({ kind }) => kind === "matrix" || kind === "plan");
  const isSilent = others.length > 0 && others.every(({ shows }) => shows === null);
  return markup`${listed}${isSilent && SILENT}`;
}

function rates(decisions: Analysis["loaded"]["run"]["decisions"]): string {
  const tuned = decisions.filter(({ name }) => name.startsWith("learningRate/"));
  if (tuned.length === 0) {
    return "No learning rate was tuned in this run: read the losses of different optimizers with that in mind.";
  }
  const list = tuned.map(({ name, value }) =>
    `${optimizerName(name.slice("learningRate/".length))} ${value}`
  );
  return `Where the optimizer differs, each trains at its own rate, chosen by a sweep (${list.join(", ")}).`;
}
