/**
 * What run folders say, for programs and for the terminal: the same verdicts as on the page, without it. The
 * keys of the document are stable; `version` grows where one changes its meaning.
 */
import { type Static, Type } from "typebox";
import { InputError } from "../engine/input_error.ts";
import { loadRun } from "../results/load.ts";
import { CELL_KINDS, type CellRecord } from "../results/record.ts";
import { cellId, mapOf, orNull } from "../results/schema_parts.ts";
import type { Interval } from "../results/stats.ts";
import { OUTCOMES, WEIGHTS } from "./claims/claim.ts";
import { allOf, type Answer, ANSWERS } from "./claims/decide.ts";
import { type ClaimVerdict, judge, type Judgement } from "./claims/judge.ts";
import { settingName } from "./claims/words.ts";
import { comparedRows } from "./page/markdown.ts";
import { driftCaution, verdictOf } from "./page/verdict.ts";
import { analyse, type Analysis } from "./rows/analysis.ts";
import type { Configuration } from "./rows/configuration.ts";
import { equalTokens, heldOutLosses } from "./rows/held_out.ts";
import { isAlone } from "../results/intervals.ts";
import { MARGINS } from "../results/margins.ts";
import { type Measured, ratioOf } from "../results/measured.ts";
import { gapsOf } from "./rows/gaps.ts";
import { observedParts } from "./rows/memory.ts";
import { groupRuns } from "./rows/merge.ts";
import { count, formatBytes, formatCompact, formatNumber, formatRatio } from "./words/format.ts";
import { printable } from "./words/text.ts";

/** Version of the document. */
export const ANSWER_VERSION = 1;

const text = (description?: string) => Type.String({ description });
const number = (description?: string) => Type.Number({ description });

const IntervalAnswer = Type.Object({
  estimate: number(),
  low: orNull(number(), "Null where one process or seed stands behind it."),
  high: orNull(number()),
  n: orNull(number(), "Processes or seeds, of the side with fewer; null for a figure without noise."),
});

const AxisAnswer = Type.Object({
  axis: text(),
  answer: Type.Enum(ANSWERS),
  weight: Type.Enum(WEIGHTS, { description: "Whether the verdict hangs on it." }),
  figure: orNull(IntervalAnswer, "With the interval that decided, of `confidence`."),
  unit: text("`×`, `nats`, `GB`, …; empty where there is no figure."),
  region: orNull(
    Type.Object({ low: orNull(number()), high: orNull(number()) }),
    "Where the figure has to lie; for a claimed difference, where it must not.",
  ),
  why: text("Why it cannot be told, or what the answer rests on; may be empty."),
  model: orNull(text(), "Model that it was measured on, where it is another than the setting's."),
  needed: orNull(number(), "Processes or seeds that would have decided, about."),
});

export const ReportAnswer = Type.Object({
  version: Type.Literal(ANSWER_VERSION),
  confidence: number("Of the intervals that verdicts hang on."),
  margins: mapOf(Type.Object({ name: text(), value: number(), reason: text() }), "Set before the run."),
  runs: Type.Array(Type.Object({
    run: text("Name of the folder; of several suites of one adapter that were put together, all of them."),
    suite: text(),
    tier: text(),
    quick: Type.Boolean(),
    adapter: text(),
    commit: orNull(text()),
    verdict: text("The page's first sentence."),
    caution: orNull(text(), "That the machine did not keep its speed, and by how much; null where it did."),
  })),
  claims: Type.Array(Type.Object({
    run: text(),
    id: text(),
    claim: text(),
    verdict: Type.Enum(OUTCOMES),
    says: text("The verdict with the settings it holds in."),
    axes: mapOf(Type.Enum(ANSWERS), "By axis, over settings: yes where all say so, no where one does."),
    paper: text("The paper's own figures."),
    source: orNull(text(), "What others say."),
    rule: text(),
    ours: text(),
    settings: Type.Array(Type.Object({
      setting: text(),
      verdict: Type.Enum(OUTCOMES),
      axes: Type.Array(AxisAnswer),
      cells: Type.Array(cellId()),
    })),
    cells: Type.Array(cellId()),
  })),
  configurations: Type.Array(Type.Object({
    run: text(),
    phase: text(),
    label: text(),
    kind: Type.Enum(CELL_KINDS),
    setting: text(),
    methods: Type.Array(text()),
    optimizer: text(),
    microBatchSize: number(),
    gradientAccumulationSteps: number(),
    learningRate: number(),
    statuses: mapOf(number(), "Cells by how they ended."),
    seeds: Type.Array(number()),
    processes: number("Processes that its times come from."),
    plannedPeakBytes: orNull(number()),
    bookedPeakBytes: orNull(number()),
    observedPeakBytes: orNull(number(), "Median over cells."),
    observedParts: orNull(
      mapOf(number()),
      "Bytes of context, kernels, booked and rest of one cell; null where its record does not say.",
    ),
    bytesByRole: orNull(mapOf(number())),
    tokensPerSecond: orNull(IntervalAnswer, "95 % interval over processes."),
    stepMs: orNull(IntervalAnswer),
    heldOutLoss: orNull(IntervalAnswer, "After the tokens that all of its phase have trained, over seeds."),
    memoryRatio: orNull(number(), "Baseline's booked peak ÷ its own; null for other settings."),
    throughputRatio: orNull(IntervalAnswer, "Its throughput ÷ the baseline's, 95 %."),
    cells: Type.Array(cellId()),
  })),
}, { description: "What `report RUN... --json` prints." });
export type ReportAnswer = Static<typeof ReportAnswer>;

interface Judged {
  analysis: Analysis;
  judgement: Judgement;
}

async function judged(runDirs: readonly string[]): Promise<Judged[]> {
  if (runDirs.length === 0) {
    throw new InputError("Cannot judge no runs: expected one run folder or more");
  }
  const runs = [];
  for (const dir of runDirs) runs.push({ loaded: await loadRun(dir), rawBase: dir });
  return groupRuns(runs).map(({ loaded }) => {
    const analysis = analyse(loaded);
    return { analysis, judgement: judge(analysis) };
  });
}

/**
 * The records of run folders as one document. The same records give the same document.
 *
 * @throws {InputError} where a folder is no run, or a record is not what its version says.
 */
export async function answerOf(runDirs: readonly string[]): Promise<ReportAnswer> {
  const groups = await judged(runDirs);
  return {
    version: ANSWER_VERSION,
    confidence: MARGINS.confidence.value,
    margins: { ...MARGINS },
    runs: groups.map(({ analysis, judgement }) => {
      const { loaded: { name, run } } = analysis;
      return {
        run: name,
        suite: run.suite,
        tier: run.tier,
        quick: run.quick,
        adapter: run.environment.adapter,
        commit: run.environment.commit,
        verdict: verdictOf(analysis, judgement).sentence,
        caution: driftCaution(analysis)?.sentence ?? null,
      };
    }),
    claims: groups.flatMap(({ analysis: { loaded: { name } }, judgement: { verdicts } }) =>
      verdicts.map((verdict) => claimAnswer(name, verdict))
    ),
    configurations: groups.flatMap(({ analysis }) => configurationAnswers(analysis)),
  };
}

function intervalAnswer(interval: Interval | null | undefined): Static<typeof IntervalAnswer> | null {
  if (!interval || !Number.isFinite(interval.estimate)) return null;
  const { estimate, low, high, n = null } = interval;
  const end = (value: number) => isAlone(interval) || !Number.isFinite(value) ? null : value;
  return { estimate, low: end(low), high: end(high), n };
}

function claimAnswer(run: string, verdict: ClaimVerdict): ReportAnswer["claims"][number] {
  const { id, claim, outcome, says, paper, source, rule, ours, settings, cells } = verdict;
  const byAxis = Object.groupBy(settings.flatMap(({ axes }) => axes), ({ axis }) => axis);
  const axes = Object.entries(byAxis).map(([axis, found]): [string, Answer] => [
    axis,
    allOf(found!.map(({ answer }) => answer)),
  ]);
  return {
    run,
    id,
    claim,
    verdict: outcome,
    says,
    axes: Object.fromEntries(axes),
    paper,
    source,
    rule,
    ours,
    settings: settings.map((one) => ({
      setting: one.setting,
      verdict: one.outcome,
      axes: one.axes.map((axis) => ({ ...axis, figure: intervalAnswer(axis.figure) })),
      cells: one.cells,
    })),
    cells,
  };
}

function configurationAnswers(analysis: Analysis): ReportAnswer["configurations"] {
  const { configurations, planned, baseline, loaded } = analysis;
  const all = [...configurations, ...planned];
  const losses = new Map<Configuration, Measured | null>();
  for (const phase of Object.values(Object.groupBy(all, ({ phase }) => phase))) {
    heldOutLosses(phase!, equalTokens(phase!)).forEach((loss, i) => losses.set(phase![i], loss));
  }
  return all.map((one) => {
    const { config, memory, ok, cells, tokensPerSecond } = one;
    const isAlike = baseline !== null && settingName(one) === settingName(baseline);
    const [ours, theirs] = [memory?.bookedBytes, baseline?.memory?.bookedBytes];
    return {
      run: loaded.name,
      phase: one.phase,
      label: one.label,
      kind: one.kind,
      setting: settingName(one),
      methods: config.methods,
      optimizer: config.optimizer,
      microBatchSize: config.microBatchSize,
      gradientAccumulationSteps: config.gradientAccumulationSteps,
      learningRate: config.learningRate,
      statuses: statusesOf(cells),
      seeds: one.seeds,
      processes: tokensPerSecond?.byProcess.size ?? 0,
      plannedPeakBytes: memory?.plannedBytes ?? null,
      bookedPeakBytes: memory?.bookedBytes ?? null,
      observedPeakBytes: memory?.observed?.estimate ?? null,
      observedParts: partsOf(one),
      bytesByRole: memory ? { ...memory.byRole } : null,
      tokensPerSecond: intervalAnswer(tokensPerSecond?.interval),
      stepMs: intervalAnswer(one.stepMs?.interval),
      heldOutLoss: intervalAnswer(losses.get(one)?.interval),
      memoryRatio: isAlike && ours && theirs ? theirs / ours : null,
      throughputRatio: isAlike ? intervalAnswer(ratioOf(tokensPerSecond, baseline!.tokensPerSecond)) : null,
      cells: (ok.length > 0 ? ok : cells).map(({ id }) => id),
    };
  });
}

function partsOf(configuration: Configuration): Record<string, number> | null {
  const parts = observedParts(configuration);
  if (!parts) return null;
  const { context, kernels, booked, rest } = parts;
  return { context, kernels, booked, rest };
}

function statusesOf(cells: readonly CellRecord[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { status } of cells) counts[status] = (counts[status] ?? 0) + 1;
  return counts;
}

/** Columns of a terminal that the answer keeps to. */
const WIDTH = 80;

/**
 * The answer for a terminal, in 80 columns: the page's first sentence, a row a configuration, and a line a
 * phase for cells that have no figures.
 */
export async function answerText(runDirs: readonly string[]): Promise<string> {
  const groups = await judged(runDirs);
  return groups.map(({ analysis, judgement }) => {
    const drift = driftCaution(analysis);
    return [
      ...wrapped(plain(verdictOf(analysis, judgement).sentence)),
      "",
      ...drift ? [...wrapped(plain(drift.sentence)), ""] : [],
      ...tableOf(analysis),
      ...gapLines(analysis),
    ].join("\n");
  }).join("\n\n");
}

/** Text of a record as a terminal can show it: one line, no control characters. */
function plain(value: string): string {
  return printable(value).replace(/\s+/g, " ").trim();
}

function wrapped(sentence: string): string[] {
  const lines = [""];
  for (const word of sentence.split(" ")) {
    const line = lines.at(-1)!;
    if (line !== "" && line.length + 1 + word.length > WIDTH) lines.push(word);
    else lines[lines.length - 1] = line === "" ? word : `${line} ${word}`;
  }
  return lines;
}

const HEADS = ["configuration", "memory", "×", "tokens/s", "×", "loss"];

/** Configuration, booked peak and throughput with what they are to the first row, held-out loss. */
function tableOf(analysis: Analysis): string[] {
  const rows = comparedRows(analysis);
  if (rows.length === 0) return [];
  const [first] = rows;
  const losses = heldOutLosses(rows, equalTokens(rows));
  const cells = rows.map((row, i) => {
    const { memory, tokensPerSecond } = row;
    const [own, base] = [memory?.bookedBytes ?? memory?.plannedBytes, first.memory?.bookedBytes];
    const rate = ratioOf(tokensPerSecond, first.tokensPerSecond);
    const noise = rate && isAlone(rate) && row !== first ? "?" : "";
    return [
      plain(row.label),
      formatBytes(own),
      own && base ? formatRatio(base / own) : "–",
      row.ok.length > 0 ? formatCompact(tokensPerSecond?.interval.estimate) : row.cells[0].status,
      row === first ? formatRatio(1) : `${formatRatio(rate?.estimate)}${noise}`,
      formatNumber(losses[i]?.interval.estimate, 3),
    ].map((cell) => cell.replaceAll("\u202f", " "));
  });
  const widths = HEADS.map((head, i) => Math.max(head.length, ...cells.map((row) => row[i].length)));
  const others = widths.slice(1).reduce((sum, width) => sum + width + 2, 0);
  widths[0] = Math.min(widths[0], WIDTH - others);
  const line = (row: readonly string[]) =>
    row.map((cell, i) => i === 0 ? cut(cell, widths[0]).padEnd(widths[0]) : cell.padStart(widths[i])).join(
      "  ",
    );
  const hasUnknown = cells.some((row) => row[4].endsWith("?"));
  return [
    line(HEADS),
    ...cells.map(line),
    ...hasUnknown ? ["", "?: one process on a side, so that nothing is known of the noise"] : [],
  ];
}

/** `phase factorial: 12 cells not-run: pruned: the budget`, one line for each phase and kind of end. */
function gapLines({ loaded }: Analysis): string[] {
  const lines = gapsOf(loaded).map(({ phase, status, count: n, reasons }) => {
    const more = reasons.length > 1 ? `, and ${count(reasons.length - 1, "more reason")}` : "";
    const reason = reasons.length > 0 ? `: ${reasons[0]}` : "";
    return cut(plain(`phase ${phase}: ${count(n, "cell")} ${status}${reason}`), WIDTH - more.length) + more;
  });
  return lines.length > 0 ? ["", ...lines] : [];
}

function cut(value: string, width: number): string {
  return value.length <= width ? value : `${value.slice(0, width - 1)}…`;
}
