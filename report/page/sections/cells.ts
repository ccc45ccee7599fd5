import type { CellRecord } from "../../../results/record.ts";
import type { Analysis } from "../../rows/analysis.ts";
import type { Configuration } from "../../rows/configuration.ts";
import { gapsOf, type PhaseGap } from "../../rows/gaps.ts";
import { withoutReused } from "../../rows/reused.ts";
import { timedStepMs, timedTokensPerSecond } from "../../../results/rates.ts";
import {
  count,
  formatBytes,
  formatCompact,
  formatDuration,
  formatNumber,
  formatSignificant,
} from "../../words/format.ts";
import { type Html, type HtmlValue, markup } from "../html.ts";
import { mad, median } from "../../../results/stats.ts";
import { type Column, pairs, table } from "../table.ts";
import { cellAnchor, configurationLink, type PageContext, section } from "./context.ts";

/** A row of the full table: a configuration, and the phases that took its runs over. */
interface Row extends Configuration {
  phases: string[];
}

function rowsOf({ configurations, planned }: Analysis): Row[] {
  const ran = [...configurations, ...planned].filter(({ ok }) => ok.length > 0);
  return withoutReused(ran).map(({ configuration, repeated }) => ({
    ...configuration,
    phases: [...new Set([configuration, ...repeated].map(({ phase }) => phase))],
  }));
}

/** Reasons told in a line; the rest are counted, and stand with the cells. */
const REASONS_TOLD = 2;

function gapLine({ phase, status, count: n, reasons }: PhaseGap): Html {
  const told = reasons.slice(0, REASONS_TOLD).join("; ");
  const more = reasons.length > REASONS_TOLD ? `; and ${reasons.length - REASONS_TOLD} more reasons` : "";
  return markup`<li>${phase}: ${count(n, "cell")} <strong class="bad">${status}</strong>${
    told ? markup` <span class="reason">${told}${more}</span>` : ""
  }</li>
`;
}

/** Every configuration of the run, and what did not run. */
export function cellsSection(analysis: Analysis, context: PageContext): Html {
  const rows = rowsOf(analysis);
  const gaps = gapsOf(analysis.loaded);
  return section(
    context,
    "cells",
    "All configurations",
    markup`<p class="muted">${
      count(analysis.loaded.run.cells.length, "cell")
    }, a row for each configuration: median over its cells, of throughput and loss in brackets the smallest and the largest; what each cell had stands with its record below. Runs that a later phase took over are listed once. With scripts on, a click on a column's head sorts.</p>
${gaps.length > 0 && markup`<ul>${gaps.map(gapLine)}</ul>`}
${table(rows, columns(context), { caption: "All configurations of the run" })}`,
  );
}

function columns(context: PageContext): Column<Row>[] {
  const number = (
    head: string,
    unitName: string,
    of: (cell: CellRecord) => number | null,
    show: (value: number) => string = (value) => formatSignificant(value, 4),
  ): Column<Row> => {
    const values = ({ ok }: Row) => ok.flatMap((cell) => of(cell) ?? []);
    return {
      head,
      unit: unitName,
      numeric: true,
      sort: (row) => values(row).length > 0 ? median(values(row)) : null,
      cell: (row) => values(row).length > 0 ? withRange(values(row), show) : "–",
    };
  };
  const one = (...[head, unit, of, show]: Required<Parameters<typeof number>>): Column<Row> => ({
    ...number(head, unit, of, show),
    cell: ({ ok }) => {
      const value = middle(ok.flatMap((cell) => of(cell) ?? []));
      return value === null ? "–" : show(value);
    },
  });
  const fixed = (decimals: number) => (value: number) => formatNumber(value, decimals);
  return [
    { head: "configuration", sort: ({ label }) => label, cell: (row) => configurationLink(context, row) },
    { head: "phase", sort: ({ phase }) => phase, cell: ({ phases }) => phases.join(", ") },
    {
      head: "cells",
      numeric: true,
      sort: ({ ok }) => ok.length,
      cell: ({ ok, cells }) => ok.length === cells.length ? ok.length : `${ok.length} of ${cells.length}`,
    },
    number("throughput", "tokens/s", (cell) => middle(timedTokensPerSecond(cell))),
    one("step", "ms", (cell) => middle(timedStepMs(cell)), (value) => formatSignificant(value, 4)),
    one("planned", "", ({ memory }) => memory?.plannedPeakBytes ?? null, formatBytes),
    one("booked", "", ({ memory }) => memory?.bookedPeakBytes ?? null, formatBytes),
    one("observed", "", ({ memory }) => memory?.observedPeakBytes ?? null, formatBytes),
    number("held-out loss", "nats/token", ({ heldOut }) => heldOut.at(-1)?.loss ?? null, fixed(3)),
    number("after", "tokens", ({ heldOut }) => heldOut.at(-1)?.tokens ?? null, fixed(0)),
  ];
}

function middle(values: number[]): number | null {
  return values.length > 0 ? median(values) : null;
}

/** `2669 [2510, 2820]`; the brackets only where they say something. */
function withRange(values: number[], show: (value: number) => string): string {
  const [low, high] = [Math.min(...values), Math.max(...values)].map(show);
  return low === high ? low : `${show(median(values))} [${low}, ${high}]`;
}

function rawUrl({ folderOf }: PageContext, id: string): string {
  return `${folderOf(id)}/cells/${id}.json`;
}

/** What each configuration was and the cells it ran as: where every figure's link leads. */
export function configurationsSection(analysis: Analysis, context: PageContext): Html {
  const { loaded: { run, cells }, configurations, planned } = analysis;
  const all = [...configurations, ...planned];
  const phaseNames = [...new Set(all.map(({ phase }) => phase))];
  const folders = [...new Set(cells.map(({ id }) => context.folderOf(id)))];
  const runFiles = folders.map((folder, i) =>
    markup`${i > 0 ? ", " : ""}<a href="${folder}/run.json">${
      folder === ".." ? "" : `${folder}/`
    }run.json</a>`
  );
  return section(
    context,
    "configurations",
    "Configurations and raw records",
    markup`<p>Raw records: ${runFiles} and one file a cell, linked below. Suite file: sha256 <code>${run.suiteHash}</code>.</p>
<div class="entries">${
      phaseNames.map((phase) =>
        markup`<h4>${phase}</h4>
${all.filter((one) => one.phase === phase).map((one) => configurationDetails(one, context))}`
      )
    }</div>`,
  );
}

function configurationDetails({ label, cells, kind }: Configuration, context: PageContext): Html {
  const [first] = cells;
  const share = first.parameters && first.trainableParameters !== null
    ? ` (${formatSignificant(first.trainableParameters / first.parameters * 100)} %)`
    : "";
  const failed = cells.find(({ status }) => status !== "ok");
  const outcome = failed ? markup` <strong class="bad">${failed.status}</strong>` : "";
  const facts: [string, HtmlValue][] = [
    ["parameters", formatNumber(first.parameters)],
    ["trained", formatNumber(first.trainableParameters) + share],
    ["dispatches a step", formatNumber(first.dispatchesPerStep)],
    ["FLOPs of a step's matrix products", formatCompact(first.modelFlopsPerStep)],
    ["warm-up", `${count(first.warmupSteps, "step")} left out of timing`],
    ["corpus sha256", markup`<code>${first.dataHash ?? "–"}</code>`],
  ];
  return markup`<details class="cell"><summary>${label}, ${count(cells.length, "cell")}${
    kind === "planned" ? ", planned only" : ""
  }${outcome}</summary>
${pairs(facts)}
${cells.map((cell) => cellLine(cell, context))}
<pre>${configText(cells)}</pre></details>
`;
}

function cellLine(cell: CellRecord, context: PageContext): Html {
  const { id, status, reason, config, environment } = cell;
  const repeat = (cell.repeat > 0 ? `, repeat ${cell.repeat}` : "") +
    (cell.sameRunAs ? `, the same run as ${cell.sameRunAs}` : "");
  const outcome = status === "ok"
    ? "ok"
    : markup`<strong class="bad">${status}</strong>: ${reason ?? "no reason given"}`;
  return markup`<p class="cell" id="${cellAnchor(context, id)}"><a href="${
    rawUrl(context, id)
  }">${id}.json</a> seed ${config.seed}${repeat}, ${outcome}; ${cell.startedAt}, ${
    formatDuration(cell.wallMs)
  }${figuresOf(cell)}; ${environment.adapter}, commit ${
    environment.commit ?? "unknown"
  }<br><code>${cell.command}</code></p>
`;
}

/** `; 2669 tokens/s, step 191.8 ± 2.1 ms, observed 106 MiB, held-out loss 4.713`: what there is of it. */
function figuresOf(cell: CellRecord): string {
  const [rate, ms] = [timedTokensPerSecond(cell), timedStepMs(cell)];
  const [observed, heldOut] = [cell.memory?.observedPeakBytes ?? null, cell.heldOut.at(-1)];
  const parts = [
    rate.length > 0 && `${formatSignificant(median(rate), 4)} tokens/s`,
    ms.length > 0 && `step ${formatSignificant(median(ms), 4)} ± ${formatSignificant(mad(ms), 2)} ms`,
    observed !== null && `observed ${formatBytes(observed)}`,
    heldOut && `held-out loss ${formatNumber(heldOut.loss, 3)}`,
  ].filter(Boolean);
  return parts.length > 0 ? `; ${parts.join(", ")}` : "";
}

/** The configuration, a key a line; `seed` lists the seeds of all cells. */
function configText(cells: readonly CellRecord[]): string {
  const seeds = [...new Set(cells.map(({ config }) => config.seed))].join(", ");
  return Object.entries(cells[0].config)
    .map(([key, value]) => `${key}: ${key === "seed" ? seeds : JSON.stringify(value)}`).join("\n");
}
