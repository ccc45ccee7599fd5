import { type DotRow, dotRowsChart } from "../../charts/dot_rows.ts";
import { type LinePanel, linesChart } from "../../charts/lines.ts";
import { tickFormat } from "../../charts/frame.ts";
import type { Analysis } from "../../rows/analysis.ts";
import type { Configuration } from "../../rows/configuration.ts";
import { equalTokens, heldOutLosses } from "../../rows/held_out.ts";
import type { Measured } from "../../../results/measured.ts";
import { figure, HALF, SLIM } from "../figure.ts";
import { capital, listed, sentence } from "../../words/text.ts";
import { count, formatCompact, formatInterval, formatNumber } from "../../words/format.ts";
import { type Html, markup } from "../html.ts";
import { optimizerName } from "../../words/names.ts";
import { bytesText, type OptimizerState, optimizerStates } from "../../claims/optimizer_state.ts";
import { OPTIMIZER_STATE } from "../../claims/paper.ts";
import { figures, table } from "../table.ts";
import { configurationLink, type PageContext, section, traced } from "./context.ts";
import { exactly } from "../../../results/stats.ts";

/** Bytes of state, the rate of each optimizer, and how they converge at it. */
export function optimizersSection(analysis: Analysis, context: PageContext): Html | null {
  const states = optimizerStates(analysis);
  const rates = rateSweep(analysis);
  const isCompared = states.filter(({ isUsual }) => isUsual).length >= 2;
  if (!isCompared && rates.length === 0) return null;
  return section(
    context,
    "optimizers",
    "Optimizers",
    markup`<div class="duo">${isCompared && stateFigure(states, context)}${
      rates.length > 0 && ratesFigure(analysis, rates, context)
    }${convergenceFigure(analysis, context)}</div>`,
  );
}

function stateFigure(states: readonly OptimizerState[], context: PageContext): Html {
  const cellOf = (optimizer: string, found: OptimizerState["measured"], isPlanned: boolean) => {
    if (!found) return { missing: "not run" };
    const { low, high, words } = OPTIMIZER_STATE[optimizer];
    const papers = OPTIMIZER_STATE[optimizer].bytes;
    // A range is drawn for "a little over 4" alone: the others are figures.
    const theirs = optimizer === "adafactor" ? { low, high } : { low: papers, high: papers };
    return {
      value: exactly(found.bytes),
      text: `${bytesText(found.bytes)} B`,
      theirs: { ...theirs, hint: `the paper: ${words} bytes` },
      isPlanned,
    };
  };
  const rows = states.map(({ optimizer, label, measured, planned }): DotRow => ({
    label,
    cells: [cellOf(optimizer, measured, false), cellOf(optimizer, planned, true)],
  }));
  const text = states.map(({ label, planned, measured }) =>
    `${label} ${bytesText((planned ?? measured)!.bytes)}`
  );
  const dot = (name: string) => ({ name, format: (value: number) => `${formatNumber(value)} B` });
  const hasPlan = states.some(({ planned }) => planned);
  const panels = [dot("in a run of this page"), ...hasPlan ? [dot("planned at 3 B parameters")] : []];
  return figure({
    widths: [HALF, SLIM],
    id: `${context.prefix}optimizer-state`,
    title: `${capital(listed(text))} bytes of state a parameter`,
    subtitle:
      "Bytes of optimizer state a trained parameter. Crosses: the paper's 8, a little over 4 (drawn as 4 to 4.5) and 2. Small tensors and embeddings keep f32 states under the 8-bit optimizer, so small models hold more a parameter; the form that quantizes embeddings is named so.",
    draw: (size) =>
      dotRowsChart(
        rows.map((row) => ({ ...row, cells: row.cells.slice(0, panels.length) })),
        panels,
        { ours: "measured", theirs: "the paper", ...hasPlan ? { planned: "planned" } : {} },
        size,
      ),
    numbers: table(states, [
      { head: "optimizer", cell: ({ label }) => label },
      figures(["paper", "bytes a parameter"], ({ optimizer }) => OPTIMIZER_STATE[optimizer].words),
      figures(
        ["in a run", "bytes a parameter"],
        ({ measured }) =>
          traced(context, measured?.configuration.memory?.id, formatNumber(measured?.bytes, 3)),
      ),
      figures(
        ["planned", "bytes a parameter"],
        ({ planned }) => traced(context, planned?.configuration.memory?.id, formatNumber(planned?.bytes, 3)),
      ),
      figures(["at 3 B", "GB"], ({ planned }) => formatNumber(planned ? planned.bytes * 3 : null, 1)),
      figures(
        ["paper at 3 B", "GB"],
        ({ optimizer }) => formatNumber(OPTIMIZER_STATE[optimizer].gigabytes3b),
      ),
    ], { caption: "Optimizer state" }),
  });
}

interface RateRow {
  configuration: Configuration;
  optimizer: string;
  rate: number;
  loss: Measured | null;
  chosen: boolean;
}

/** Cells of all rate sweeps, by optimizer and rising rate; losses at equal tokens. */
function rateSweep(analysis: Analysis): RateRow[] {
  const all = analysis.configurations.filter(({ phaseKind }) => phaseKind === "rate-sweep");
  const losses = heldOutLosses(all, equalTokens(all));
  const chosen = new Map(
    analysis.loaded.run.decisions.filter(({ name }) => name.startsWith("learningRate/"))
      .map(({ name, value }) => [name.slice("learningRate/".length), Number(value)]),
  );
  return all.map((configuration, i): RateRow => {
    const { optimizer, learningRate } = configuration.config;
    return {
      configuration,
      optimizer,
      rate: learningRate,
      loss: losses[i],
      chosen: chosen.get(optimizer) === learningRate,
    };
  }).sort((a, b) => a.optimizer < b.optimizer ? -1 : a.optimizer > b.optimizer ? 1 : a.rate - b.rate);
}

function rateText(rate: number): string {
  return rate >= 0.001
    ? String(Number(rate.toPrecision(3)))
    : rate.toExponential(1).replace(".0", "").replace("-", "−");
}

function ratesFigure({ loaded }: Analysis, rows: readonly RateRow[], context: PageContext): Html {
  const optimizers = [...new Set(rows.map(({ optimizer }) => optimizer))];
  const rates = [...new Set(rows.map(({ rate }) => rate))].sort((a, b) => a - b);
  const decisions = loaded.run.decisions.filter(({ name }) => name.startsWith("learningRate/"));
  const panel: LinePanel = {
    name: "held-out loss by learning rate",
    x: { label: "learning rate (logarithmic)", scale: "log", ticks: rates, format: rateText },
    y: {
      label: "nats per token; not from zero",
      scale: "linear",
      fromData: true,
      format: tickFormat([0, 0.01]),
    },
    series: optimizers.map((optimizer, i) => ({
      label: optimizerName(optimizer),
      style: i,
      points: rows.filter((row) => row.optimizer === optimizer && row.loss).map(({ rate, loss, chosen }) => ({
        x: rate,
        y: loss!.interval.estimate,
        low: loss!.interval.low,
        high: loss!.interval.high,
        hint: `rate ${rateText(rate)}: ${formatInterval(loss!.interval, 3)}`,
        isChosen: chosen,
      })),
    })),
  };
  const text = decisions.map(({ name, value }) =>
    `${optimizerName(name.slice("learningRate/".length))} ${rateText(Number(value))}`
  );
  const title = text.length > 0
    ? `Each optimizer trains at its own rate: ${listed(text)}`
    : "No rate was chosen";
  const warnings = decisions.flatMap(({ name, warnings = [] }) =>
    warnings.map(({ text }) => ` ${optimizerName(name.slice("learningRate/".length))}: ${text}.`)
  );
  return figure({
    widths: [HALF, SLIM],
    id: `${context.prefix}rate-sweep`,
    title,
    subtitle: `Held-out loss at equal tokens, mean over ${
      count(Math.max(...rows.map(({ configuration }) => configuration.seeds.length)), "seed")
    } with its 95 % interval where there are several; ringed: chosen. ${
      decisions[0] ? `Rule: ${sentence(decisions[0].rule)}` : ""
    } Cells that diverged have no dot.${warnings.join("")}`,
    draw: (size) => linesChart([panel], size),
    numbers: table(rows, [
      { head: "optimizer", cell: ({ optimizer }) => optimizerName(optimizer) },
      figures(
        "rate",
        ({ rate, configuration }) => traced(context, configuration.cells[0].id, rateText(rate)),
      ),
      figures(
        ["held-out loss", "nats/token"],
        ({ loss, configuration }) => loss ? formatInterval(loss.interval, 3) : configuration.cells[0].status,
      ),
      { head: "chosen", cell: ({ chosen }) => chosen ? "yes" : "" },
    ], { caption: "The rate sweep", strong: ({ chosen }) => chosen }),
  });
}

/** Held-out loss over tokens, one line an optimizer, each at its own rate; null for fewer than two. */
function convergenceFigure({ configurations }: Analysis, context: PageContext): Html | null {
  const phase = configurations.filter(({ shows, ok }) => shows === "optimizer-convergence" && ok.length > 0);
  if (phase.length < 2) return null;
  const marks = phase.map((configuration) => {
    const tokens = [
      ...new Set(configuration.ok.flatMap(({ heldOut }) => heldOut.map((point) => point.tokens))),
    ]
      .sort((a, b) => a - b);
    return {
      configuration,
      points: tokens.map((at) => ({ at, loss: heldOutLosses([configuration], at)[0] })),
    };
  });
  const name = ({ config }: Configuration) => optimizerName(config.optimizer);
  const ends = heldOutLosses(phase, equalTokens(phase));
  const order = phase.map((configuration, i) => ({ configuration, loss: ends[i] })).filter(({ loss }) => loss)
    .toSorted((a, b) => a.loss!.interval.estimate - b.loss!.interval.estimate);
  const [best, worst] = [order[0], order.at(-1)];
  if (!best || !worst || best === worst) return null;
  const gap = worst.loss!.interval.estimate - best.loss!.interval.estimate;
  const tokens = equalTokens(phase);
  return figure({
    widths: [HALF, SLIM],
    id: `${context.prefix}convergence`,
    title: `After ${formatCompact(tokens)} tokens, ${name(best.configuration)} is lowest at ${
      formatNumber(best.loss!.interval.estimate, 3)
    }; ${name(worst.configuration)} ends ${formatNumber(gap, 3)} higher`,
    subtitle:
      `Held-out loss over trained tokens, each optimizer at its own rate; mean and 95 % interval over ${
        count(Math.max(...phase.map(({ seeds }) => seeds.length)), "seed")
      }.`,
    draw: (size) =>
      linesChart([{
        name: "convergence",
        x: { label: "trained tokens", scale: "linear", format: formatCompact },
        y: {
          label: "held-out loss, nats per token; not from zero",
          scale: "linear",
          fromData: true,
          format: tickFormat([0, 0.1]),
        },
        series: marks.map(({ configuration, points }, i) => ({
          label: name(configuration),
          style: i,
          points: points.flatMap(({ at, loss }) =>
            loss
              ? [{
                x: at,
                y: loss.interval.estimate,
                low: loss.interval.low,
                high: loss.interval.high,
                hint: `${formatCompact(at)} tokens: ${formatInterval(loss.interval, 3)}`,
              }]
              : []
          ),
        })),
      }], size),
    numbers: table(order, [
      { head: "optimizer", cell: ({ configuration }) => configurationLink(context, configuration) },
      figures("rate", ({ configuration }) => rateText(configuration.config.learningRate)),
      figures(
        ["held-out loss", "nats/token"],
        ({ loss }) => traced(context, loss!.byCell[0].id, formatInterval(loss!.interval, 3)),
      ),
      figures("seeds", ({ loss }) => formatNumber(loss!.values.length)),
    ], { caption: `Held-out loss after ${formatCompact(tokens)} tokens` }),
  });
}
