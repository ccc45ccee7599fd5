import type { Compared, Comparison, ComparisonRow, Metric } from "../rows/compare.ts";
import { count, formatBytes, formatInterval, formatNumber, MISSING } from "../words/format.ts";
import { type Html, type HtmlValue, markup } from "./html.ts";
import type { RunRecord } from "../../results/record.ts";
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
<p class="verdict">${summary(rows, runs.map(({ loaded }) => loaded.run))}</p>
${failures.length === 0 ? "" : failed}
${runs.slice(1).map((run, i) => against(run, i + 1, rows))}
<section aria-labelledby="runs"><h3 id="runs">Runs</h3>
${runsTable(runs)}
<p class="muted">Ratios with 95 % intervals by Student's t over processes; n = 1 stands where a side has one alone. Grey: the interval holds 1, no difference. Held-out losses are compared after equally many tokens. Configurations are matched by identity, then by phase and label; those that differ in a setting have no ratio. Seeds are paired.</p></section>
</main>`;
  return documentOf(`Comparison with ${runs[0].loaded.name} – threefold`, body);
}

function summary(rows: readonly ComparisonRow[], runs: readonly RunRecord[]): string {
  const others = rows.flatMap(({ runs }) => runs[0].configuration ? runs.slice(1) : []);
  const pairs = others.filter(({ ratios }) => ratios.tokensPerSecond.ratio);
  const differing = [...new Set(others.flatMap(({ differs }) => differs))];
  if (pairs.length === 0) {
    const why = differing.length === 0 ? "" : ` Those of the same name differ in ${differing.join(", ")}.`;
    return `The runs share no configuration that ran in both.${why}`;
  }
  const isOneOrigin = runs.every(({ numerics, environment }) =>
    numerics === runs[0].numerics && environment.key === runs[0].environment.key
  );
  return [...isOneOrigin ? [lossesText(pairs)] : [], throughputText(pairs)].join(" ").trim();
}

function throughputText(pairs: readonly Compared[]): string {
  const changed = pairs.filter(({ ratios }) => ratios.tokensPerSecond.isDifferent);
  const faster = changed.filter(({ ratios }) => ratios.tokensPerSecond.ratio!.estimate > 1).length;
  if (changed.length === 0) return `No difference in throughput in any of ${pairs.length} comparisons.`;
  return `Throughput: ${faster} of ${pairs.length} comparisons faster, ${changed.length - faster} slower, ${
    pairs.length - changed.length
  } without a difference.`;
}

/** Whether losses are the same to the bit, as they must be on the same adapter, driver and numerics. */
function lossesText(pairs: readonly Compared[]): string {
  const known = pairs.filter(({ sameLosses }) => sameLosses !== null);
  const other = known.filter(({ sameLosses }) => !sameLosses).length;
  if (known.length === 0) return "";
  return other === 0
    ? "Losses are equal to the bit."
    : `Losses differ in ${other} of ${known.length} comparisons, although adapter, driver and numerics are the same.`;
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
    figures("planned peak", (row) => formatBytes(at(row).configuration?.memory?.plannedBytes)),
    ratio("planned peak", "plannedPeakBytes"),
    ratio("observed peak", "observedPeakBytes"),
    figures(["held-out loss", "nats/token"], (row) => formatInterval(at(row).heldOut?.interval, 3)),
    ratio("held-out loss", "heldOutLoss"),
  ];
  const compared = rows.filter((row) =>
    row.runs[0].configuration && at(row).configuration && at(row).differs.length === 0
  );
  return markup`
    <section aria-labelledby="against-${index}">
    <h3 id="against-${index}">${loaded.name}, ${loaded.run.environment.adapter}</h3>
    ${table(compared, columns, { caption: `${loaded.name} as ratios to the first run` })}
    ${notCompared(rows, index)}</section>
  `;
}

/** What has no ratios, folded: of other settings, or of one run alone. */
function notCompared(rows: readonly ComparisonRow[], index: number): Html | "" {
  const name = ({ phase, label }: ComparisonRow) => `${label} (${phase})`;
  const differing = rows.filter(({ runs }) => runs[index].differs.length > 0);
  const missing = rows.filter(({ runs }) => runs[0].configuration && !runs[index].configuration);
  const added = rows.filter(({ runs }) => !runs[0].configuration && runs[index].configuration);
  const lists = [
    ["differ in a setting", differing.map((row) => `${name(row)}: ${row.runs[index].differs.join(", ")}`)],
    ["are in the first run alone", missing.map(name)],
    ["are in this run alone", added.map(name)],
  ] as const;
  const shown = lists.filter(([, items]) => items.length > 0);
  if (shown.length === 0) return "";
  const summary = shown.map(([what, items]) => `${items.length} ${what}`).join("; ");
  return markup`<details><summary>Not compared: ${summary}</summary>${
    shown.map(([what, items]) =>
      markup`<p>${count(items.length, "configuration")} ${what}:</p><ul>${
        items.map((item) => markup`<li>${item}</li>`)
      }</ul>`
    )
  }</details>`;
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
    {
      head: "suite",
      cell: ({ loaded: { run } }) => markup`${run.suite} <code>${run.suiteHash.slice(0, 8)}</code>`,
    },
    { head: "tier", cell: ({ loaded: { run } }) => `${run.tier}${run.quick ? ", quick" : ""}` },
    {
      head: "seeds",
      cell: ({ loaded: { cells } }) =>
        [...new Set(cells.map(({ config }) => config.seed))].sort((a, b) => a - b).join(", "),
    },
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
