import { type DotRow, dotRowsChart } from "../../charts/dot_rows.ts";
import type { Analysis } from "../../rows/analysis.ts";
import { figure } from "../figure.ts";
import { capital, named } from "../../words/text.ts";
import { type DomainLoss, type FineTuning, fineTunings, seedwise } from "../../rows/fine_tuning.ts";
import { count, formatBytes, formatInterval, formatNumber } from "../../words/format.ts";
import type { Html } from "../html.ts";
import { type Column, figures, table } from "../table.ts";
import { configurationLink, type PageContext, section, traced } from "./context.ts";
import { MIB } from "../../../results/bytes.ts";
import { exactly } from "../../../results/stats.ts";

/** What was learned of the new text and forgotten of the old one, full fine-tuning beside adapters. */
export function fineTuningSection(analysis: Analysis, context: PageContext): Html | null {
  const rows = fineTunings(analysis);
  if (rows.length < 2) return null;
  const full = rows.find(({ kind }) => kind === "full") ?? null;
  const seeds = Math.max(...rows.map(({ own }) => own.change.byCell.length));
  return section(
    context,
    "fine-tuning",
    "Learning the new, keeping the old",
    figure({
      id: `${context.prefix}forgetting`,
      title: findingOf(rows, full),
      subtitle:
        `Held-out loss after fine-tuning, from the same weights and in equal tokens: on the new text (${
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
    }),
  );
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
