import {
  type AttentionPair,
  attentionPairs,
  type AttentionRow,
  attentionRows,
} from "../../rows/attention.ts";
import {
  type LinePanel,
  linesChart,
  type LineSeries,
  powerOfTwoText,
  powersOfTwo,
} from "../../charts/lines.ts";
import type { Analysis } from "../../rows/analysis.ts";
import { figure, HALF, SLIM } from "../figure.ts";
import { byteUnit } from "../../../results/bytes.ts";
import { count, formatBytes, formatInterval, formatNumber, formatRatio } from "../../words/format.ts";
import { type Html, markup } from "../html.ts";
import { type Column, figures, table } from "../table.ts";
import type { Interval } from "../../../results/stats.ts";
import { type PageContext, section, traced } from "./context.ts";

/** Attention time and memory against sequence length; null without at least two lengths. */
export function attentionSection({ configurations }: Analysis, context: PageContext): Html | null {
  const rows = attentionRows(configurations);
  const ran = rows.filter(({ configuration }) => configuration.ok.length > 0);
  const lengths = new Set(ran.map(({ sequenceLength }) => sequenceLength));
  if (lengths.size < 2) return null;
  const pairs = attentionPairs(ran);
  const isProfiled = ran.some(({ attentionMs }) => attentionMs);
  const time = isProfiled
    ? "time of the attention kernels in a profiled step"
    : "time of the whole step (no cell was profiled)";
  return section(
    context,
    "attention",
    "Attention and sequence length",
    markup`${
      figure({
        id: `${context.prefix}attention-chart`,
        title: findingOf(pairs),
        subtitle:
          `Both axes logarithmic. Left: ${time}, median with 95 % interval where cells were repeated. Right: booked peak of the whole step. ${
            count(lengths.size, "sequence length")
          }, naive attention and FlashAttention-2; one row of panels for each kind of base weights that ran at several.`,
        draw: (size) => linesChart(panelsOf(ran, isProfiled), size),
        widths: [HALF, SLIM],
        numbers: table(rows, columnsOf(context), { caption: "Attention by sequence length" }),
      })
    }`,
    "half",
  );
}

function findingOf(pairs: readonly AttentionPair[]): string {
  const longest = pairs.filter(({ flash }) => !flash.isQuantized).at(-1) ?? pairs.at(-1);
  if (!longest) return "Only one kind of attention ran";
  const { speedup, memoryRatio, byKernels, flash } = longest;
  const speed = speedup ? `${formatRatio(speedup.estimate)} as fast` : "not timed";
  const noise = speedup && speedup.low < speedup.high && speedup.low <= 1 && speedup.high >= 1
    ? " (no difference)"
    : "";
  return `At ${formatNumber(flash.sequenceLength)} tokens, FlashAttention-2 ${
    byKernels ? "computes attention" : "makes the step"
  } ${speed}${noise}; the step needs ${formatRatio(memoryRatio)} less memory`;
}

const kindOf = ({ flash, half }: AttentionRow) => `${flash ? "flash" : "naive"}, ${half ? "f16" : "f32"}`;

function timeOf({ attentionMs, configuration }: AttentionRow, isProfiled: boolean): Interval | null {
  return (isProfiled ? attentionMs : configuration.stepMs)?.interval ?? null;
}

function panelsOf(rows: readonly AttentionRow[], isProfiled: boolean): LinePanel[] {
  const kinds = ["naive, f32", "flash, f32", "naive, f16", "flash, f16"];
  const lengths = [...new Set(rows.map(({ sequenceLength }) => sequenceLength))].sort((a, b) => a - b);
  const x = {
    label: "sequence length, tokens (logarithmic)",
    scale: "log",
    ticks: lengths,
    format: (value: number) => formatNumber(value),
  } as const;
  return [...new Set(rows.map(({ base }) => base))].flatMap((base): LinePanel[] => {
    const own = rows.filter((row) => row.base === base);
    // One length makes no line; its figures are in the table.
    if (new Set(own.map(({ sequenceLength }) => sequenceLength)).size < 2) return [];
    const largest = Math.max(...own.map(({ configuration: { memory } }) => memory?.bookedBytes ?? 0));
    const unit = byteUnit(largest);
    const series = (
      of: (row: AttentionRow) => { y: number; low?: number; high?: number; hint: string } | null,
    ) =>
      kinds.map((label, style): LineSeries => ({
        label,
        style,
        points: own.filter((row) => kindOf(row) === label).flatMap((row) => {
          const point = of(row);
          return point ? [{ x: row.sequenceLength, ...point }] : [];
        }),
      })).filter(({ points }) => points.length > 0);
    const times = own.flatMap((row) => timeOf(row, isProfiled)?.estimate ?? []);
    const sizes = own.flatMap(({ configuration: { memory } }) =>
      memory?.bookedBytes ? [memory.bookedBytes / unit.bytes] : []
    );
    const panels: LinePanel[] = [];
    if (times.length > 0) {
      panels.push({
        name: `${isProfiled ? "attention" : "step"}, ${base}`,
        x,
        y: {
          label: "ms (logarithmic)",
          scale: "log",
          ticks: powersOfTwo(Math.min(...times) / 2, Math.max(...times) * 2, 6),
          format: powerOfTwoText,
        },
        series: series((row) => {
          const ms = timeOf(row, isProfiled);
          return ms &&
            {
              y: ms.estimate,
              low: ms.low,
              high: ms.high,
              hint: `${row.sequenceLength} tokens: ${formatInterval(ms)} ms`,
            };
        }),
      });
    }
    if (sizes.length > 0) {
      panels.push({
        name: `peak of the step, ${base}`,
        x,
        y: {
          label: `${unit.name} (logarithmic)`,
          scale: "log",
          ticks: powersOfTwo(Math.min(...sizes) / 2, Math.max(...sizes) * 2, 6),
          format: powerOfTwoText,
        },
        series: series(({ configuration: { memory }, sequenceLength }) =>
          memory?.bookedBytes
            ? {
              y: memory.bookedBytes / unit.bytes,
              hint: `${sequenceLength} tokens: ${formatBytes(memory.bookedBytes)}`,
            }
            : null
        ),
      });
    }
    return panels;
  });
}

function columnsOf(context: PageContext): Column<AttentionRow>[] {
  return [
    { head: "base", cell: ({ base }) => base },
    { head: "attention", cell: (row) => kindOf(row) },
    figures(
      ["sequence", "tokens"],
      ({ sequenceLength, configuration }) =>
        traced(context, configuration.cells[0].id, formatNumber(sequenceLength)),
    ),
    figures(
      ["attention", "ms"],
      ({ attentionMs }) => traced(context, attentionMs?.byCell[0].id, formatInterval(attentionMs?.interval)),
    ),
    figures(
      ["step", "ms"],
      ({ configuration: { stepMs, cells, ok } }) =>
        ok.length > 0 ? formatInterval(stepMs?.interval) : cells[0].status,
    ),
    figures(
      "booked peak",
      ({ configuration: { memory } }) => traced(context, memory?.id, formatBytes(memory?.bookedBytes)),
    ),
  ];
}
