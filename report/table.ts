/** Tables: units in the heads, figures to the right, a dash where there is nothing. */
import { type Html, html, type HtmlValue } from "./html.ts";

export interface Column<Row> {
  head: string;
  unit?: string;
  /** Right-aligned, tabular digits. */
  numeric?: boolean;
  cell: (row: Row) => HtmlValue;
  /** What sorting goes by; without it, a column is not sortable. */
  sort?: (row: Row) => number | string | null | undefined;
}

export interface TableOptions<Row> {
  caption: string;
  /** Marks the rows that matter most. */
  strong?: (row: Row) => boolean;
}

/** A table that scrolls sideways in its own box where the page is narrow. */
export function table<Row>(
  rows: readonly Row[],
  columns: readonly Column<Row>[],
  options: TableOptions<Row>,
): Html {
  const { caption, strong = () => false } = options;
  const sortable = columns.some(({ sort }) => sort);
  return html`
    <div class="scroll" tabindex="0" role="region" aria-label="${caption}">
      <table${sortable
        ? html`
          class="sortable"
        `
        : ""}>
        <caption>${caption}</caption>
        <thead>
          <tr>${columns.map(head)}</tr>
        </thead>
        <tbody>
    ${rows.map((row) =>
      html`
        <tr${strong(row)
          ? html`
            class="chosen"
          `
          : ""}>${columns.map((column) => data(column, row))}</tr>
      `
    )}</tbody>
        </table>
        </div>
  `;
}

function head<Row>({ head, unit, numeric, sort }: Column<Row>): Html {
  return html`
    <th scope="col" ${numeric
      ? html`
        class="num"
      `
      : ""}${sort
      ? html`
        data-sortable
      `
      : ""}>${head}${unit
      ? html`
        <span class="unit">${unit}</span>
      `
      : ""}</th>
  `;
}

function data<Row>({ cell, numeric, sort }: Column<Row>, row: Row): Html {
  const key = sort?.(row);
  return html`<td${
    numeric
      ? html`
        class="num"
      `
      : ""
  }${
    key === undefined || key === null || key !== key ? "" : html`
      data-sort="${key}"
    `
  }>${cell(row)}</td>`;
}

/** Names and values, one pair a line. */
export function pairs(entries: readonly (readonly [string, HtmlValue])[]): Html {
  return html`<dl class="pairs">${
    entries.map(([name, value]) =>
      html`
        <div>
          <dt>${name}</dt>
          <dd>${value}</dd>
        </div>
      `
    )
  }</dl>`;
}
