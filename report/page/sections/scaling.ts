import { scalingChart, type ScalingPanel } from "../../charts/scaling.ts";
import type { Analysis } from "../../rows/analysis.ts";
import { figure } from "../figure.ts";
import { byteUnit } from "../../../results/bytes.ts";
import { count, formatInterval, formatNumber, formatSignificant } from "../../words/format.ts";
import { type Html, markup } from "../html.ts";
import { type ScalingAxis, type ScalingCurve, scalingCurves } from "../../rows/scaling.ts";
import { figures, table } from "../table.ts";
import { type PageContext, section, traced } from "./context.ts";

const AXES: Record<ScalingAxis, { name: string; unit: string }> = {
  parameters: { name: "parameters", unit: "" },
  sequenceLength: { name: "sequence length", unit: "tokens" },
  batchSize: { name: "batch size", unit: "sequences" },
};

/** Time and memory against parameters, sequence length and batch size, with fitted exponents beside the theory's. */
export function scalingSection(
  { configurations, loaded: { run } }: Analysis,
  context: PageContext,
): Html | null {
  const curves = scalingCurves(configurations, run.roofline);
  if (curves.length === 0) return null;
  const axes = [...new Set(curves.map(({ axis }) => axis))];
  return section(
    context,
    "scaling",
    "How time and memory grow",
    markup`${
      axes.flatMap((axis) =>
        (["time", "memory"] as const).map((quantity) => {
          const shown = curves.filter((curve) => curve.axis === axis && curve.quantity === quantity);
          return shown.length > 0 ? scalingFigure(shown, context) : null;
        })
      )
    }`,
  );
}

function scalingFigure(curves: readonly ScalingCurve[], context: PageContext): Html {
  const [{ axis, quantity }] = curves;
  const unit = quantity === "time"
    ? { name: "ms", bytes: 1 }
    : byteUnit(Math.max(...curves.flatMap(({ points }) => points.map(({ y }) => y))));
  const { name, unit: of } = AXES[axis];
  const xLabel = of ? `${name}, ${of} (log)` : `${name} (log)`;
  const what = quantity === "time" ? "ms per step" : `booked peak, ${unit.name}`;
  const panel: ScalingPanel = { curves, xLabel, yLabel: `${what} (log)`, unit: unit.bytes };
  const rows = curves.flatMap((curve) => curve.points.map((point) => ({ curve, point })));
  const numbers = table(rows, [
    ...curves.length > 1 ? [{ head: "curve", cell: ({ curve }: typeof rows[number]) => curve.label }] : [],
    figures([name, of], ({ point }) => formatNumber(point.x)),
    figures([quantity === "time" ? "step" : "booked peak", unit.name], ({ point }) =>
      traced(
        context,
        point.id,
        quantity === "time"
          ? formatInterval({ estimate: point.y, low: point.low, high: point.high })
          : formatSignificant(point.y / unit.bytes, 4),
      )),
  ], { caption: `${quantity === "time" ? "Time" : "Memory"} against ${name}` });
  return markup`${
    figure({
      id: `${context.prefix}scaling-${quantity}-${axis}`,
      title: curves.map(findingOf).join("; "),
      subtitle: `${
        quantity === "time" ? "Median time of a step with 95 % interval" : "Planned = booked peak"
      }, ${
        count(rows.length, "configuration")
      }, both axes logarithmic. Solid: least squares on the logarithms${
        quantity === "time" ? " of all timed steps" : ""
      }, exponent with 95 % interval of the slope. Dotted: the exponent of the theory.`,
      draw: (size) => scalingChart(panel, size),
      numbers,
    })
  }<ul>${curves.map(reasons)}</ul>`;
}

/** The finding of one curve: its exponent beside the theory's. */
export function findingOf({ axis, quantity, label, fit, expected, outcome }: ScalingCurve): string {
  const what = `${quantity === "time" ? "Time" : "Memory"}${label === "" ? "" : ` (${label})`}`;
  if (!fit) return `${what} over ${AXES[axis].name} has no fit`;
  const exponent = formatNumber(expected.exponent, 2);
  const beside = {
    agrees: `as theory says (${exponent})`,
    below: `below the theory's ${exponent}`,
    above: `above the theory's ${exponent}`,
    unsettled: `too uncertain to tell from the theory's ${exponent}`,
  }[outcome!];
  return `${what} grows with ${AXES[axis].name} to the power ${
    formatNumber(fit.exponent.estimate, 2)
  }, ${beside}`;
}

function reasons({ label, expected, because }: ScalingCurve): Html {
  const name = label === "" ? "" : `${label}: `;
  return markup`<li>${name}theory: ${expected.law}. From the records: ${because.join("; ")}.</li>
`;
}
