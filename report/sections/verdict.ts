import type { Analysis } from "../derive.ts";
import { progressOf, verdictOf } from "../findings.ts";
import { type Html, html } from "../html.ts";
import { type PageContext, traced } from "./context.ts";

/** The answer in one sentence, and the three figures it rests on. */
export function verdictSection(analysis: Analysis, context: PageContext): Html {
  const { sentence, figures } = verdictOf(analysis);
  const { run } = analysis.loaded;
  const state = run.finishedAt === null
    ? html`
      <strong class="bad">The run has no end time: it was interrupted, or still goes on.</strong>
    `
    : "";
  return html`
    <section id="${context.prefix}verdict" aria-label="Verdict">
    <p class="verdict">${sentence}</p>
    ${figures.length === 0
      ? ""
      : html`<dl class="key-figures">${
        figures.map(({ name, value, detail, cell }) =>
          html`
            <div>
              <dt>${name}</dt>
              <dd class="value">${traced(context, cell, value)}</dd>
              <dd>${detail}</dd>
            </div>
          `
        )
      }</dl>`}
    <p class="muted">${state}${progressOf(analysis)}. Suite <q>${run.suite}</q>, tier <q>${run
      .tier}</q> (${run.tierReason})${run.quick ? ", quick" : ""}; started <time datetime="${run
      .startedAt}">${run.startedAt}</time>. Repeat with <code>${run.command}</code></p>
    </section>
  `;
}
