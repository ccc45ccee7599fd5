/**
 * The part of d3 the charts use, with types: d3-node ships none. Drawing happens in a DOM of its own and
 * comes out as a string, so nothing here needs a browser.
 */
import { D3Node } from "d3-node";

export interface Selection {
  append(name: string): Selection;
  attr(name: string, value: string | number | null): Selection;
  text(value: string): Selection;
  call(draw: (selection: Selection) => void): Selection;
}

export interface Scale {
  (value: number): number;
  domain(): number[];
  domain(values: readonly number[]): Scale;
  range(values: readonly number[]): Scale;
  nice(count?: number): Scale;
  base(base: number): Scale;
  ticks(count?: number): number[];
}

interface Line<Datum> {
  (data: readonly Datum[]): string | null;
  x(of: (datum: Datum) => number): Line<Datum>;
  y(of: (datum: Datum) => number): Line<Datum>;
  defined(of: (datum: Datum) => boolean): Line<Datum>;
  curve(curve: unknown): Line<Datum>;
}

interface Area<Datum> {
  (data: readonly Datum[]): string | null;
  x(of: (datum: Datum) => number): Area<Datum>;
  y0(of: (datum: Datum) => number): Area<Datum>;
  y1(of: (datum: Datum) => number): Area<Datum>;
  defined(of: (datum: Datum) => boolean): Area<Datum>;
  curve(curve: unknown): Area<Datum>;
}

interface D3 {
  scaleLinear(): Scale;
  scaleLog(): Scale;
  line<Datum>(): Line<Datum>;
  area<Datum>(): Area<Datum>;
  curveStepAfter: unknown;
  /** Not `Math.min(...values)`: a run has more steps than a call can have arguments. */
  extent(values: readonly number[]): [low: number, high: number];
  max(values: readonly number[]): number;
  quantileSorted(sorted: readonly number[], p: number): number;
  symbol(type: unknown, size: number): () => string;
  symbolCircle: unknown;
  symbolSquare: unknown;
  symbolDiamond: unknown;
  symbolTriangle: unknown;
  symbolTimes: unknown;
  symbolCross: unknown;
}

/** One DOM for all charts: making one takes longer than drawing in it. */
const page = new D3Node();

export const d3: D3 = page.d3;

/** An empty SVG and the way to its text; the chart before must be finished, since its place is cleared. */
export function newSvg(attributes: Record<string, string>): { svg: Selection; text: () => string } {
  page.d3Element.html("");
  return { svg: page.createSVG(undefined, undefined, attributes), text: () => page.svgString() };
}
