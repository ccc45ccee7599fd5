import { type DotRow, dotRowsChart } from "../../charts/dot_rows.ts";
import type { Analysis } from "../../rows/analysis.ts";
import { figure, HALF, SLIM } from "../figure.ts";
import { capital, named } from "../../words/text.ts";
import {
  type DomainLoss,
  type FineTuning,
  fineTunings,
  type PerSeed,
  seedwise,
  type TaskScores,
  taskScores,
} from "../../rows/fine_tuning.ts";
import { count, formatBytes, formatInterval, formatNumber } from "../../words/format.ts";
import { type Html, markup } from "../html.ts";
import { type Column, figures, table } from "../table.ts";
import { configurationLink, type PageContext, section, traced } from "./context.ts";
import { MIB } from "../../../results/bytes.ts";
import { exactly } from "../../../results/stats.ts";

/**
 * What was learned of the new text and forgotten of the old one, full fine-tuning beside adapters, and how
 * well they learn a task with labels.
 */
export function fineTuningSection(analysis: Analysis, context: PageContext): Html | null {
  const rows = fineTunings(analysis);
  const scores = taskScores(analysis);
  if (rows.length < 2 && scores.length === 0) return null;
  return section(
    context,
    "fine-tuning",
    "Learning the new, keeping the old",
    markup`${rows.length < 2 ? "" : forgettingFigure(rows, context)}${
      scores.length === 0 ? "" : scoresTable(scores, context)
    }`,
    "half",
  );
}

/** Accuracy and F1 on held-out examples, way by way. */
function scoresTable(rows: readonly TaskScores[], context: PageContext): Html {
  const seeds = Math.max(...rows.map(({ accuracy }) => accuracy.byCell.length));
  const score = (head: string | [string, string], of: (row: TaskScores) => PerSeed) =>
    figures<TaskScores>(head, (row) => {
      const { byCell, interval } = of(row);
      return traced(context, byCell[0].id, formatInterval(interval, 3));
    });
  const tasks = [...new Set(rows.map(({ configuration }) => configuration.config.data))];
  return markup`<p>A task with labels (${
    tasks.join(", ")
  }), on held-out examples after the last step: mean and 95 % interval over ${
    count(seeds, "seed")
  }. Always answering the most frequent label has the accuracy in the last column.</p>
${
    table(rows, [
      { head: "fine-tuning", cell: ({ configuration }) => configurationLink(context, configuration) },
      score("accuracy", ({ accuracy }) => accuracy),
      score("macro F1", ({ macroF1 }) => macroF1),
      score(["loss", "nats/label"], ({ loss }) => loss),
      figures("booked peak", ({ configuration }) => formatBytes(configuration.memory?.bookedBytes)),
      figures(["most frequent label", "share"], ({ majorityShare }) => formatNumber(majorityShare, 3)),
    ], { caption: "Fine-tuning, accuracy and F1" })
  }`;
}

function forgettingFigure(rows: readonly FineTuning[], context: PageContext): Html {
  const full = rows.find(({ kind }) => kind === "full") ?? null;
  const seeds = Math.max(...rows.map(({ own }) => own.change.byCell.length));
  return figure({
    id: `${context.prefix}forgetting`,
    widths: [HALF, SLIM],
    title: findingOf(rows, full),
    subtitle: `Held-out loss after fine-tuning, from the same weights and in equal tokens: on the new text (${
      rows[0].own.data
    }), and by how much it rose on the one before (${
      rows[0].original.data
    }; 0: nothing forgotten). Mean and 95 % interval over ${
      count(seeds, "seed")
    }; dots are seeds. Peak: booked.`,
    draw: (size) =>
      dotRowsChart(
        rows.map((row) => dotRow(row, full)),
        [
          { name: "new text: loss after", format: (value) => formatNumber(value, 2), fromZero: false },
          {
            name: "old text: rise of the loss",
            format: (value) => formatNumber(value, 2),
            reference: 0,
          },
          { name: "booked peak, MiB", format: (value) => formatNumber(value) },
        ],
        { ours: "mean over seeds" },
        size,
      ),
    numbers: table(rows, columnsOf(context, full), { caption: "Fine-tuning, new and old text" }),
  });
}

function findingOf(rows: readonly FineTuning[], full: FineTuning | null): string {
  const rise = ({ original }: FineTuning) => original.change.interval.estimate;
  const adapters = rows.filter(({ kind }) => kind !== "full");
  const least = adapters.toSorted((a, b) => rise(a) - rise(b))[0];
  const signed = (value: number) => `${value > 0 ? "+" : ""}${formatNumber(value, 3)}`;
  if (!full || !least) {
    return `${capital(rows[0].configuration.label)} changes the old text's loss by ${signed(rise(rows[0]))}`;
  }
  return `Full fine-tuning moves the old text's loss by ${signed(rise(full))}, ${
    named(least.configuration.label)
  } by ${signed(rise(least))}`;
}

function dotRow({ configuration, own, original }: FineTuning, full: FineTuning | null): DotRow {
  const seeds = ({ byCell }: DomainLoss["after"]) => byCell.map(({ value }) => value);
  const bytes = configuration.memory?.bookedBytes ?? null;
  const mebibytes = bytes === null ? null : bytes / MIB;
  const less = full && full.configuration !== configuration
    ? seedwise(original.change, full.original.change)
    : null;
  return {
    label: configuration.label,
    cells: [
      {
        value: own.after.interval,
        text: formatNumber(own.after.interval.estimate, 3),
        seeds: seeds(own.after),
      },
      {
        value: original.change.interval,
        text: `${original.change.interval.estimate > 0 ? "+" : ""}${
          formatNumber(original.change.interval.estimate, 3)
        }`,
        seeds: seeds(original.change),
        isSame: less !== null && less.low <= 0 && less.high >= 0,
      },
      mebibytes === null ? { missing: "–" } : {
        value: exactly(mebibytes),
        text: formatNumber(mebibytes, 1),
      },
    ],
  };
}

function columnsOf(context: PageContext, full: FineTuning | null): Column<FineTuning>[] {
  const at = (domain: (row: FineTuning) => DomainLoss["after"]) => (row: FineTuning) => {
    const { byCell, interval } = domain(row);
    return traced(context, byCell[0].id, formatInterval(interval, 3));
  };
  return [
    { head: "fine-tuning", cell: ({ configuration }) => configurationLink(context, configuration) },
    figures(
      ["trained", "% of parameters"],
      ({ trainableShare }) => formatNumber(trainableShare === null ? null : trainableShare * 100, 2),
    ),
    figures("booked peak", ({ configuration }) => formatBytes(configuration.memory?.bookedBytes)),
    figures(
      ["throughput", "tokens/s"],
      ({ configuration }) => formatInterval(configuration.tokensPerSecond?.interval),
    ),
    figures("adapter on disk", ({ adapterBytes }) => formatBytes(adapterBytes)),
    figures(["new text before", "nats/token"], at(({ own }) => own.before)),
    figures("after", at(({ own }) => own.after)),
    figures(["old text before", "nats/token"], at(({ original }) => original.before)),
    figures("after", at(({ original }) => original.after)),
    figures("rise", at(({ original }) => original.change)),
    figures(
      ["rise, less full's", "seed by seed"],
      ({ original, kind }) =>
        full && kind !== "full" ? formatInterval(seedwise(original.change, full.original.change), 3) : "–",
    ),
  ];
}
