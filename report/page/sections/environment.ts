import type { RunRecord } from "../../../results/record.ts";
import type { Analysis } from "../../rows/analysis.ts";
import { canonicalJson } from "../../../results/canonical_json.ts";
import { count, formatBytes, formatNumber, MISSING } from "../../words/format.ts";
import { type Html, markup } from "../html.ts";
import { figures, pairs, table } from "../table.ts";
import { type PageContext, section } from "./context.ts";

/** The machine, in names and values. */
function machine({ environment, numerics }: RunRecord): (readonly [string, string])[] {
  const { commit, tree, threads, vectorWidth, card } = environment;
  const software = [
    threads === null ? "threads as its driver has them" : count(threads, "thread"),
    vectorWidth === null ? "vectors of a width it does not tell" : `vectors of ${vectorWidth} bits`,
  ];
  return [
    ["adapter", environment.adapter + (environment.software ? " (software: the CPU computes)" : "")],
    [
      "vendor, architecture",
      [environment.vendor, environment.architecture].filter(Boolean).join(", ") || MISSING,
    ],
    ["driver", environment.driver ?? "not known"],
    ["WebGPU by", environment.gpuProviderVersion],
    environment.software
      ? ["computes with", software.join(", ")]
      : ["card", [card?.pciAddress, card?.uuid].filter(Boolean).join(", ") || "not told"],
    ["subgroup size", formatNumber(environment.subgroupSize)],
    ["processor", `${environment.cpu ?? "not known"}, ${count(environment.cpuCount, "core")}`],
    ["memory of the machine", formatBytes(environment.memoryBytes)],
    ["operating system", environment.operatingSystem],
    [
      "threefold",
      environment.threefold +
      (commit ? `, commit ${commit.slice(0, 12)}${commit.endsWith("+") ? " with changes" : ""}` : "") +
      (tree ? `, tree ${tree.slice(0, 12)}` : ""),
    ],
    ["numerics", formatNumber(numerics)],
    ["Deno, V8, TypeScript", `${environment.deno}, ${environment.v8}, ${environment.typescript}`],
  ];
}

/** Adapter, driver, versions and limits; and whether cells ran elsewhere. */
export function environmentSection({ loaded: { run, cells } }: Analysis, context: PageContext): Html {
  const own = canonicalJson(run.environment);
  const elsewhere = cells.filter(({ environment }) => canonicalJson(environment) !== own);
  const adapters = [...new Set(elsewhere.map(({ environment }) => environment.adapter))];
  const note = markup`<p class="note">${count(elsewhere.length, "record")} of ${cells.length} ${
    elsewhere.length === 1 ? "names" : "name"
  } another environment (adapter, driver, version or commit): ${
    adapters.join(", ")
  }. Compare their times with care.</p>`;
  const limits = Object.entries(run.environment.limits).sort(([a], [b]) => a < b ? -1 : 1);
  return section(
    context,
    "environment",
    "Environment",
    markup`${pairs(machine(run))}
${elsewhere.length === 0 ? markup`<p class="muted">Every record names this environment.</p>` : note}
<details><summary>Features and limits</summary>
<p>${run.environment.features.length > 0 ? run.environment.features.join(", ") : "No optional features."}</p>
${
      table(limits, [
        { head: "limit", cell: ([name]) => name },
        figures("value", ([, value]) => formatNumber(value)),
      ], { caption: "Limits of the device" })
    }</details>`,
    "half",
  );
}
