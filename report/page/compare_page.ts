import type { Compared, Comparison, ComparisonRow, Metric } from "../rows/compare.ts";
import { count, formatBytes, formatInterval, formatNumber, MISSING } from "../words/format.ts";
import { type Html, type HtmlValue, markup } from "./html.ts";
import type { PageRun } from "../rows/merge.ts";
import { documentOf } from "./page.ts";
import { judged } from "./sections/context.ts";
import { type Column, figures, table } from "./table.ts";

/** One table: a configuration a line, and for each run its figures and their ratios to the first. */
export function comparisonPage({ rows, failures }: Comparison, runs: readonly PageRun[]): string {
  const [{ loaded: first }] = runs;
  const failed = markup`<div class="note"><p><strong class="bad">Rules failed:</strong></p>
<ul>${failures.map((text) => markup`<li>${text}</li>`)}</ul></div>
`;
  const body = markup`<header><h1>threefold comparison</h1></header>
<main id="content">
<h2 id="comparison">${
    count(runs.length - 1, "run")
  } against ${first.name}, ${first.run.environment.adapter}</h2>
<p class="verdict">${summary(rows)}</p>
${failures.length === 0 ? "" : failed}
${runs.slice(1).map((run, i) => against(run, i + 1, rows))}
<section aria-labelledby="runs"><h3 id="runs">Runs</h3>
${runsTable(runs)}
<p class="muted">Ratios with 95 % intervals by Student's t over processes; n = 1 stands where a side has one alone. Grey: the interval holds 1, no difference. Held-out losses are compared after equally many tokens. Configurations are matched by identity, then by phase and label.</p></section>
</main>`;
  return documentOf(`Comparison with ${runs[0].loaded.name} – threefold`, body);
}

function summary(rows: readonly ComparisonRow[]): string {
  const pairs = rows.flatMap(({ runs }) => runs.slice(1)).filter(({ ratios }) =>
    ratios.tokensPerSecond.ratio
  );
  const changed = pairs.filter(({ ratios }) => ratios.tokensPerSecond.isDifferent);
  const faster = changed.filter(({ ratios }) => ratios.tokensPerSecond.ratio!.estimate > 1).length;
  if (pairs.length === 0) return "The runs share no configuration that ran in both.";
  if (changed.length === 0) return `No difference in throughput in any of ${pairs.length} comparisons.`;
  return `Throughput: ${faster} of ${pairs.length} comparisons faster, ${changed.length - faster} slower, ${
    pairs.length - changed.length
  } without a difference.`;
}

function against({ loaded, rawBase }: PageRun, index: number, rows: readonly ComparisonRow[]): Html {
  const at = (row: ComparisonRow): Compared => row.runs[index];
  const ratio = (head: string, metric: Metric): Column<ComparisonRow> => ({
    head,
    unit: "×",
    numeric: true,
    sort: (row) => at(row).ratios[metric].ratio?.estimate,
    cell: (row) => {
      const { ratio, isDifferent } = at(row).ratios[metric];
      return ratio ? judged({ text: formatInterval(ratio), isDifferent }) : MISSING;
    },
  });
  const columns: Column<ComparisonRow>[] = [
    { head: "phase", sort: ({ phase }) => phase, cell: ({ phase }) => phase },
    { head: "configuration", sort: ({ label }) => label, cell: (row) => recordLink(row, at(row), rawBase) },
    { head: "status", cell: (row) => statusOf(at(row)) },
    figures(
      ["throughput", "tokens/s"],
      (row) => formatInterval(at(row).configuration?.tokensPerSecond?.interval),
    ),
    ratio("throughput", "tokensPerSecond"),
    figures("booked peak", (row) => formatBytes(at(row).configuration?.memory?.bookedBytes)),
    ratio("booked peak", "bookedPeakBytes"),
    ratio("observed peak", "observedPeakBytes"),
    figures(["held-out loss", "nats/token"], (row) => formatInterval(at(row).heldOut?.interval, 3)),
    ratio("held-out loss", "heldOutLoss"),
  ];
  return markup`
    <section aria-labelledby="against-${index}">
    <h3 id="against-${index}">${loaded.name}, ${loaded.run.environment.adapter}</h3>
    ${table(rows, columns, { caption: `${loaded.name} as ratios to the first run` })}</section>
  `;
}

function recordLink({ label }: ComparisonRow, { configuration }: Compared, rawBase: string): HtmlValue {
  return configuration
    ? markup`<a href="${rawBase}/cells/${configuration.cells[0].id}.json">${label}</a>`
    : label;
}

function statusOf({ configuration }: Compared): HtmlValue {
  if (!configuration) return markup`<span class="muted">not in this run</span>`;
  const failed = configuration.cells.find(({ status }) => status !== "ok");
  return failed ? markup`<strong class="bad">${failed.status}</strong> ${failed.reason ?? ""}` : "ok";
}

function runsTable(runs: readonly PageRun[]): Html {
  return table(runs, [
    { head: "run", cell: ({ loaded, rawBase }) => markup`<a href="${rawBase}/run.json">${loaded.name}</a>` },
    { head: "adapter", cell: ({ loaded: { run } }) => run.environment.adapter },
    { head: "driver", cell: ({ loaded: { run } }) => run.environment.driver ?? MISSING },
    { head: "WebGPU by", cell: ({ loaded: { run } }) => run.environment.gpuProviderVersion },
    figures("numerics", ({ loaded: { run } }) => formatNumber(run.numerics)),
    { head: "threefold", cell: ({ loaded: { run } }) => run.environment.threefold },
    {
      head: "commit",
      cell: ({ loaded: { run } }) => markup`<code>${run.environment.commit?.slice(0, 12) ?? MISSING}</code>`,
    },
    { head: "Deno", cell: ({ loaded: { run } }) => run.environment.deno },
    figures("cells", ({ loaded }) => formatNumber(loaded.cells.length)),
    { head: "started", cell: ({ loaded: { run } }) => run.startedAt },
  ], { caption: "Runs compared; the first is the reference" });
}
