import { scalingChart, type ScalingPanel } from "../../charts/scaling.ts";
import type { Analysis } from "../../rows/analysis.ts";
import { figure } from "../figure.ts";
import { byteUnit } from "../../../results/bytes.ts";
import { count, formatInterval, formatNumber, formatSignificant } from "../../words/format.ts";
import { type Html, markup } from "../html.ts";
import { type Ends, type ScalingAxis, type ScalingCurve, scalingCurves } from "../../rows/scaling.ts";
import { figures, table } from "../table.ts";
import { type PageContext, section, traced } from "./context.ts";

const AXES: Record<ScalingAxis, { name: string; unit: string }> = {
  parameters: { name: "parameters", unit: "" },
  sequenceLength: { name: "sequence length", unit: "tokens" },
  batchSize: { name: "batch size", unit: "sequences" },
};

/** Time and memory against size, with fitted exponents beside the theory's. */
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

function reasons(curve: ScalingCurve): Html {
  const name = curve.label === "" ? "" : `${curve.label}: `;
  return markup`<li>${name}theory: ${lawOf(curve)}. From the records: ${becauseOf(curve).join("; ")}.</li>
`;
}

const LAWS: Record<ScalingCurve["quantity"], Record<ScalingAxis, string>> = {
  time: {
    parameters: "6 · parameters · tokens FLOPs, and attention's",
    sequenceLength: "FLOPs: those of the matrices grow with T, those of attention with T²",
    batchSize: "FLOPs grow with the batch",
  },
  memory: {
    parameters: "16 bytes a parameter: weight, gradient and two moments in f32",
    sequenceLength: "activations grow with T: no T × T matrix is stored",
    batchSize: "activations grow with the batch",
  },
};

function lawOf({ axis, quantity, expected }: ScalingCurve): string {
  return expected.isSquare ? "T² scores and probabilities" : LAWS[quantity][axis];
}

/** Why, from the records: one part of a sentence each. */
export function becauseOf({ axis, parts }: ScalingCurve): string[] {
  if (!parts) return [];
  if (parts.quantity === "time") {
    const { flopsPerSecond, ofCeiling, fixed, outsideProducts: outside } = parts;
    const [small, large] = flopsPerSecond.map((rate, i) =>
      giga(rate) + (ofCeiling ? ` (${percent(ofCeiling[i])} of the ceiling)` : "")
    );
    return [
      `the step does ${small} at the smallest size and ${large} at the largest`,
      ...fixed
        ? [
          `time against FLOPs leaves ${fixed.ms.toPrecision(2)} ms that do not grow, ${
            ends(fixed.shares, "step")
          }`,
        ]
        : [],
      ...outside
        ? [
          `${percent(outside[0])} of the kernels' time is outside products at the smallest size, ${
            percent(outside[1])
          } at the largest`,
        ]
        : [],
    ];
  }
  const { restShare, exponent, squareShare: square } = parts;
  const [part, rest] = axis === "parameters"
    ? ["states", "activations"]
    : ["activations", "weights and states"];
  return [
    `${rest} are ${ends(restShare, "peak")}`,
    ...exponent === null ? [] : [`${part} alone grow with exponent ${exponent.toFixed(2)}`],
    ...square
      ? [
        `the part of them that grows with T² is ${percent(square[0])} at the smallest size and ${
          percent(square[1])
        } at the largest`,
      ]
      : [],
  ];
}

const ends = ([small, large]: Ends, what: string) =>
  `${percent(small)} of the smallest ${what} and ${percent(large)} of the largest`;
const percent = (share: number) => `${(100 * share).toFixed(share > 0 && share < 0.095 ? 1 : 0)} %`;
const giga = (rate: number) => `${(rate / 1e9).toPrecision(3)} GFLOP/s`;
