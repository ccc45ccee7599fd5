import type { Analysis } from "../derive.ts";
import { type KeyFigure, progressOf, verdictOf } from "../verdict.ts";
import { type Html, markup } from "../html.ts";
import { type PageContext, traced } from "./context.ts";

/** The answer in one sentence, and the three figures it rests on. */
export function verdictSection(analysis: Analysis, context: PageContext): Html {
  const { sentence, figures } = verdictOf(analysis);
  const { run } = analysis.loaded;
  const state = run.finishedAt === null
    ? markup`<strong class="bad">The run has no end time: it was interrupted, or still goes on.</strong> `
    : "";
  const keyFigure = ({ name, value, detail, cell }: KeyFigure) =>
    markup`<div><dt>${name}</dt><dd class="value">${traced(context, cell, value)}</dd><dd>${detail}</dd></div>
`;
  return markup`<section id="${context.prefix}verdict" aria-label="Verdict">
<p class="verdict">${sentence}</p>
${figures.length === 0 ? "" : markup`<dl class="key-figures">${figures.map(keyFigure)}</dl>`}
<p class="muted">${state}${
    progressOf(analysis)
  }. Suite <q>${run.suite}</q>, tier <q>${run.tier}</q> (${run.tierReason})${
    run.quick ? ", quick" : ""
  }; started <time datetime="${run.startedAt}">${run.startedAt}</time>. Repeat with <code>${run.command}</code></p>
</section>
`;
}
