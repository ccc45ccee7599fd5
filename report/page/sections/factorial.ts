import { heatMapChart, rowName } from "../../charts/heat_map.ts";
import { heatMapOf } from "../../rows/heat_map.ts";
import type { Analysis } from "../../rows/analysis.ts";
import type { Configuration } from "../../rows/configuration.ts";
import { differs } from "../../../results/measured.ts";
import {
  type Factorial,
  factorialOf,
  type Interaction,
  interactions,
  type MainEffect,
  mainEffects,
} from "../../rows/effects.ts";
import { figure } from "../figure.ts";
import { capital, listed } from "../../words/text.ts";
import { count, formatBytes, formatInterval, formatNumber, formatRatio } from "../../words/format.ts";
import { type Html, markup } from "../html.ts";
import { combinationName } from "../../words/names.ts";
import { type Column, figures, table } from "../table.ts";
import { judged, type PageContext, section, traced } from "./context.ts";

/** All combinations: what each method does alone and beside others, and which get in each other's way. */
export function factorialSection({ configurations }: Analysis, context: PageContext): Html | null {
  const factorial = factorialOf(configurations);
  if (!factorial) return null;
  const effects = mainEffects(factorial);
  const pairs = interactions(factorial).filter(({ n }) => n > 0);
  const failed = factorial.failed > 0
    ? ` ${count(factorial.failed, "combination")} did not run to the end and ${
      factorial.failed === 1 ? "is" : "are"
    } left out of the means.`
    : "";
  return section(
    context,
    "factorial",
    "Combinations",
    markup`${heatMap(factorial, configurations, context)}
<div class="duo"><div><h4 id="${context.prefix}effects">${effectsFinding(effects)}</h4>
<p class="muted">${
      compared(factorial)
    } Times: 95 % interval from the spread that the cells share between their rounds, grey where it holds 1.${failed}</p>
${effectsTable(effects)}</div>
<div><h4 id="${context.prefix}interactions">${interactionFinding(pairs)}</h4>
<p class="muted">Each with the other off, then both, over all choices of the rest. <em>Left of the product</em>: memory saved together, as a share of what both would save if neither knew of the other (1: independent). <em>Overlap</em>: together more than either alone, but less than the product. <em>Cancel</em>: together no more than the better one alone. ${
      count(pairs.length, "pair")
    } ${pairs.length === 1 ? "is" : "are"} looked at; intervals of time are not corrected for that.</p>
${interactionsTable(pairs)}</div></div>`,
  );
}

/** What is compared with what. */
function compared({ isFraction, cells }: Factorial): string {
  return isFraction
    ? `Half of all combinations, ${
      count(cells.length, "cell")
    }, chosen so that those with a method and those without, and those with a pair, have the same other methods beside them: ratios of their geometric means. What three or more methods do together is not told apart. Memory is booked, so exact.`
    : "Geometric means over pairs of cells that differ in the one method alone (contrasts on logarithms), so alone and beside every choice of the others. Memory is booked, so exact; in brackets the smallest and the largest saving met.";
}

function heatMap(
  factorial: Factorial,
  configurations: readonly Configuration[],
  context: PageContext,
): Html | null {
  const map = heatMapOf(factorial);
  if (!map) return null;
  const cells = map.cells.flatMap((row) => row.flatMap((cell) => cell ?? []));
  const ran = configurations.filter(({ memory }) => memory?.bookedBytes != null);
  const alike = ran.filter(({ memory }) => memory!.bookedBytes === memory!.plannedBytes).length;
  const agreement = alike === ran.length
    ? "booked equals planned in every configuration that ran"
    : `booked equals planned in ${alike} of ${ran.length} configurations that ran, so read it with care`;
  const planned = cells.filter(({ cell }) => cell.isPlanned).length;
  const base = map.timeBase?.configuration.config;
  const timeBase = base && combinationName(base) !== combinationName(cells[0].cell.configuration.config)
    ? ` Throughput is compared with ${combinationName(base)}, the timed combination with least switched on.`
    : "";
  const best = cells.reduce((a, b) => (b.memory ?? 0) > (a.memory ?? 0) ? b : a);
  const timed = cells.filter(({ throughput }) => throughput !== null);
  const top = timed.toSorted((a, b) => b.throughput! - a.throughput!)[0];
  const fastest = top
    ? `; fastest is ${combinationName(top.cell.configuration.config)}, ${
      formatRatio(top.throughput)
    } the throughput`
    : "; no combination was timed here";
  return figure({
    id: `${context.prefix}heat-map`,
    title: `${capital(combinationName(best.cell.configuration.config))} needs least memory, ${
      formatRatio(best.memory)
    } less${fastest}`,
    subtitle: `Ratios to the combination with nothing switched on, ${
      count(cells.length, "combination")
    } at one effective batch: booked peak (left), median throughput (right). Blue is better, orange worse, full strength a factor of four. Filled dots: switched on.${
      planned > 0
        ? ` Italic: ${
          count(planned, "combination")
        } that a stated rule left out of the run, with planned memory (${agreement}) and no time.`
        : ""
    }${timeBase} Rows: optimizer and precision (${listed(map.rows.map(rowName).slice(0, 2))}, …).`,
    draw: (size) => heatMapChart(map, size),
    numbers: table(cells, [
      {
        head: "combination",
        cell: ({ cell: { configuration } }) =>
          traced(context, configuration.cells[0].id, combinationName(configuration.config)),
      },
      figures("booked peak", ({ cell }) => formatBytes(cell.bytes)),
      { head: "", cell: ({ cell }) => cell.isPlanned ? "planned" : "" },
      figures(["less memory", "×"], ({ memory }) => formatNumber(memory, 2)),
      figures(
        ["throughput", "tokens/s"],
        ({ cell }) => formatInterval(cell.configuration.tokensPerSecond?.interval),
      ),
      figures(["throughput", "×"], ({ throughput }) => formatNumber(throughput, 2)),
    ], { caption: "Combinations of the factorial" }),
  });
}

function effectsFinding(effects: readonly MainEffect[]): string {
  const known = effects.filter(({ memory }) => memory);
  if (known.length === 0) return "No method has a pair of cells to compare";
  const leanest = known.reduce((a, b) => b.memory!.ratio.estimate > a.memory!.ratio.estimate ? b : a);
  const { treatment: { name }, memoryAlone, memory } = leanest;
  const alone = memoryAlone === null ? "" : `${formatRatio(memoryAlone)} alone, `;
  return `${capital(name)} saves most memory: ${alone}${
    formatRatio(memory!.ratio.estimate)
  } on average beside other methods`;
}

function effectsTable(effects: readonly MainEffect[]): Html {
  const columns: Column<MainEffect>[] = [
    { head: "method", cell: ({ treatment }) => treatment.name },
    figures(["less memory alone", "×"], ({ memoryAlone }) => formatNumber(memoryAlone, 2)),
    figures(
      ["less memory beside others", "×, smallest to largest"],
      ({ memory }) =>
        memory
          ? formatNumber(memory.ratio.estimate, 2) +
            (memory.range
              ? ` (${formatNumber(memory.range.smallest, 2)} to ${formatNumber(memory.range.largest, 2)})`
              : "")
          : "–",
    ),
    figures(
      ["time alone", "×"],
      ({ timeAlone }) => judged({ text: formatInterval(timeAlone, 2), isDifferent: differs(timeAlone) }),
    ),
    figures(
      ["time beside others", "×"],
      ({ time }) =>
        judged({ text: formatInterval(time?.ratio, 2), isDifferent: differs(time?.ratio ?? null) }),
    ),
    figures("cells with it", ({ memory, time }) => formatNumber(memory?.n ?? time?.n ?? 0)),
  ];
  return table(effects, columns, { caption: "Main effects" });
}

function interactionFinding(pairs: readonly Interaction[]): string {
  const names = ({ a, b }: Interaction) => `${a.name} with ${b.name}`;
  const of = (words: string) => pairs.filter(({ memory }) => memory?.words === words).map(names);
  const [cancel, overlap] = [of("cancel"), of("overlap")];
  if (cancel.length > 0) {
    return `${count(cancel.length, "pair")} ${cancel.length === 1 ? "cancels" : "cancel"}: ${listed(cancel)}`;
  }
  if (overlap.length === 0) return "No pair of methods gets in the other's way";
  const worst = pairs.filter(({ memory }) => memory).toSorted((a, b) => a.memory!.share - b.memory!.share)[0];
  return `No pair cancels; ${count(overlap.length, "pair")} of ${pairs.length} overlap, most ${names(worst)}`;
}

function interactionsTable(pairs: readonly Interaction[]): Html {
  const memory = (of: (memory: NonNullable<Interaction["memory"]>) => string) => ({ memory }: Interaction) =>
    memory ? of(memory) : "–";
  const columns: Column<Interaction>[] = [
    { head: "first, second", cell: ({ a, b }) => `${a.name}, ${b.name}` },
    figures(["less memory: first", "×"], memory(({ a }) => formatNumber(a, 2))),
    figures(["second", "×"], memory(({ b }) => formatNumber(b, 2))),
    figures(["both", "×"], memory(({ both }) => formatNumber(both, 2))),
    figures("left of product", memory(({ share }) => formatNumber(share, 2))),
    { head: "memory", cell: memory(({ words }) => words) },
    figures(
      ["time, of product", "×"],
      ({ time }) =>
        judged({ text: formatInterval(time?.share, 2), isDifferent: differs(time?.share ?? null) }),
    ),
  ];
  return table(pairs, columns, {
    caption: "Interactions of two methods",
    kind: "dense",
    strong: ({ memory }) => memory?.words === "cancel",
  });
}
