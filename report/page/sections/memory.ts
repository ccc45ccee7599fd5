import { memoryByRoleChart } from "../../charts/memory_by_role.ts";
import { OBSERVED_PARTS, observedPartsChart } from "../../charts/observed_parts.ts";
import { type ObservedParts, observedParts, roleBars, timelineOf } from "../../rows/memory.ts";
import { memoryTimelineChart } from "../../charts/memory_timeline.ts";
import type { Analysis } from "../../rows/analysis.ts";
import type { Configuration } from "../../rows/configuration.ts";
import { shownConfigurations } from "../../rows/shown.ts";
import { figure, HALF, SLIM } from "../figure.ts";
import { observedFinding, rolesFinding, timelineFinding } from "../findings.ts";
import { byteUnit } from "../../../results/bytes.ts";
import { count, formatNumber, formatSignificant, ordinal } from "../../words/format.ts";
import { type Html, markup } from "../html.ts";
import { OBSERVED_STYLE, ROLE_STYLE } from "../../charts/palette.ts";
import { ROLES } from "../../../results/record.ts";
import { type Column, figures, table } from "../table.ts";
import { configurationLink, type PageContext, section, traced } from "./context.ts";

/** Which configurations the step is shown for: the chosen batch, and the ends of the ladder. */
function shownOverTime({ configurations, highlighted }: Analysis): Configuration[] {
  const rungs = configurations.filter(({ shows, memory }) => shows === "method-ladder" && memory);
  const ends = rungs.length > 1
    ? [rungs[0], rungs.at(-1)!]
    : highlighted
    ? [highlighted]
    : configurations.slice(0, 1);
  return ends;
}

/** What the peak holds, how the step fills it, and how far plan, books and observation agree. */
export function memorySection(analysis: Analysis, context: PageContext): Html | null {
  const configurations = shownConfigurations(analysis).filter(({ memory }) => memory);
  if (configurations.length === 0) return null;
  return section(
    context,
    "memory",
    "Memory",
    markup`<div class="duo">${rolesFigure(configurations, context)}<div>${
      agreement(configurations, context)
    }${observedFigure(analysis, context)}</div></div>
<div class="duo">${
      shownOverTime(analysis).map((configuration) => timelineFigure(configuration, context))
    }</div>`,
  );
}

function rolesFigure(configurations: readonly Configuration[], context: PageContext): Html {
  const bars = roleBars(configurations);
  const unit = byteUnit(Math.max(...bars.map(({ total }) => total)));
  const bytes = (value: number) => formatSignificant(value / unit.bytes);
  const observed = bars.some((bar) => bar.observed)
    ? " Diamond: observed peak, median and range over cells."
    : "";
  const planned = bars.some((bar) => bar.planned)
    ? " Faint bars were planned but did not run to their end."
    : "";
  return figure({
    id: `${context.prefix}memory-by-role`,
    widths: [HALF, SLIM],
    title: rolesFinding(bars),
    subtitle: `Booked bytes by role at the peak, one bar for each of ${
      count(bars.length, "configuration")
    }, in ${unit.name}.${observed}${planned}`,
    draw: (size) => memoryByRoleChart(bars, size),
    numbers: table(bars, [
      { head: "configuration", cell: ({ label, id }) => traced(context, id, label) },
      ...ROLES.map((
        role,
      ): Column<
        typeof bars[number]
      > => (figures(
        [ROLE_STYLE[role].label, unit.name],
        (bar) => bytes(bar.bytes.find((part) => part.role === role)?.bytes ?? 0),
      ))),
      figures(["total", unit.name], ({ total, id }) => traced(context, id, bytes(total))),
    ], { caption: "Bytes by role at the peak" }),
  });
}

/** What is observed in parts, of the ends of the ladder; null where the records do not say. */
function observedFigure(analysis: Analysis, context: PageContext): Html | null {
  const bars = shownOverTime(analysis).flatMap((configuration) => observedParts(configuration) ?? []);
  if (bars.length === 0) return null;
  const unit = byteUnit(Math.max(...bars.map(({ total }) => total)));
  const isSoftware = analysis.loaded.run.environment.software;
  return figure({
    id: `${context.prefix}observed-parts`,
    widths: [HALF, SLIM],
    title: observedFinding(bars),
    subtitle: `Context: ${
      isSoftware ? "the process with its data and an empty device" : "the empty device"
    }; compiled kernels: what came until all were compiled and no buffer existed; booked: training memory; rest: the observed peak less these. One cell each, ${unit.name}.`,
    draw: (size) => observedPartsChart(bars, size),
    numbers: table(bars, [
      { head: "configuration", cell: ({ label, id }) => traced(context, id, label) },
      ...OBSERVED_PARTS.map((part): Column<ObservedParts> =>
        figures(
          [OBSERVED_STYLE[part].label, unit.name],
          (bar) => formatSignificant(bar[part] / unit.bytes),
        )
      ),
      figures(["observed", unit.name], ({ total }) => formatSignificant(total / unit.bytes)),
    ], { caption: "Observed peak memory in parts" }),
  });
}

function timelineFigure(configuration: Configuration, context: PageContext): Html | null {
  const timeline = timelineOf(configuration);
  if (!timeline) return null;
  const { roles, points, peak, id } = timeline;
  const unit = byteUnit(peak.bytes);
  const step = Math.max(1, Math.ceil(points.length / 32));
  const some = points.filter((point, i) => i % step === 0 || point.dispatch === peak.dispatch);
  return figure({
    id: `${context.prefix}timeline-${id}`,
    widths: [HALF, SLIM],
    title: timelineFinding(timeline),
    subtitle: `Live bytes by role over the dispatches of one step, ${unit.name}; ${
      count(points.length, "point")
    }, as booked in cell ${id}.`,
    draw: (size) => memoryTimelineChart(timeline, size),
    numbers: table(some, [
      figures("dispatch", ({ dispatch }) => formatNumber(dispatch)),
      ...roles.map((
        role,
        r,
      ): Column<
        typeof points[number]
      > => (figures(
        [ROLE_STYLE[role].label, unit.name],
        ({ edges }) => formatSignificant((edges[r + 1] - edges[r]) / unit.bytes),
      ))),
      figures(
        ["total", unit.name],
        ({ edges }) => traced(context, id, formatSignificant(edges.at(-1)! / unit.bytes)),
      ),
    ], {
      caption: `Live bytes over the step${step > 1 ? ` (every ${ordinal(step)} point and the peak)` : ""}`,
      strong: ({ dispatch }) => dispatch === peak.dispatch,
    }),
  });
}

/** Planned, booked and observed are three different numbers; this is how they differ. */
function agreement(configurations: readonly Configuration[], context: PageContext): Html {
  const largest = Math.max(
    ...configurations.map(({ memory }) => memory!.observed?.high ?? memory!.plannedBytes),
  );
  const unit = byteUnit(largest);
  const scaled = (bytes: number | null | undefined) => bytes == null ? null : bytes / unit.bytes;
  const offBy = configurations.filter(({ memory }) =>
    memory!.bookedBytes !== null && memory!.bookedBytes !== memory!.plannedBytes
  );
  const ran = configurations.filter(({ memory }) => memory!.bookedBytes !== null);
  const columns: Column<Configuration>[] = [
    { head: "configuration", cell: (configuration) => configurationLink(context, configuration) },
    figures(
      ["planned", unit.name],
      ({ memory }) => traced(context, memory!.id, formatNumber(scaled(memory!.plannedBytes), 2)),
    ),
    figures(
      ["booked", unit.name],
      ({ memory }) => traced(context, memory!.id, formatNumber(scaled(memory!.bookedBytes), 2)),
    ),
    ...offBy.length > 0
      ? [figures<Configuration>(
        ["booked − planned", "bytes"],
        ({ memory }) =>
          formatNumber(memory!.bookedBytes === null ? null : memory!.bookedBytes - memory!.plannedBytes),
      )]
      : [],
    figures(
      ["observed", unit.name],
      ({ memory }) => traced(context, memory!.observedByCell[0]?.id, observedText(memory!, unit.bytes)),
    ),
    figures(["less booked", unit.name], ({ memory }) =>
      formatNumber(
        memory!.observed && memory!.bookedBytes !== null
          ? scaled(memory!.observed.estimate - memory!.bookedBytes)
          : null,
        2,
      )),
    figures(["÷ booked", "×"], ({ memory }) =>
      formatNumber(
        memory!.observed && memory!.bookedBytes ? memory!.observed.estimate / memory!.bookedBytes : null,
        2,
      )),
  ];
  const finding = ran.length === 0
    ? "No cell ran to its end: there are plans alone"
    : offBy.length === 0
    ? `Planned and booked peaks are equal to the byte in ${count(ran.length, "configuration")}`
    : `Planned and booked peaks differ in ${offBy.length} of ${count(ran.length, "configuration")}`;
  const how = [...new Set(ran.map(({ memory }) => memory!.observedHow))].sort().join("; ");
  const anchor = `${context.prefix}agreement`;
  const caption = `Planned, booked and observed peak memory; observed: ${how}`;
  return markup`<h4 id="${anchor}">${finding} <a class="anchor" href="#${anchor}" aria-label="Link to this table">#</a></h4>
${table(configurations, columns, { caption, kind: "dense" })}`;
}

function observedText({ observed }: NonNullable<Configuration["memory"]>, unit: number): string {
  if (!observed) return "–";
  const [estimate, low, high] = [observed.estimate, observed.low, observed.high].map((bytes) =>
    formatNumber(bytes / unit, 2)
  );
  return low === high ? estimate : `${estimate} [${low}, ${high}]`;
}
