/** C13 to C15: the batch size first, the training loop, the three stages. */
import type { CellRecord } from "../../results/record.ts";
import type { Configuration } from "../rows/configuration.ts";
import { type Pair, pairsOf } from "../rows/pairs.ts";
import { chainOf, lossesOn } from "../rows/fine_tuning.ts";
import { differs } from "../rows/measured.ts";
import { count, formatNumber, formatRatio, formatSignificant } from "../words/format.ts";
import { type Claim, verdictOn } from "./claim.ts";
import { lossText } from "./words.ts";

export const C13: Claim = {
  id: "C13",
  claim: "The best batch size comes first: throughput and quality depend on it",
  paper: "multiples of 8, and of 64",
  rule:
    "The batch sizes of the sweep differ in throughput, and in held-out loss at equal tokens, beyond the noise. Partly: in one.",
  untested: "needs a batch-size sweep",
  examine({ sweep }) {
    const rows = sweep?.rows.filter(({ configuration }) => configuration.ok.length > 0) ?? [];
    if (!sweep || rows.length < 2) return null;
    const speedups = rows.map(({ speedup }) => speedup).filter((one) => one !== null);
    const isApart = speedups.some(differs);
    const losses = rows.flatMap(({ heldOut }) => heldOut && heldOut.values.length > 1 ? [heldOut] : []);
    const apart = losses.some((a) => losses.some((b) => a.interval.high < b.interval.low));
    const chosen = sweep.decision ? `${sweep.decision.chosen} chosen` : "none chosen";
    const fastest = speedups.length > 0 ? Math.max(...speedups.map(({ estimate }) => estimate)) : null;
    return {
      outcome: verdictOn(isApart, apart),
      ours: `${chosen}; fastest ${formatRatio(fastest)} the smallest batch's throughput${
        isApart ? "" : " (no difference)"
      }; held-out losses ${apart ? "differ" : "not shown to differ"}`,
      cells: rows.map(({ configuration }) => configuration),
      section: "batch-sweep",
    };
  },
};

export const C14: Claim = {
  id: "C14",
  claim:
    "The training loop: accumulation with the loss divided by the number of steps, several devices where there are several",
  paper: "described, not measured",
  rule:
    "From the same weights and data, accumulation gives the large batch's loss at the first step (to f32 rounding) and an " +
    "equivalent one at the end; and training runs on several devices. Partly: one device. Not reproduced: another loss at " +
    "the first step, or a worse one at the end.",
  untested: "needs a cell with accumulation beside the baseline",
  examine(analysis) {
    const [pair] = pairsOf(analysis, { methods: [], accumulates: true });
    if (!pair) return null;
    const first = firstStepGap(pair);
    const firstText = first === null
      ? "not comparable with"
      : first === 0
      ? "equal to the bit to"
      : `within ${formatSignificant(first * 1e6, 2)} millionths of`;
    return {
      comparisons: [pair],
      judge(loss) {
        const last = loss(pair);
        const isWrong = last?.outcome === "worse" || (first !== null && first > FIRST_STEP_TOLERANCE);
        return {
          outcome: isWrong ? "not reproduced" : "partly",
          ours: `first step's loss ${firstText} the large batch's, ${
            lossText(last)
          }; records are of one device`,
          cells: [pair.baseline, pair.changed],
          section: "ladder",
        };
      },
    };
  },
};

/** f32 sums of some thousand terms in another order: 2⁻²⁴ · √terms, with headroom. */
const FIRST_STEP_TOLERANCE = 1e-4;

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
  claim: "Three stages: base model, specialization on a domain, fine-tuning on a task",
  paper: "described, not measured",
  rule:
    "Cells that start from each other's weights, three in a row, each of which ends with a lower held-out loss on its own " +
    "text than it began with. Partly: two stages. Not reproduced: no chain learns at each of its stages.",
  untested: "needs cells that start from the weights of others (suites/finetune.yaml)",
  examine({ configurations, loaded }) {
    const cells = configurations.flatMap(({ ok }) => ok);
    const chains = cells.map((cell) => chainOf(cell, cells)).filter((chain) => chain.length > 1);
    if (chains.length === 0) return null;
    const learns = (cell: CellRecord) => {
      const losses = ends(cell, cells);
      return losses !== null && losses[1] < losses[0];
    };
    const longest = Math.max(...chains.map((chain) => chain.length));
    const whole = chains.filter((chain) => chain.length === longest);
    const learned = whole.filter((chain) => chain.every(learns));
    const anyLearned = chains.some((chain) => chain.every(learns));
    const example = learned[0] ?? whole[0];
    const owner = (cell: CellRecord) => configurations.find(({ ok }) => ok.includes(cell));
    const failed =
      loaded.cells.filter(({ config, status }) => config.startFrom !== null && status !== "ok").length;
    const steps = example.map((cell) => {
      const losses = ends(cell, cells);
      const text = losses &&
        ` (${formatNumber(losses[0], 2)} to ${formatNumber(losses[1], 2)} on ${cell.config.data})`;
      return cell.label + (text ?? "");
    }).join(" → ");
    return {
      outcome: longest >= 3 && learned.length > 0 ? "reproduced" : anyLearned ? "partly" : "not reproduced",
      ours: `${
        count(whole.length, "chain")
      } of ${longest} stages, ${learned.length} of which learn at each: ${steps}${
        failed > 0 ? `; ${count(failed, "stage")} failed` : ""
      }`,
      cells: example.map(owner).filter((one): one is Configuration => one !== undefined),
      section: "fine-tuning",
    };
  },
};

/** Loss on its own text before and after a stage; a model from nothing begins with its first step's. */
function ends(cell: CellRecord, cells: readonly CellRecord[]): [number, number] | null {
  const losses = lossesOn(cell, cell.config.data, cells);
  const before = losses?.before ?? (cell.config.startFrom === null ? cell.samples?.loss[0] : null) ?? null;
  return losses && before !== null ? [before, losses.after] : null;
}
