/** Tables: units in the heads, figures to the right, a dash where there is nothing. */
import { type Html, type HtmlValue, markup } from "./html.ts";

export interface Column<Row> {
  head: string;
  unit?: string;
  /** Right-aligned, tabular digits. */
  numeric?: boolean;
  cell: (row: Row) => HtmlValue;
  /** What sorting goes by; without it, a column is not sortable. */
  sort?: (row: Row) => number | string | null | undefined;
}

/** A column of figures, under a name or a name with its unit. */
export function figures<Row>(
  head: string | readonly [string, unit: string],
  cell: Column<Row>["cell"],
): Column<Row> {
  const [name, unit] = typeof head === "string" ? [head] : head;
  return { head: name, unit, numeric: true, cell };
}

export interface TableOptions<Row> {
  caption: string;
  /** Marks the rows that matter most. */
  strong?: (row: Row) => boolean;
  /** Class of the table, where it is laid out in its own way. */
  kind?: string;
}

/** A table that scrolls sideways in its own box where the page is narrow. */
export function table<Row>(
  rows: readonly Row[],
  columns: readonly Column<Row>[],
  options: TableOptions<Row>,
): Html {
  const { caption, strong = () => false } = options;
  const kind = options.kind ?? (columns.some(({ sort }) => sort) ? "sortable" : "plain");
  const line = (row: Row) =>
    markup`<tr class="${strong(row) ? "chosen" : ""}">${columns.map((column) => data(column, row))}</tr>
`;
  return markup`<div class="scroll" tabindex="0" role="region" aria-label="${caption}">
<table class="${kind}"><caption>${caption}</caption>
<thead><tr>${columns.map(head)}</tr></thead>
<tbody>
${rows.map(line)}</tbody></table></div>`;
}

function head<Row>({ head, unit, numeric, sort }: Column<Row>): Html {
  const kind = numeric ? markup` class="num"` : "";
  const label = unit ? markup`${head} <span class="unit">${unit}</span>` : head;
  return markup`<th scope="col"${kind}${sort ? SORTABLE : ""}>${label}</th>`;
}

const SORTABLE = markup` data-sortable`;

function data<Row>({ cell, numeric, sort }: Column<Row>, row: Row): Html {
  const key = sort?.(row) ?? null;
  const kind = numeric ? markup` class="num"` : "";
  const order = key === null || Number.isNaN(key) ? "" : markup` data-sort="${key}"`;
  return markup`<td${kind}${order}>${cell(row)}</td>`;
}

/** Names and values, one pair a line. */
export function pairs(entries: readonly (readonly [string, HtmlValue])[]): Html {
  const line = ([name, value]: readonly [string, HtmlValue]) =>
    markup`<div><dt>${name}</dt><dd>${value}</dd></div>`;
  return markup`<dl class="pairs">${entries.map(line)}</dl>`;
}
