/** C9, C11, C12, C16 and C17: adapters, over full and over quantized weights, and what they forget. */
import { exactly, inverse } from "../../results/stats.ts";
import { trainsAdapters } from "../../results/methods.ts";
import type { Analysis } from "../rows/analysis.ts";
import type { Configuration } from "../rows/configuration.ts";
import { settingKey } from "../rows/configuration.ts";
import { fineTunings, seedwise, tuningKind } from "../rows/fine_tuning.ts";
import { lossMargin, MARGINS } from "../../results/margins.ts";
import { bestPerSetting, memoryRatio, type Pair, throughputRatio } from "../rows/pairs.ts";
import { formatBytes, formatInterval, formatNumber } from "../words/format.ts";
import { methodName } from "../words/names.ts";
import { type Claim, type Finding, measuredAxis, plainAxis, qualityAxis, untested } from "./claim.ts";
import { above, atLeast, atMost, below, between } from "./decide.ts";
import { LORA } from "./paper.ts";
import { comparison, percentText, pricesOf, settingName } from "./words.ts";

const CONFIDENCE = MARGINS.confidence.value;
const HELD = 1 - MARGINS.throughput.value;

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
  const pairs = trained.filter(isOn(to)).flatMap((changed): Pair[] => {
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
  // Adapters over random weights tell of memory alone: where there are others, those are left out.
  const best = bestPerSetting(pairs);
  return best.some((pair) => chained(pair) === 1) ? best.filter((pair) => chained(pair) === 1) : best;
}

const chained = ({ changed }: Pair) => changed.config.startFrom === null ? 0 : 1;

/** Where adapters over random, or over saved, weights are drawn. */
const sectionOf = (pair: Pair) => chained(pair) ? "fine-tuning" : "trade-off";

const shareOf = ({ ok: [cell] }: Configuration) =>
  cell?.parameters && cell.trainableParameters !== null ? cell.trainableParameters / cell.parameters : null;

const adapterBytesOf = ({ ok }: Configuration) =>
  ok.find(({ adapterBytes }) => adapterBytes !== null)?.adapterBytes ?? null;

/** Bytes of what is learned: gradients and states of the optimizer. */
const learningBytes = ({ memory }: Configuration) =>
  memory ? memory.byRole.gradients + memory.byRole.optimizer : null;

export const C9: Claim = {
  id: "C9",
  claim:
    "LoRA (W0 + BA, on query and value only) trains 0.1 to 1 % of the parameters; gradients and states shrink with them; adapters " +
    "are replaced to change the task",
  paper: "0.1 to 1 %",
  source: "peft: A uniform, scale alpha ÷ r (the paper: A normal)",
  rule:
    "A trainable share within 0.1 to 1 %, fewer bytes of gradients and states than full fine-tuning, and an adapter saved by " +
    "itself. Each model is a setting, planned ones among them. GPT-2's one matrix for query, key and value adapts the key too.",
  untested: "needs a cell with LoRA beside full fine-tuning",
  examine(analysis) {
    const pairs = tuningPairs(analysis, "full", "lora").filter(({ changed }) => shareOf(changed) !== null);
    if (pairs.length === 0) return null;
    const share = (one: Configuration) =>
      measuredAxis(
        "trained share",
        exactly(shareOf(one)! * 100),
        between(LORA.shareLow * 100, LORA.shareHigh * 100),
        {
          unit: "%",
        },
      );
    const planned = new Map(
      analysis.planned.filter((one) =>
        trainsAdapters(one.config.methods) && shareOf(one) !== null &&
        Object.values(one.config.methodOptions).every(({ targets, rank }) =>
          (targets ?? USUAL_TARGETS) === USUAL_TARGETS &&
          (typeof rank !== "number" || rank <= LARGEST_USUAL_RANK)
        )
      ).toReversed().map((one) => [one.config.model, one]),
    );
    return {
      comparisons: pairs,
      judge: (loss) => [
        ...pairs.map((pair): Finding => {
          const [less, more] = [learningBytes(pair.changed), learningBytes(pair.baseline)];
          const bytes = adapterBytesOf(pair.changed);
          return {
            setting: settingName(pair.changed),
            axes: [
              share(pair.changed),
              plainAxis("gradients and states", less === null || more === null ? null : less < more),
              plainAxis("adapter saved", bytes !== null, { why: bytes === null ? "none was saved" : "" }),
            ],
            ours: `${pair.changed.label}: ${
              percentText(shareOf(pair.changed)!)
            } trained, gradients and states ${formatBytes(more)} → ${formatBytes(less)}, ${
              comparison(pair, loss)
            }, adapter ${bytes === null ? "not saved" : `of ${formatBytes(bytes)}`}`,
            cells: [pair.baseline, pair.changed],
            section: sectionOf(pair),
          };
        }),
        ...[...planned.values()].map((one): Finding => ({
          setting: `${one.config.model}, planned`,
          axes: [share(one)],
          ours: `planned for ${one.config.model}: ${percentText(shareOf(one)!)} trained`,
          cells: [one],
          section: "plans",
        })),
      ],
    };
  },
};

/** Ranks of the LoRA paper's tables end here; larger ones are other experiments. */
const LARGEST_USUAL_RANK = 64;

export const C11: Claim = {
  id: "C11",
  claim:
    "QLoRA (spelled “Quantization-Aware LoRA”: QA-LoRA and QDyLoRA are cited) runs where resources are few, while performance is kept",
  paper: "no figure",
  source: "QLoRA (Dettmers 2023): NF4; tested here are NF4 and int8, not QA-LoRA",
  rule:
    "Against LoRA over an unquantized base, NF4 and int8 each a setting. Memory: fewer bytes of weights and a smaller booked peak. " +
    `Throughput: at least ${HELD}×. Quality: a held-out loss less than the margin higher.`,
  untested: "needs cells with LoRA and with QLoRA",
  examine(analysis) {
    const comparisons = QUANTIZED.flatMap((kind) => tuningPairs(analysis, "lora", kind));
    if (comparisons.length === 0) return null;
    return {
      comparisons,
      judge: (loss) =>
        comparisons.map((pair): Finding => {
          const [theirs, ours] = [pair.baseline, pair.changed].map(({ memory }) =>
            memory?.byRole.weights ?? 0
          );
          const kind = methodName(tuningKind(pair.changed));
          return {
            setting: `${kind}, ${settingName(pair.changed)}`,
            axes: [
              plainAxis("memory", ours < theirs && (memoryRatio(pair) ?? 0) > 1),
              measuredAxis("throughput", throughputRatio(pair, CONFIDENCE), atLeast(HELD)),
              qualityAxis(loss(pair)),
            ],
            ours: `${kind} against LoRA: weights ${formatBytes(theirs)} → ${formatBytes(ours)}, ${
              comparison(pair, loss)
            }`,
            cells: [pair.baseline, pair.changed],
            section: sectionOf(pair),
          };
        }),
    };
  },
};

export const C12: Claim = {
  id: "C12",
  claim: "PEFT reduces over-training and overcomes catastrophic forgetting",
  paper: "no figure",
  source: null,
  rule:
    "Forgetting: the loss on the original text, after less before, seed by seed. Full fine-tuning forgets (an interval above 0), an " +
    "adapter forgets less (the difference to full below 0) and overcomes it (its own rise less than the margin). Each kind of " +
    "adapter is a setting. Over-training needs epochs and is not judged here.",
  untested:
    "needs fine-tuning from saved weights with several seeds, evaluated on the original text (suites/finetune.yaml)",
  examine(analysis) {
    const tunings = fineTunings(analysis, CONFIDENCE);
    const full = tunings.find(({ kind }) => kind === "full");
    const adapters = tunings.filter(({ kind, configuration }) =>
      kind !== "full" && configuration.phase === full?.configuration.phase
    );
    if (!full || adapters.length === 0) return null;
    const rise = full.original.change;
    const riseText = `full fine-tuning changes the loss on ${full.original.data} by ${
      formatInterval(rise.interval, 3)
    }`;
    const forgets = measuredAxis("full forgets", rise.interval, above(0), { unit: "nats" });
    const nothing = {
      answer: "cannot tell",
      why: "it did not forget, so nothing was left to reduce",
    } as const;
    // Beside a model that did not forget, adapters have nothing to show.
    const weight = forgets.answer === "no" ? "reported" : "decides";
    return untested(adapters.map((one) => {
      const { change } = one.original;
      const less = seedwise(change, rise, CONFIDENCE);
      const { nats } = lossMargin(analysis.loaded.run.decisions, one.configuration.config);
      return {
        setting: `${one.configuration.label}, ${settingName(one.configuration)}`,
        axes: [
          forgets.answer === "no" ? { ...forgets, ...nothing } : forgets,
          measuredAxis("forgets less", less, below(0), { unit: "nats", weight }),
          measuredAxis("overcomes", change.interval, atMost(nats), { unit: "nats", weight }),
        ],
        ours: `${riseText}; ${one.configuration.label} by ${formatInterval(change.interval, 3)} (${
          less ? formatInterval(less, 3) : "no common seeds"
        } against full)`,
        cells: [full.configuration, one.configuration],
        section: "fine-tuning",
      };
    }));
  },
};

/** LoRA and QLoRA beside full fine-tuning: every kind that was run, each setting once. */
function beside(analysis: Analysis): Pair[] {
  return ["lora", ...QUANTIZED].flatMap((kind) => tuningPairs(analysis, "full", kind));
}

export const C16: Claim = {
  id: "C16",
  claim:
    "LoRA and QLoRA cut the computing performance needed by an order of magnitude or more (conclusion 1)",
  paper: "an order of magnitude",
  source: "LoRA saves the products of weight gradients alone: at most a third of a step's",
  rule:
    `Times as fast a token as full fine-tuning: an interval above ${MARGINS.computing.value}; one below refutes it. Each kind of ` +
    "adapter is a setting.",
  untested: "needs LoRA or QLoRA beside full fine-tuning",
  examine(analysis) {
    return untested(
      beside(analysis).map((pair) => ({
        setting: `${methodName(tuningKind(pair.changed))}, ${settingName(pair.changed)}`,
        axes: [
          measuredAxis("computing", throughputRatio(pair, CONFIDENCE), atLeast(MARGINS.computing.value)),
        ],
        ours: `${methodName(tuningKind(pair.changed))} against full fine-tuning: ${
          pricesOf(pair).join(", ")
        }`,
        cells: [pair.baseline, pair.changed],
        section: sectionOf(pair),
      })),
    );
  },
};

export const C17: Claim = {
  id: "C17",
  claim: "PEFT shortens training and makes it cheap to store many tasks",
  paper: "no figure",
  source: "peft's table: 2.28× faster",
  rule:
    "Time a token against full fine-tuning: throughput by an interval above 1; one below refutes it. Storage: an adapter takes at " +
    `most ${
      MARGINS.storage.value * 100
    } % of the bytes of the model's f32 weights. Each kind of adapter is a setting.`,
  untested: "needs LoRA or QLoRA that saved its adapter, beside full fine-tuning",
  examine(analysis) {
    return untested(
      beside(analysis).map((pair): Finding => {
        const [bytes, parameters] = [adapterBytesOf(pair.changed), pair.changed.ok[0]?.parameters ?? null];
        const share = bytes === null || !parameters ? null : bytes / (4 * parameters);
        const rate = throughputRatio(pair, CONFIDENCE);
        return {
          setting: `${methodName(tuningKind(pair.changed))}, ${settingName(pair.changed)}`,
          axes: [
            measuredAxis("time", rate, above(1)),
            measuredAxis(
              "storage",
              share === null ? null : exactly(share * 100),
              atMost(MARGINS.storage.value * 100),
              {
                unit: "%",
                why: share === null ? "no adapter was saved" : undefined,
              },
            ),
          ],
          ours: `${methodName(tuningKind(pair.changed))}: time a token × ${
            rate ? formatInterval(inverse(rate), 2) : "–"
          }, adapter ${bytes === null ? "not saved" : formatBytes(bytes)}${
            share === null ? "" : `, ${formatNumber(share * 100, 1)} % of the model's`
          }`,
          cells: [pair.baseline, pair.changed],
          section: sectionOf(pair),
        };
      }),
    );
  },
};
