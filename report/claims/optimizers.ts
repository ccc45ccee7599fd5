/** C7, C8 and C10: bytes of optimizer state, and what they add up to in large models. */
import { count, formatNumber } from "../words/format.ts";
import { bytesText, optimizerStates } from "./optimizer_state.ts";
import { OPTIMIZER_STATE } from "./paper.ts";
import { llama7b, meets, type PlannedModel, threeBillion } from "./plans.ts";
import type { Analysis } from "../rows/analysis.ts";
import { type Pair, pairsOf } from "../rows/pairs.ts";
import { type Claim, verdictOn } from "./claim.ts";
import { lossText } from "./words.ts";
import { small } from "../words/text.ts";

export const C7: Claim = {
  id: "C7",
  claim:
    "Optimizer state a parameter: AdamW 8 bytes, Adafactor a little over 4 (and may converge slower), 8-bit AdamW 2; at 3 B " +
    "parameters 24, 12+ and 6 GB",
  paper: "8, a little over 4, 2 bytes; 24, 12+, 6 GB",
  rule:
    "Bytes a parameter round to the paper's (Adafactor: 4 to 4.5), by the plan of the 3 B model where there is one, since " +
    "small tensors and embeddings keep f32 states. 8-bit AdamW with quantized embeddings is reported, and judged only " +
    "where there is no other. Partly: some of the three. That Adafactor may converge slower cannot be refuted: the " +
    "losses at tuned rates are reported, not judged.",
  untested: "needs cells with Adafactor and 8-bit AdamW",
  examine(analysis) {
    const states = optimizerStates(analysis);
    const judged = states.filter(({ isUsual }) => isUsual);
    if (judged.length < 2) return null;
    const figures = states.map(({ optimizer, label, isUsual, measured, planned }) => {
      const papers = OPTIMIZER_STATE[optimizer];
      const bytes = (planned ?? measured)!.bytes;
      const agrees = bytes >= papers.low && bytes <= papers.high;
      const run = measured ? `${bytesText(measured.bytes)} in a run` : "";
      const plan = planned
        ? `${bytesText(planned.bytes)} planned (${bytesText(planned.bytes * 3)} GB at 3 B)`
        : "";
      const less = bytes < papers.low ? ", less than the paper's" : "";
      return { agrees, isUsual, text: `${label} ${[run, plan].filter(Boolean).join(", ")}${less}` };
    });
    const agree = figures.filter(({ isUsual }) => isUsual).map(({ agrees }) => agrees);
    const outcome = judged.length === 3 ? verdictOn(...agree) : undefined;
    const some = agree.some(Boolean);
    const converging = convergencePairs(analysis);
    return {
      comparisons: converging.map(({ pair }) => pair),
      judge: (loss) => ({
        outcome: outcome ?? (some ? "partly" : "not reproduced"),
        ours: [
          figures.map(({ text }) => text).join("; ") + " bytes",
          ...converging.map(({ pair, label }) => {
            const [own, base] = [pair.changed, pair.baseline].map(({ config }) => config.learningRate);
            return `${label} at rate ${own} against AdamW at ${base}: ${lossText(loss(pair))}`;
          }),
        ].join(". "),
        cells: states.flatMap(({ measured, planned }) =>
          [planned?.configuration ?? [], measured?.configuration ?? []].flat()
        ),
        section: "optimizers",
      }),
    };
  },
};

/** The lean optimizers beside AdamW, each at its own rate. */
function convergencePairs(analysis: Analysis): { pair: Pair; label: string }[] {
  return Object.entries(OPTIMIZER_STATE).filter(([id]) => id !== "adamw").flatMap(
    ([optimizer, { label }]) =>
      pairsOf(analysis, { methods: [], optimizer }).slice(0, 1).map((pair) => ({ pair, label })),
  );
}

export const C8: Claim = {
  id: "C8",
  claim: "3 B parameters in f32 with an 8-bit optimizer need at least 30 GB, before activations",
  paper: "12 GB weights + 12 GB gradients + 6 GB optimizer = 30 GB",
  rule:
    "Each of the three, planned and scaled to 3 · 10⁹ parameters, rounds to the paper's GB; embeddings keep f32 moments where " +
    "there is such a plan. Partly: some of them.",
  untested: "needs the plan of a 3 B model (suites/planner.yaml)",
  examine(analysis) {
    const model = threeBillion(analysis);
    if (!model) return null;
    return {
      outcome: verdictOn(...model.roles.map(meets)),
      ours: model.quantized
        ? `${rolesText(model)}; with quantized embeddings optimizer ${
          formatNumber(model.quantized.gigabytes, 1)
        } GB`
        : rolesText(model),
      cells: [model.configuration, ...model.quantized ? [model.quantized.configuration] : []],
      section: "plan-3b",
    };
  },
};

export const C10: Claim = {
  id: "C10",
  claim: "Llama 2 7B with LoRA over an int8 base needs 15 to 17 GB",
  paper: "7 GB base + 1 GB trainable + 7 to 9 GB of gradients, optimizer and activations (Fig. 1)",
  rule:
    "There is a plan of LoRA over an int8 base whose bytes in all lie in the paper's 15 to 17 GB, to its whole gigabytes, and " +
    "its weights and the rest in theirs. Partly: some of the three. The paper names neither batch, sequence nor rank, so the " +
    "plan that meets most speaks.",
  untested: "needs the plan of Llama 2 7B (suites/planner.yaml)",
  examine(analysis) {
    const models = llama7b(analysis);
    const [model] = models;
    if (!model) return null;
    return {
      outcome: verdictOn(...model.roles.map(meets), meets(model.total)),
      ours: `${model.configuration.label} (best of ${count(models.length, "plan")}): ${rolesText(model)}; ${
        small(model.reasons[0])
      }`,
      cells: [model.configuration],
      section: "plan-7b",
    };
  },
};

function rolesText({ roles, total }: PlannedModel): string {
  const text = ({ name, ours }: PlannedModel["total"]) => `${name} ${formatNumber(ours, 1)} GB`;
  return [...roles, total].map(text).join(", ");
}
