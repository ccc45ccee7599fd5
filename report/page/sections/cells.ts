import type { CellRecord } from "../../../results/record.ts";
import type { Analysis } from "../../rows/analysis.ts";
import type { Configuration } from "../../rows/configuration.ts";
import { timedStepMs, timedTokensPerSecond } from "../../../results/rates.ts";
import { byteUnit } from "../../../results/bytes.ts";
import { count, formatCompact, formatDuration, formatNumber, formatSignificant } from "../../words/format.ts";
import { type Html, type HtmlValue, markup } from "../html.ts";
import { mad, median } from "../../../results/stats.ts";
import { type Column, pairs, table } from "../table.ts";
import { cellAnchor, type PageContext, section, traced } from "./context.ts";

/** A line of the full table: a record, or the place where one should be. */
interface CellLine {
  id: string;
  phase: string;
  label: string;
  cell: CellRecord | null;
  status: string;
  reason: string | null;
}

function linesOf({ loaded: { run, cells, missing, unreadable } }: Analysis): CellLine[] {
  const byId = new Map(cells.map((cell) => [cell.id, cell]));
  const gaps = new Map<string, { status: string; problem: string }>([
    ...missing.map((gap) => [gap.id, { status: "missing", problem: gap.problem }] as const),
    ...unreadable.map((gap) => [gap.id, { status: "unreadable", problem: gap.problem }] as const),
  ]);
  return run.cells.map(({ id, phase, label }) => {
    const cell = byId.get(id) ?? null;
    if (cell) return { id, phase, label: cell.label, cell, status: cell.status, reason: cell.reason };
    const gap = gaps.get(id);
    return { id, phase, label, cell, status: gap?.status ?? "missing", reason: gap?.problem ?? null };
  });
}

/** Every cell of the run, however it ended. */
export function cellsSection(analysis: Analysis, context: PageContext): Html {
  const lines = linesOf(analysis);
  return section(
    context,
    "cells",
    "All cells",
    markup`<p class="muted">${
      count(lines.length, "cell")
    }. With scripts on, a click on a column's head sorts. Step times: median ± median absolute deviation of the steps after warm-up.</p>
${table(lines, columns(lines, context), { caption: "All cells of the run" })}`,
  );
}

function columns(lines: readonly CellLine[], context: PageContext): Column<CellLine>[] {
  const peaks = lines.flatMap(({ cell }) =>
    cell?.memory ? [cell.memory.plannedPeakBytes, cell.memory.observedPeakBytes ?? 0] : []
  );
  const unit = byteUnit(Math.max(0, ...peaks));
  const number = (
    head: string,
    unitName: string,
    of: (cell: CellRecord) => number | null,
    decimals?: number,
  ): Column<CellLine> => {
    const value = ({ cell }: CellLine) => cell ? of(cell) : null;
    return {
      head,
      unit: unitName,
      numeric: true,
      sort: value,
      cell: (line) => {
        const shown = value(line);
        if (shown === null) return "–";
        return decimals === undefined ? formatSignificant(shown, 4) : formatNumber(shown, decimals);
      },
    };
  };
  const middle = (values: number[]) => values.length > 0 ? median(values) : null;
  const peak = (of: "plannedPeakBytes" | "bookedPeakBytes" | "observedPeakBytes") => (cell: CellRecord) => {
    const bytes = cell.memory?.[of] ?? null;
    return bytes === null ? null : bytes / unit.bytes;
  };
  return [
    {
      head: "cell",
      sort: ({ id }) => id,
      cell: ({ id, cell }) => traced(context, cell && id, markup`<code>${id}</code>`),
    },
    { head: "phase", sort: ({ phase }) => phase, cell: ({ phase }) => phase },
    { head: "label", sort: ({ label }) => label, cell: ({ label }) => label },
    number("seed", "", ({ config }) => config.seed, 0),
    number("repeat", "", ({ repeat }) => repeat, 0),
    {
      head: "status",
      sort: ({ status }) => status,
      cell: ({ status, reason }) =>
        status === "ok"
          ? "ok"
          : markup`<strong class="bad">${status}</strong>${
            reason ? markup`<br><span class="reason">${reason}</span>` : ""
          }`,
    },
    number("throughput", "tokens/s", (cell) => middle(timedTokensPerSecond(cell))),
    {
      ...number("step", "ms", (cell) => middle(timedStepMs(cell))),
      cell: ({ cell }) => {
        const values = cell ? timedStepMs(cell) : [];
        if (values.length === 0) return "–";
        return `${formatSignificant(median(values), 4)} ± ${formatSignificant(mad(values), 2)}`;
      },
    },
    number("planned", unit.name, peak("plannedPeakBytes"), 2),
    number("booked", unit.name, (cell) => cell.status === "ok" ? peak("bookedPeakBytes")(cell) : null, 2),
    number("observed", unit.name, peak("observedPeakBytes"), 2),
    number("held-out loss", "nats/token", ({ heldOut }) => heldOut.at(-1)?.loss ?? null, 3),
    number("after", "tokens", ({ heldOut }) => heldOut.at(-1)?.tokens ?? null, 0),
    {
      head: "record",
      cell: ({ id, status }) =>
        status === "missing" ? "–" : markup`<a href="${rawUrl(context, id)}">${id.slice(0, 6)}….json</a>`,
    },
  ];
}

function rawUrl({ folderOf }: PageContext, id: string): string {
  return `${folderOf(id)}/cells/${id}.json`;
}

/** What each configuration was and the cells it ran as: where every figure's link leads. */
export function configurationsSection(analysis: Analysis, context: PageContext): Html {
  const { loaded: { run, cells }, configurations, planned } = analysis;
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
${[...configurations, ...planned].map((configuration) => configurationDetails(configuration, context))}`,
  );
}

function configurationDetails({ label, phase, cells, kind }: Configuration, context: PageContext): Html {
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
  return markup`<details class="cell"><summary>${phase}: ${label}, ${count(cells.length, "cell")}${
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
  }; ${environment.adapter}, commit ${environment.commit ?? "unknown"}<br><code>${cell.command}</code></p>
`;
}

/** The configuration, a key a line; `seed` lists the seeds of all cells. */
function configText(cells: readonly CellRecord[]): string {
  const seeds = [...new Set(cells.map(({ config }) => config.seed))].join(", ");
  return Object.entries(cells[0].config)
    .map(([key, value]) => `${key}: ${key === "seed" ? seeds : JSON.stringify(value)}`).join("\n");
}
