/** C13 to C15: the batch size first, the training loop, the three stages. */
import type { CellRecord } from "../../results/record.ts";
import type { Configuration } from "../rows/configuration.ts";
import { chainOf, lossesOn } from "../rows/fine_tuning.ts";
import { intervalOf, meanInterval, sumOfMeans } from "../../results/intervals.ts";
import { BEYOND_CONFIDENCE, lossMargin, MARGINS } from "../../results/margins.ts";
import { ratioOf } from "../../results/measured.ts";
import { bestPerSetting, type Pair, pairsOf } from "../rows/pairs.ts";
import { count, formatInterval, formatNumber, formatSignificant } from "../words/format.ts";
import {
  type Axis,
  type Claim,
  differenceAxis,
  type Finding,
  measuredAxis,
  plainAxis,
  qualityAxis,
  untested,
} from "./claim.ts";
import { atMost, between } from "./decide.ts";
import { lossText, settingName } from "./words.ts";

const CONFIDENCE = MARGINS.confidence.value;

export const C13: Claim = {
  id: "C13",
  claim: "Find the batch size that gives the best results first, then choose methods",
  paper: "no figure",
  source: "multiples of 8 and 64: the guide's and NVIDIA's",
  rule:
    "The batch size matters: between the smallest and the largest of the sweep, throughput differs by more than " +
    `${
      MARGINS.throughput.value * 100
    } %, and held-out loss at equal tokens by more than its margin, each by an interval outside ` +
    "of that, at 95 % since there are two sides to it; an interval inside refutes it. Two sizes are compared, " +
    "named before the run, not the best of several.",
  untested: "needs a batch-size sweep",
  examine({ sweep, loaded: { run } }) {
    const rows = sweep?.rows.filter(({ configuration }) => configuration.ok.length > 0) ?? [];
    if (!sweep || rows.length < 2) return null;
    const [first, last] = [rows[0], rows.at(-1)!];
    const rate = (confidence: number) => ratioOf(last.tokensPerSecond, first.tokensPerSecond, confidence);
    const difference = first.heldOut && last.heldOut && sumOfMeans([
      { weight: 1, values: last.heldOut.byProcess },
      { weight: -1, values: first.heldOut.byProcess },
    ]);
    const loss = (confidence: number) => difference && intervalOf(difference, confidence);
    const { nats } = lossMargin(run.decisions, first.configuration.config);
    const held = 1 - MARGINS.throughput.value;
    const chosen = sweep.decision
      ? `${sweep.decision.chosen} chosen: ${sweep.decision.reason}`
      : "none chosen";
    const throughput = differenceAxis("throughput", rate(CONFIDENCE), between(held, 1 / held), {
      beyond: rate(BEYOND_CONFIDENCE),
    });
    const quality = differenceAxis("quality", loss(CONFIDENCE), between(-nats, nats), {
      unit: "nats",
      beyond: loss(BEYOND_CONFIDENCE),
    });
    const text = ({ figure }: Axis, places: number) => figure ? formatInterval(figure, places) : "–";
    return untested([{
      setting: `${settingName(first.configuration)} to ${last.batch}`,
      axes: [throughput, quality],
      ours: `${last.configuration.label} against ${first.configuration.label}: throughput × ${
        text(throughput, 2)
      }, held-out loss ${text(quality, 3)}; ${chosen}`,
      cells: rows.map(({ configuration }) => configuration),
      section: "batch-sweep",
    }]);
  },
};

export const C14: Claim = {
  id: "C14",
  claim: "The loop: a loader (distributed over several GPUs), loss ÷ steps, update, zero gradients",
  paper: "described, not measured",
  source: null,
  rule:
    "By construction: from the same weights and data, accumulation gives the large batch's loss at the first step (to f32 " +
    "rounding), and none that is higher by the margin at the end. Several devices are not tested here: an engine run has one.",
  untested: "needs a cell with accumulation beside the baseline",
  examine(analysis) {
    const pairs = bestPerSetting(pairsOf(analysis, { methods: [], accumulates: true }));
    if (pairs.length === 0) return null;
    return {
      comparisons: pairs,
      judge: (loss) =>
        pairs.map((pair): Finding => {
          const first = firstStepGap(pair);
          const firstText = first === null
            ? "not comparable with"
            : first === 0
            ? "equal to the bit to"
            : `${formatSignificant(first * 100, 2)} % from`;
          const last = qualityAxis(loss(pair));
          return {
            setting: settingName(pair.changed),
            axes: [
              plainAxis("first step", first === null ? null : first <= MARGINS.firstStep.value, {
                weight: "by construction",
              }),
              plainAxis("last step", last.answer !== "no", { weight: "by construction" }),
              plainAxis("several devices", null, { weight: "reported", why: "not tested here: one device" }),
            ],
            ours: `first step's loss ${firstText} the large batch's, ${
              lossText(loss(pair))
            }; records are of one device`,
            cells: [pair.baseline, pair.changed],
            section: "ladder",
          };
        }),
    };
  },
};

/** Largest relative difference between first training losses, seed by seed; null without common seeds. */
function firstStepGap({ baseline, changed }: Pair): number | null {
  const firsts = new Map(baseline.ok.map((cell) => [cell.config.seed, cell.samples?.loss[0] ?? null]));
  const gaps = changed.ok.flatMap((cell) => {
    const [ours, theirs] = [cell.samples?.loss[0] ?? null, firsts.get(cell.config.seed) ?? null];
    return ours === null || theirs === null ? [] : [Math.abs(ours - theirs) / Math.abs(theirs)];
  });
  return gaps.length > 0 ? Math.max(...gaps) : null;
}

export const C15: Claim = {
  id: "C15",
  claim:
    "Three stages: a base model on unlabelled text, self-study on prepared data, then training by experts' preferences (RLHF)",
  paper: "described, not measured",
  source: null,
  rule:
    "Cells that start from each other's weights, three in a row, each of which lowers the held-out loss on its own text by more than " +
    "the margin: the mean over seeds with its interval, never one seed. Each chain of labels is a setting. A stage of " +
    "preferences is missing here: the last one is a text.",
  untested: "needs cells that start from the weights of others (suites/finetune.yaml)",
  examine({ configurations, loaded }) {
    const cells = configurations.flatMap(({ ok }) => ok);
    const chains = cells.map((cell) => chainOf(cell, cells)).filter((chain) => chain.length > 1);
    if (chains.length === 0) return null;
    const longest = Math.max(...chains.map((chain) => chain.length));
    const owner = (cell: CellRecord) => configurations.find(({ ok }) => ok.includes(cell))!;
    const named = Object.groupBy(
      chains.filter((chain) => chain.length === longest),
      (chain) => chain.map((cell) => owner(cell).key).join("\n"),
    );
    const failed =
      loaded.cells.filter(({ config, status }) => config.startFrom !== null && status !== "ok").length;
    return untested(
      Object.values(named).map((group): Finding => {
        const [example] = group!;
        const stages = example.map((cell, i) => stageOf(owner(cell), group!.map((chain) => chain[i]), cells));
        const axes = stages.map(({ owner: { config, label }, change }) =>
          measuredAxis(label, change, atMost(-lossMargin(loaded.run.decisions, config).nats), {
            unit: "nats",
          })
        );
        const isWhole = longest >= 3;
        return {
          setting: example.map(({ label }) => label).join(" → "),
          axes: [
            ...axes,
            plainAxis("three stages", isWhole ? true : null, { why: isWhole ? "" : "two stages" }),
          ],
          ours: stages.map(({ owner: { label, config }, change, from, to }) =>
            `${label} (${formatNumber(from, 2)} to ${formatNumber(to, 2)} on ${config.data}, ${
              change ? formatInterval(change, 3) : "no start known"
            })`
          ).join(" → ") + (failed > 0 ? `; ${count(failed, "stage")} failed` : ""),
          cells: example.map(owner),
          section: "fine-tuning",
        };
      }),
    );
  },
};

/** What a stage did to the loss on its own text, one value a seed. */
function stageOf(owner: Configuration, stages: readonly CellRecord[], cells: readonly CellRecord[]) {
  const bySeed = new Map(
    stages.flatMap((cell) => {
      const losses = ends(cell, cells);
      return losses ? [[cell.config.seed, losses] as const] : [];
    }),
  );
  const known = [...bySeed.values()];
  if (known.length === 0) return { owner, change: null, from: null, to: null };
  const change = meanInterval(known.map(([before, after]) => after - before), CONFIDENCE);
  const [from, to] = [0, 1].map((end) => meanInterval(known.map((one) => one[end])).estimate);
  return { owner, change, from, to };
}

/** Loss on its own text before and after a stage; a model from nothing begins with its first step's. */
function ends(cell: CellRecord, cells: readonly CellRecord[]): [number, number] | null {
  const losses = lossesOn(cell, cell.config.data, cells);
  const before = losses?.before ?? (cell.config.startFrom === null ? cell.samples?.loss[0] : null) ?? null;
  return losses && before !== null ? [before, losses.after] : null;
}
