import { type BatchEffect, effectsByBatch, meanTime } from "../../rows/batch_effects.ts";
import { type LinePanel, linesChart, type LineSeries } from "../../charts/lines.ts";
import { tickFormat } from "../../charts/frame.ts";
import { breakEvenText } from "../../claims/training.ts";
import type { Analysis } from "../../rows/analysis.ts";
import type { Configuration } from "../../rows/configuration.ts";
import { differs } from "../../../results/measured.ts";
import { figure, HALF, SLIM } from "../figure.ts";
import { capital } from "../../words/text.ts";
import { byteUnit } from "../../../results/bytes.ts";
import { count, formatBytes, formatInterval, formatNumber } from "../../words/format.ts";
import type { Html } from "../html.ts";
import { methodName } from "../../words/names.ts";
import { type Column, figures, table } from "../table.ts";
import { judged, type PageContext, section, traced } from "./context.ts";

const METHODS = ["checkpoint", "fp16"] as const;

interface Row extends BatchEffect {
  method: string;
}

/** What checkpointing and mixed precision do at each batch size; null where fewer than two sizes were run. */
export function perBatchSection(analysis: Analysis, context: PageContext): Html | null {
  const rows = METHODS.flatMap((method) =>
    effectsByBatch(analysis, method).map((effect): Row => ({ ...effect, method }))
  );
  const sizes = new Set(rows.map(({ microBatchSize }) => microBatchSize));
  if (sizes.size < 2) return null;
  return section(
    context,
    "per-batch-size",
    "Checkpointing and mixed precision by batch size",
    figure({
      id: `${context.prefix}per-batch-chart`,
      title: findingOf(rows),
      subtitle: `Against the same step without the method, ${
        count(sizes.size, "batch size")
      } without accumulation. Left: booked peak. Right: time a token, times as long, with 95 % interval; the dashed line is no change.`,
      draw: (size) => linesChart(panelsOf(rows), size),
      widths: [HALF, SLIM],
      numbers: table(rows, columnsOf(context), { caption: "Effect of one method by batch size" }),
    }),
    "half",
  );
}

function findingOf(rows: readonly Row[]): string {
  const parts = METHODS.flatMap((method) => {
    const own = rows.filter((row) => row.method === method);
    if (own.length === 0) return [];
    const time = meanTime(own);
    const cost = time ? `time × ${formatNumber(time.estimate, 2)}` : "not timed";
    const even = method === "fp16" ? `, ${breakEvenText(own)}` : "";
    return [`${methodName(method)} ${cost}${even}`];
  });
  return capital(parts.join("; "));
}

/** The baseline and each method keep their style in both panels. */
function panelsOf(rows: readonly Row[]): LinePanel[] {
  const bytes = ({ memory }: Configuration) => memory?.bookedBytes ?? null;
  const unit = byteUnit(Math.max(...rows.map(({ baseline }) => bytes(baseline) ?? 0)));
  const memory = (
    label: string,
    style: number,
    own: readonly Row[],
    of: (row: Row) => Configuration,
  ): LineSeries => ({
    label,
    style,
    points: own.flatMap((row) => {
      const value = bytes(of(row));
      return value === null ? [] : [{
        x: row.microBatchSize,
        y: value / unit.bytes,
        hint: `batch ${row.microBatchSize}: ${formatBytes(value)}`,
      }];
    }),
  });
  const bySize = new Map(rows.map((row) => [row.microBatchSize, row]));
  const plain = [...bySize.values()].sort((a, b) => a.microBatchSize - b.microBatchSize);
  const own = (method: string) => rows.filter((row) => row.method === method);
  const sizes = plain.map(({ microBatchSize }) => microBatchSize);
  const x = {
    label: "micro-batch, sequences (logarithmic)",
    scale: "log",
    ticks: sizes,
    format: String,
  } as const;
  return [
    {
      name: "booked peak",
      x,
      y: {
        label: unit.name,
        scale: "linear",
        format: (value) => formatNumber(value, value % 1 === 0 ? 0 : 1),
      },
      series: [
        memory("baseline", 0, plain, ({ baseline }) => baseline),
        ...METHODS.map((method, i) =>
          memory(methodName(method), i + 1, own(method), ({ changed }) => changed)
        ),
      ],
    },
    {
      name: "time a token",
      x,
      y: {
        label: "times as long as the baseline",
        scale: "linear",
        fromData: true,
        reference: 1,
        format: tickFormat([0, 0.1]),
      },
      series: METHODS.map((method, i) => ({
        label: methodName(method),
        style: i + 1,
        points: own(method).flatMap(({ microBatchSize, time }) =>
          time
            ? [{
              x: microBatchSize,
              y: time.estimate,
              low: time.low,
              high: time.high,
              hint: `batch ${microBatchSize}: ${formatInterval(time, 2)}`,
            }]
            : []
        ),
      })),
    },
  ];
}

function columnsOf(context: PageContext): Column<Row>[] {
  const activations = ({ memory }: Configuration) => formatBytes(memory?.byRole.activations);
  return [
    figures("batch", ({ microBatchSize }) => formatNumber(microBatchSize)),
    { head: "method", cell: ({ method }) => methodName(method) },
    figures(
      "peak without",
      ({ baseline: { memory } }) => traced(context, memory?.id, formatBytes(memory?.bookedBytes)),
    ),
    figures(
      "peak with",
      ({ changed: { memory } }) => traced(context, memory?.id, formatBytes(memory?.bookedBytes)),
    ),
    figures("activations without", ({ baseline }) => activations(baseline)),
    figures("activations with", ({ changed }) => activations(changed)),
    figures(
      ["time", "×"],
      ({ time }) => judged({ text: formatInterval(time, 2), isDifferent: differs(time) }),
    ),
  ];
}
