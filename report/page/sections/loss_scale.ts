import { d3 } from "../../charts/d3.ts";
import { linesChart, powersOfTwo } from "../../charts/lines.ts";
import type { Analysis } from "../../rows/analysis.ts";
import { figure, HALF, SLIM } from "../figure.ts";
import { count, formatNumber } from "../../words/format.ts";
import type { Html } from "../html.ts";
import { type ScaleRun, scaleRuns } from "../../rows/loss_scales.ts";
import { figures, table } from "../table.ts";
import { type PageContext, section, traced } from "./context.ts";

/** Lines a chart can hold. */
const DRAWN = 4;

/** The loss scale step by step, skipped updates as crosses. */
export function lossScaleSection({ configurations }: Analysis, context: PageContext): Html | null {
  const runs = scaleRuns(configurations).filter(({ scale }) => scale.length > 0);
  if (runs.length === 0) return null;
  // Those in which most happened, one a configuration, and of those that skipped nothing one for comparison.
  const firsts = runs.filter((run, i) =>
    runs.findIndex(({ label, phase }) => label === run.label && phase === run.phase) === i
  );
  const bySkips = firsts.toSorted((a, b) => b.skipped.length - a.skipped.length);
  const eventful = bySkips.filter(({ skipped }) => skipped.length > 0).slice(0, DRAWN - 1);
  const drawn = [
    ...eventful,
    ...bySkips.filter(({ skipped }) => skipped.length === 0).slice(0, eventful.length > 0 ? 1 : 2),
  ];
  const scales = drawn.flatMap(({ scale }) => scale);
  return section(
    context,
    "loss-scale",
    "Loss scale and skipped updates",
    figure({
      id: `${context.prefix}loss-scale-chart`,
      widths: [HALF, SLIM],
      title: findingOf(runs),
      subtitle: `Scale of the loss at each optimizer step (logarithmic) in ${
        count(drawn.length, "run")
      } of ${runs.length} with mixed precision, those with most skipped updates first; crosses: the update was skipped because a gradient overflowed.`,
      draw: (size) =>
        linesChart([{
          name: "loss scale",
          isDense: true,
          x: { label: "step", scale: "linear", format: (value) => formatNumber(value) },
          y: {
            label: "scale, logarithmic",
            scale: "log",
            ticks: powersOfTwo(...d3.extent(scales)),
            format: powerText,
          },
          series: drawn.map((run, i) => ({
            label: `${run.label}, seed ${run.seed}`,
            style: i,
            points: run.scale.map((scale, step) => ({
              x: step,
              y: scale,
              hint: `step ${step}: update skipped at scale ${scale} (cell ${run.id})`,
              isFlagged: run.skipped.includes(step),
            })),
          })),
        }], size),
      numbers: table(runs, [
        { head: "run", cell: ({ id, label, phase }) => traced(context, id, `${phase}: ${label}`) },
        figures("seed", ({ seed }) => formatNumber(seed)),
        figures("first scale", ({ scale }) => formatNumber(scale[0])),
        figures("last scale", ({ scale }) => formatNumber(scale.at(-1))),
        figures("steps", ({ scale }) => formatNumber(scale.length)),
        figures("skipped", ({ skipped }) => formatNumber(skipped.length)),
        {
          head: "at steps",
          cell: ({ skipped }) =>
            skipped.length > 12 ? `${skipped.slice(0, 12).join(", ")}, …` : skipped.join(", ") || "–",
        },
        figures("not halved after", ({ faults }) => formatNumber(faults)),
        {
          head: "end",
          cell: ({ status, endsFinite }) =>
            status !== "ok" ? status : endsFinite ? "finite loss" : "no finite loss",
        },
      ], { caption: "Runs with mixed precision", strong: ({ skipped }) => skipped.length > 0 }),
    }),
    "half",
  );
}

const SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹";

/** `2¹⁶`. */
function powerText(value: number): string {
  const power = Math.round(Math.log2(value));
  return `2${power < 0 ? "⁻" : ""}${
    [...String(Math.abs(power))].map((digit) => SUPERSCRIPTS[Number(digit)]).join("")
  }`;
}

function findingOf(runs: readonly ScaleRun[]): string {
  const hit = runs.filter(({ skipped }) => skipped.length > 0);
  const skips = hit.reduce((sum, { skipped }) => sum + skipped.length, 0);
  if (skips === 0) return `No update overflowed in ${count(runs.length, "run")} with mixed precision`;
  const faults = hit.reduce((sum, run) => sum + run.faults, 0);
  const survived = hit.filter(({ endsFinite }) => endsFinite).length;
  const halved = faults === 0 ? "each halved the scale" : `${faults} did not halve the scale`;
  return `${count(skips, "update")} overflowed and ${
    skips === 1 ? "was" : "were"
  } skipped, ${halved}; ${survived} of ${count(hit.length, "run")} went on to a finite loss`;
}
