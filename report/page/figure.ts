/** A chart in its place: finding, what is drawn, SVGs for wide and narrow pages, the numbers behind it. */
import { type Html, markup, trusted } from "./html.ts";
import type { DrawOptions } from "../charts/frame.ts";

export interface FigureOptions {
  /** Unique in the page; also the anchor. */
  id: string;
  /** The finding. */
  title: string;
  /** What is drawn, units, n, which interval. */
  subtitle: string;
  draw: (options: DrawOptions) => string;
  /** Widths it is drawn at: one, or a wide and a narrow one, of which the page shows what fits. */
  widths?: readonly number[];
  numbers: Html;
}

export const WIDE = 900;
/** Of many panels, which need all there is. */
export const WHOLE = 1200;
/** Of two charts side by side. */
export const HALF = 590;
export const SLIM = 340;

export function figure({ id, title, subtitle, draw, widths = [WIDE, SLIM], numbers }: FigureOptions): Html {
  const kinds = widths.length > 1 ? ["wide", "slim"] : ["only"];
  const drawn = widths.map((width, i) => {
    const svg = trusted(draw({ id: `${id}-${kinds[i]}`, width, title, description: subtitle }));
    return markup`<div class="${kinds[i]}">${svg}</div>
`;
  });
  return markup`<figure id="${id}">
<figcaption><h4>${title} <a class="anchor" href="#${id}" aria-label="Link to this chart">#</a></h4>
<p>${subtitle}</p></figcaption>
${drawn}<details class="numbers"><summary>Numbers of this chart</summary>
${numbers}</details>
</figure>
`;
}
