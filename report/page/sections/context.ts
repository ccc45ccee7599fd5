/** What every section knows of the page it stands in, and the pieces that every section uses. */
import type { Judgement } from "../../claims/judge.ts";
import type { Configuration } from "../../rows/configuration.ts";
import { type Html, type HtmlValue, markup } from "../html.ts";

export interface PageContext {
  /** Empty for a page of one run, else `run-2-` and so on: a cell id may occur in several runs. */
  prefix: string;
  /** URL of the run folder that holds a cell, relative to the page. */
  folderOf(id: string): string;
  /** Anchors of the sections drawn so far, so that others link to what is there alone. */
  drawn: Set<string>;
  /** What the run says of the paper's claims: reached once, before anything is drawn. */
  judgement: Judgement;
}

export function cellAnchor({ prefix }: PageContext, id: string): string {
  return `${prefix}cell-${id}`;
}

/** A figure that leads to the cell it was read from. */
export function traced(context: PageContext, id: string | null | undefined, text: HtmlValue): HtmlValue {
  return id
    ? markup`<a class="figure" href="#${cellAnchor(context, id)}" title="cell ${id}">${text}</a>`
    : text;
}

/** The link to a configuration's first cell, under its label. */
export function configurationLink(context: PageContext, { label, cells }: Configuration): Html {
  return markup`<a href="#${cellAnchor(context, cells[0].id)}">${label}</a>`;
}

/** A part of the page with its anchor; `half`: two of them stand side by side where the page is wide. */
export function section(
  context: PageContext,
  id: string,
  title: string,
  content: HtmlValue,
  width: "full" | "half" = "full",
): Html {
  const anchor = context.prefix + id;
  context.drawn.add(id);
  return markup`<section id="${anchor}" class="${width}" aria-labelledby="${anchor}-head">
<h3 id="${anchor}-head">${title} <a class="anchor" href="#${anchor}" aria-label="Link to this section">#</a></h3>
${content}
</section>
`;
}

/** `grey "no difference"` where a ratio lies inside the noise. */
export function judged({ text, isDifferent }: { text: string; isDifferent: boolean }): HtmlValue {
  return isDifferent || text === "–"
    ? text
    : markup`<span class="same" title="no difference: inside the noise">${text}</span>`;
}
