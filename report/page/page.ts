/** Sections into one page: no request leaves it, no script is needed to read it. */
import { analyse, type Analysis } from "../rows/analysis.ts";
import { judge } from "../claims/judge.ts";
import { verdictOf } from "./verdict.ts";
import { type Html, markup, trusted } from "./html.ts";
import { groupRuns, type PageRun, type RunGroup } from "../rows/merge.ts";
import { markdownBlock } from "./markdown.ts";
import { attentionSection } from "./sections/attention.ts";
import { batchSweepSection } from "./sections/batch_sweep.ts";
import { claimsSection } from "./sections/claims.ts";
import { cellsSection, configurationsSection } from "./sections/cells.ts";
import { type PageContext, section } from "./sections/context.ts";
import { equalMemorySection } from "./sections/equal_memory.ts";
import { environmentSection } from "./sections/environment.ts";
import { factorialSection } from "./sections/factorial.ts";
import { fineTuningSection } from "./sections/fine_tuning.ts";
import { guideSection } from "./sections/guide.ts";
import { kernelsSection } from "./sections/kernels.ts";
import { lossScaleSection } from "./sections/loss_scale.ts";
import { memorySection } from "./sections/memory.ts";
import { methodSection } from "./sections/method.ts";
import { optimizersSection } from "./sections/optimizers.ts";
import { perBatchSection } from "./sections/per_batch.ts";
import { plansSection } from "./sections/plans.ts";
import { scalingSection } from "./sections/scaling.ts";
import { ladderSection } from "./sections/trade_off.ts";
import { lossSection, stepTimesSection } from "./sections/training.ts";
import { verdictSection } from "./sections/verdict.ts";
import { POLICY, SCRIPT, STYLE } from "./style.ts";

type Section = (analysis: Analysis, context: PageContext) => Html | null;

/** The page of one run, top to bottom: anchor, name in the contents, section (none without records). */
const SECTIONS: readonly (readonly [string, string, Section])[] = [
  ["claims", "Claims", claimsSection],
  ["batch-sweep", "Batch size", batchSweepSection],
  ["ladder", "Ladder", ladderSection],
  ["equal-memory", "Equal memory", equalMemorySection],
  ["factorial", "Combinations", factorialSection],
  ["per-batch-size", "By batch size", perBatchSection],
  ["attention", "Attention", attentionSection],
  ["optimizers", "Optimizers", optimizersSection],
  ["fine-tuning", "Fine-tuning", fineTuningSection],
  ["loss-scale", "Loss scale", lossScaleSection],
  ["guide", "The guide", guideSection],
  ["plans", "Large models", plansSection],
  ["memory", "Memory", memorySection],
  ["loss", "Loss", lossSection],
  ["step-times", "Step times", stepTimesSection],
  ["kernels", "Kernels", kernelsSection],
  ["scaling", "Scaling", scalingSection],
  ["environment", "Environment", environmentSection],
  ["markdown", "Markdown", markdownSection],
  ["method", "Method", methodSection],
  ["cells", "All cells", cellsSection],
  ["configurations", "Configurations", configurationsSection],
];

function markdownSection(analysis: Analysis, context: PageContext): Html {
  return section(
    context,
    "markdown",
    "To paste into a comment",
    markup`<pre>${markdownBlock(analysis, context.judgement)}</pre>`,
    "half",
  );
}

/** A document around its body, with everything it needs inside. */
export function documentOf(title: string, body: Html): string {
  return markup`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${trusted(POLICY)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>${title}</title>
<style>${trusted(STYLE)}</style>
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
${body}
<script>${trusted(SCRIPT)}</script>
</body>
</html>
`.text;
}

/** The whole report as HTML: suites of one adapter as one, other runs one after another. */
export function renderReport(runs: readonly PageRun[]): string {
  const groups = groupRuns(runs);
  const articles = groups.map((group, i) => {
    const analysis = analyse(group.loaded);
    const prefix = groups.length > 1 ? `run-${i + 1}-` : "";
    const context: PageContext = {
      prefix,
      folderOf: group.folderOf,
      drawn: new Set(),
      judgement: judge(analysis),
    };
    return { analysis, context, article: runArticle(analysis, context, group) };
  });
  const titles = [...new Set(runs.map(({ loaded }) => loaded.run.title))];
  const body = markup`<header><h1>threefold report</h1></header>
<main id="content">
${groups.length > 1 ? runsList(articles) : ""}${articles.map(({ article }) => article)}
</main>`;
  return documentOf(`${titles.join(", ")} – threefold`, body);
}

function runsList(articles: readonly { analysis: Analysis; context: PageContext }[]): Html {
  const item = ({ analysis, context }: { analysis: Analysis; context: PageContext }) =>
    markup`<li><a href="#${context.prefix}run">${analysis.loaded.name}</a>: ${
      verdictOf(analysis, context.judgement).sentence
    }</li>
`;
  return markup`<section aria-labelledby="runs"><h2 id="runs">${articles.length} runs</h2>
<ol>${articles.map(item)}</ol></section>
`;
}

function runArticle(analysis: Analysis, context: PageContext, group: RunGroup): Html {
  const { run } = analysis.loaded;
  const id = `${context.prefix}run`;
  const verdict = verdictSection(analysis, context, group);
  // The claims link to the sections that were drawn, so they are drawn last and stand first.
  const drawn = new Map(SECTIONS.slice(1).map(([anchor, , draw]) => [anchor, draw(analysis, context)]));
  drawn.set("claims", claimsSection(analysis, context));
  const parts = SECTIONS.map(([anchor, name]) => ({ anchor, name, part: drawn.get(anchor) ?? null }))
    .filter(({ part }) => part !== null);
  const entry = ({ anchor, name }: { anchor: string; name: string }) =>
    markup`<li><a href="#${context.prefix}${anchor}">${name}</a></li>`;
  const title = `${run.title}, ${run.environment.adapter}`;
  return markup`<article aria-labelledby="${id}">
<h2 id="${id}">${title} <a class="anchor" href="#${id}" aria-label="Link to this run">#</a></h2>
${verdict}<nav aria-label="Contents"><ul>${parts.map(entry)}</ul></nav>
${parts.map(({ part }) => part)}</article>
`;
}
