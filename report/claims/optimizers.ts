/** C7, C8 and C10: bytes of optimizer state, and what they add up to in large models. */
import { exactly } from "../../results/stats.ts";
import type { Analysis } from "../rows/analysis.ts";
import type { Configuration } from "../rows/configuration.ts";
import { bestPerSetting, type Pair, pairsOf } from "../rows/pairs.ts";
import { formatNumber, formatRatio } from "../words/format.ts";
import { type Axis, type Claim, measuredAxis, qualityAxis, untested } from "./claim.ts";
import { atLeast, between, not } from "./decide.ts";
import { bytesText, optimizerStates } from "./optimizer_state.ts";
import { FOURFOLD, OPTIMIZER_STATE } from "./paper.ts";
import { fullPlan, llama7b, PAPER_TRAINABLE, type PlannedModel, rangeOf, threeBillion } from "./plans.ts";
import { lossText, settingName } from "./words.ts";

export const C7: Claim = {
  id: "C7",
  claim:
    "Optimizer state a parameter: AdamW 8 bytes, Adafactor a little over 4, 8-bit AdamW 2; at 3 B parameters 24, 12+ and 6 GB; " +
    "Adafactor converges slower in some cases",
  paper: "8, a little over 4, 2 bytes; 24, 12+, 6 GB",
  source: "the 4 bytes are Adafactor's first moment, which transformers leaves out",
  rule:
    "Bytes a parameter round to the paper's (Adafactor: 4 to 4.5), by the plan of the 3 B model where there is one, since small " +
    "tensors keep f32 states; 8-bit AdamW with embeddings in f32, Adafactor with its first moment, where there is such a plan. " +
    "“In some cases” cannot be refuted: whether Adafactor's loss is higher by the margin here is told.",
  untested: "needs cells with Adafactor and 8-bit AdamW",
  examine(analysis) {
    const states = optimizerStates(analysis);
    const judged = states.filter(({ isUsual }) => isUsual);
    if (judged.length < 2) return null;
    const texts = states.map(({ optimizer, label, measured, planned }) => {
      const bytes = (planned ?? measured)!.bytes;
      const run = measured ? `${bytesText(measured.bytes)} in a run` : "";
      const plan = planned
        ? `${bytesText(planned.bytes)} planned (${bytesText(planned.bytes * 3)} GB at 3 B)`
        : "";
      const less = bytes < OPTIMIZER_STATE[optimizer].low ? ", less than the paper's" : "";
      return `${label} ${[run, plan].filter(Boolean).join(", ")}${less}`;
    });
    const converging = slowerPairs(analysis);
    return {
      comparisons: converging,
      judge: (loss) => [{
        setting: "bytes of state a parameter",
        axes: [
          ...judged.map(({ optimizer, label, planned, measured }) => {
            const { low, high } = OPTIMIZER_STATE[optimizer];
            const bytes = exactly((planned ?? measured)!.bytes);
            return measuredAxis(label, bytes, between(low, high), { unit: "bytes a parameter" });
          }),
          ...converging.map((pair): Axis => {
            const axis = qualityAxis(loss(pair), "reported");
            return {
              ...axis,
              axis: `Adafactor slower: ${settingName(pair.changed)}`,
              answer: not(axis.answer),
            };
          }),
        ],
        ours: [
          texts.join("; ") + " bytes",
          ...converging.map((pair) => {
            const [own, base] = [pair.changed, pair.baseline].map(({ config }) => config.learningRate);
            return `Adafactor at rate ${own} against AdamW at ${base}: ${lossText(loss(pair))}`;
          }),
        ].join(". "),
        cells: states.flatMap(({ measured, planned }) =>
          [planned?.configuration ?? [], measured?.configuration ?? []].flat()
        ),
        section: "optimizers",
      }],
    };
  },
};

/** Adafactor beside AdamW, each at its own rate. */
function slowerPairs(analysis: Analysis): Pair[] {
  return bestPerSetting(pairsOf(analysis, { methods: [], optimizer: "adafactor" }));
}

export const C8: Claim = {
  id: "C8",
  claim: "3 B parameters in fp32: weights, gradients and 8-bit AdamW's states are at least 30 GB",
  paper: "12 + 12 + 6 = at least 30 GB",
  source: null,
  rule:
    "By construction: the plan of a 3 B model in f32 with 8-bit AdamW, scaled to 3 · 10⁹ parameters, adds up to the paper's 30 GB " +
    "or more, to its whole gigabytes. Another sum would be a fault of the planner.",
  untested: "needs the plan of a 3 B model (suites/planner.yaml)",
  examine(analysis) {
    const model = threeBillion(analysis);
    if (!model) return null;
    const { total, quantized, configuration } = model;
    return untested([{
      setting: `${configuration.config.model}, planned`,
      axes: [
        measuredAxis("sum", exactly(total.ours), atLeast(total.paper.low - 0.5), {
          unit: "GB",
          weight: "by construction",
        }),
      ],
      ours: quantized
        ? `${rolesText(model)}; with quantized embeddings optimizer ${
          formatNumber(quantized.gigabytes, 1)
        } GB`
        : rolesText(model),
      cells: [configuration, ...quantized ? [quantized.configuration] : []],
      section: "plan-3b",
    }]);
  },
};

export const C10: Claim = {
  id: "C10",
  claim:
    "Llama 2 7B over an int8 base with 1 GB of trainable fp16 weights needs 15 to 17 GB: fourfold less for this model",
  paper: "7 + 1 + 7 to 9 = 15 to 17 GB (Fig. 1); fourfold",
  source: "torchtune, LoRA of rank 8: 15.57 GB",
  rule:
    "For each plan of LoRA over an int8 base with fp16: bytes in all within 15 to 17 GB, to whole gigabytes, and at least fourfold " +
    "less than full fine-tuning in f32 at the same tokens (3.5 rounds to it). Each is a setting: the paper names neither batch, " +
    "sequence nor rank, and none of ours speaks for the others.",
  untested: "needs the plan of Llama 2 7B (suites/planner.yaml)",
  examine(analysis) {
    return untested(
      llama7b(analysis).map((model) => {
        const { configuration, total, trainable, roles: [weights] } = model;
        const { config } = configuration;
        const full = fullPlan(analysis, configuration);
        const ratio = full && bytesOf(full) / bytesOf(configuration);
        return {
          setting: `${configuration.label}, ${config.sequenceLength} tokens`,
          axes: [
            measuredAxis("memory", exactly(total.ours), rangeOf(total.paper), { unit: "GB" }),
            measuredAxis("fourfold", ratio === null ? null : exactly(ratio), atLeast(FOURFOLD.low), {
              why: ratio === null ? "no plan of full fine-tuning at these tokens" : undefined,
            }),
          ],
          ours: `${configuration.label}, ${config.sequenceLength} tokens, ${
            formatNumber(trainable / 1e6, 1)
          } M trainable: ${formatNumber(total.ours, 1)} GB, ${formatNumber(weights.ours, 1)} of them weights${
            ratio === null ? "" : `; ${formatRatio(ratio)} less`
          }`,
          notes: [
            ...ratio === null ? [] : ["“Less” is than full fine-tuning in f32 at the same tokens"],
            PAPER_TRAINABLE,
          ],
          cells: full ? [full, configuration] : [configuration],
          section: "plan-7b",
        };
      }),
    );
  },
};

const bytesOf = ({ memory }: Configuration) => memory!.plannedBytes;

function rolesText({ roles, total }: PlannedModel): string {
  const text = ({ name, ours }: PlannedModel["total"]) => `${name} ${formatNumber(ours, 1)} GB`;
  return [...roles, total].map(text).join(", ");
}
