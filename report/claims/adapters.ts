/** C9, C11 and C12: adapters, over full and over quantized weights, and what they forget. */
import { trainsAdapters } from "../../results/methods.ts";
import { type Configuration, settingKey } from "../rows/configuration.ts";
import type { Analysis } from "../rows/analysis.ts";
import { memoryRatio, type Pair } from "../rows/pairs.ts";
import { fineTunings, seedwise, tuningKind } from "../rows/fine_tuning.ts";
import { formatBytes, formatInterval } from "../words/format.ts";
import { methodName } from "../words/names.ts";
import { LORA } from "./paper.ts";
import { type Claim, type Finding, verdictOn } from "./claim.ts";
import type { LossOf } from "./ledger.ts";
import { comparison, percentText } from "./words.ts";

/** The matrices the paper names, and the default. */
const USUAL_TARGETS = "query-value";
const QUANTIZED = ["qlora-nf4", "qlora-int8"];

/** Pairs that differ in how the base is tuned alone, those with adapters on query and value first. */
function tuningPairs({ trained }: Analysis, from: string, to: string): Pair[] {
  const others = ({ config }: Configuration) =>
    config.methods.filter((method) => method !== tuningKind({ config } as Configuration)).sort().join();
  const isOn = (kind: string) => (one: Configuration) =>
    tuningKind(one) === kind && one.config.optimizer === "adamw";
  const bases = trained.filter(isOn(from));
  const isUsual = ({ config }: Configuration) =>
    Object.values(config.methodOptions).every(({ targets }) => (targets ?? USUAL_TARGETS) === USUAL_TARGETS)
      ? 1
      : 0;
  return trained.filter(isOn(to)).flatMap((changed): Pair[] => {
    const alike = bases.filter((one) =>
      settingKey(one) === settingKey(changed) && others(one) === others(changed)
    );
    const baseline = alike.toSorted((a, b) =>
      Number(b.phase === changed.phase) - Number(a.phase === changed.phase) || b.seeds.length - a.seeds.length
    )[0];
    return baseline ? [{ baseline, changed }] : [];
  }).toSorted((a, b) =>
    chained(b) - chained(a) || b.changed.seeds.length - a.changed.seeds.length ||
    isUsual(b.changed) - isUsual(a.changed)
  );
}

/** Adapters over random weights tell of memory alone. */
const chained = ({ changed }: Pair) => changed.config.startFrom === null ? 0 : 1;

/** Where adapters over random, or over saved, weights are drawn. */
const sectionOf = (pair: Pair) => chained(pair) ? "fine-tuning" : "trade-off";

export const C9: Claim = {
  id: "C9",
  claim:
    "LoRA trains 0.1 to 1 % of the parameters and needs about four times less memory; adapters are swapped",
  paper: "0.1 to 1 %, about 4×",
  rule:
    "A trainable share within 0.1 to 1 %, at least 3.5× less booked memory than full fine-tuning (which rounds to 4), and an " +
    "adapter saved by itself. Partly: some of the three.",
  untested: "needs a cell with LoRA beside full fine-tuning",
  examine(analysis) {
    const [pair] = tuningPairs(analysis, "full", "lora");
    const [cell] = pair?.changed.ok ?? [];
    if (!pair || !cell.parameters || cell.trainableParameters === null) return null;
    const share = cell.trainableParameters / cell.parameters;
    const ratio = memoryRatio(pair) ?? 0;
    const bytes = pair.changed.ok.find(({ adapterBytes }) => adapterBytes !== null)?.adapterBytes ?? null;
    const isSmall = share >= LORA.shareLow && share <= LORA.shareHigh;
    const large = analysis.planned.find(({ config, ok: [cell] }) =>
      trainsAdapters(config.methods) && cell?.parameters && cell.trainableParameters
    )?.ok[0];
    const planned = large
      ? `; planned for ${large.config.model}: ${
        percentText(large.trainableParameters! / large.parameters!)
      } trained`
      : "";
    return {
      comparisons: [pair],
      judge: (loss) => ({
        outcome: verdictOn(isSmall, ratio >= LORA.memoryRatioLow, bytes !== null),
        ours: `${pair.changed.label}: ${percentText(share)} trained, ${comparison(pair, loss)}, adapter ${
          bytes === null ? "not saved" : `of ${formatBytes(bytes)}`
        }${planned}`,
        cells: [pair.baseline, pair.changed],
        section: sectionOf(pair),
      }),
    };
  },
};

export const C11: Claim = {
  id: "C11",
  claim: "QLoRA, LoRA over a quantized base, fits constrained devices",
  paper: "no figure",
  rule:
    "With NF4 and with int8: fewer bytes of weights, a smaller booked peak than LoRA over an unquantized base, and a held-out " +
    "loss not shown to be worse over several seeds. Partly: some of these.",
  untested: "needs cells with LoRA and with QLoRA",
  examine(analysis) {
    const comparisons = QUANTIZED.flatMap((kind) => tuningPairs(analysis, "lora", kind).slice(0, 1));
    if (comparisons.length === 0) return null;
    return { comparisons, judge: (loss) => findingOn(comparisons, loss) };
  },
};

function findingOn(pairs: readonly Pair[], loss: LossOf): Finding {
  const judged = pairs.map((pair) => {
    const [theirs, ours] = [pair.baseline, pair.changed].map(({ memory }) => memory?.byRole.weights ?? 0);
    const difference = loss(pair);
    return {
      isLean: ours < theirs && (memoryRatio(pair) ?? 0) > 1,
      isGood: difference?.pValue != null && difference.outcome !== "worse",
      text: `${methodName(tuningKind(pair.changed))} against LoRA: weights ${formatBytes(theirs)} → ${
        formatBytes(ours)
      }, ${comparison(pair, loss)}`,
    };
  });
  const anyLean = judged.some(({ isLean }) => isLean);
  const all = judged.every(({ isLean, isGood }) => isLean && isGood) && pairs.length === QUANTIZED.length;
  return {
    outcome: all ? "reproduced" : anyLean ? "partly" : "not reproduced",
    ours: judged.map(({ text }) => text).join("; "),
    cells: [pairs[0].baseline, ...pairs.map(({ changed }) => changed)],
    section: sectionOf(pairs[0]),
  };
}

export const C12: Claim = {
  id: "C12",
  claim: "Fine-tuning few parameters reduces over-training and forgets less of the original domain",
  paper: "no figure",
  rule:
    "Full fine-tuning forgets (its loss on the original text rises, 95 % interval above 0), and each kind of adapter " +
    "forgets less, seed by seed, with the 95 % interval of the difference below 0. Partly: some kinds, or less by the means " +
    "alone (too few seeds).",
  untested:
    "needs fine-tuning from saved weights with several seeds, evaluated on the original text (suites/finetune.yaml)",
  examine(analysis) {
    const tunings = fineTunings(analysis);
    const full = tunings.find(({ kind }) => kind === "full");
    const adapters = tunings.filter(({ kind, configuration }) =>
      kind !== "full" && configuration.phase === full?.configuration.phase
    );
    if (!full || adapters.length === 0) return null;
    const cells = [full, ...adapters].map(({ configuration }) => configuration);
    const rise = full.original.change;
    const riseText = `full fine-tuning changes the loss on ${full.original.data} by ${
      formatInterval(rise.interval, 3)
    }`;
    if (rise.interval.estimate <= 0) {
      const ours = `${riseText}: it did not forget, so nothing was left to reduce`;
      return { outcome: "not tested here", ours, cells, section: "fine-tuning" };
    }
    const isSingle = rise.byCell.length < 2;
    const isShown = !isSingle && rise.interval.low > 0;
    const differences = adapters.map((one) => ({ one, less: seedwise(one.original.change, rise) }));
    const texts = differences.map(({ one, less }) =>
      `${one.configuration.label} ${formatInterval(one.original.change.interval, 3)} (${
        less ? formatInterval(less, 3) : "no common seeds"
      } against full)`
    );
    const rises = adapters.map(({ original }) => original.change.interval.estimate);
    return {
      outcome: isShown
        ? verdictOn(...differences.map(({ less }) => less !== null && less.high < 0))
        : rises.some((one) => one < rise.interval.estimate)
        ? "partly"
        : "not reproduced",
      ours: `${riseText}; ${texts.join("; ")}${
        isSingle
          ? "; a single seed, no interval"
          : isShown
          ? ""
          : "; what full fine-tuning forgot lies inside the noise"
      }`,
      cells,
      section: "fine-tuning",
    };
  },
};
