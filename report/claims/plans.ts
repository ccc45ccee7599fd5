/** Planned models beside the paper's own sums: bytes by role, and why they differ. */
import type { Configuration } from "../rows/configuration.ts";
import type { Analysis } from "../rows/analysis.ts";
import { formatNumber, formatSignificant } from "../words/format.ts";
import { quantizesEmbeddings } from "../words/names.ts";
import { GB } from "../../results/bytes.ts";
import { LLAMA_7B, THREE_BILLION } from "./paper.ts";
import type { Role } from "../../results/record.ts";

export interface PlannedRole {
  name: string;
  /** Planned, in GB (10⁹ bytes, the paper's unit). */
  ours: number;
  /** The paper's GB: a figure or a range. */
  paper: { low: number; high: number };
}

export interface PlannedModel {
  configuration: Configuration;
  parameters: number;
  trainable: number;
  roles: PlannedRole[];
  total: PlannedRole;
  /** Why ours is not the paper's figure, a sentence each; worked out from the plan. */
  reasons: string[];
}

const exactly = (gigabytes: number) => ({ low: gigabytes, high: gigabytes });

function gigabytes({ memory }: Configuration, ...roles: Role[]): number {
  return roles.reduce((sum, role) => sum + (memory?.byRole[role] ?? 0), 0) / GB;
}

/** The 3 B model as it is planned, and what its optimizer takes where embeddings have 8-bit moments, too. */
export interface ThreeBillion extends PlannedModel {
  /**
   * GB of optimizer state at 3 · 10⁹ parameters; null where this is that form itself, or none was planned
   * beside it.
   */
  quantized: { configuration: Configuration; gigabytes: number } | null;
}

/**
 * The 3 B model in f32 with 8-bit AdamW, its bytes a parameter times the paper's 3 · 10⁹; null where none was
 * planned. Embeddings keep f32 moments where there is such a plan.
 */
export function threeBillion({ planned }: Analysis): ThreeBillion | null {
  const plans = planned.filter(({ shows, config, memory }) =>
    shows === "three-billion-plan" && memory && config.optimizer === "adamw8bit" &&
    !config.methods.includes("fp16")
  );
  const usual = plans.find(({ config }) => !quantizesEmbeddings(config));
  const other = plans.find(({ config }) => quantizesEmbeddings(config));
  const configuration = usual ?? other;
  const sizes = configuration && sizesOf(configuration);
  if (!configuration || !sizes) return null;
  const scale = THREE_BILLION.parameters / sizes.parameters;
  const role = (name: keyof typeof THREE_BILLION.gigabytes): PlannedRole => ({
    name,
    ours: gigabytes(configuration, name) * scale,
    paper: exactly(THREE_BILLION.gigabytes[name]),
  });
  const roles = [role("weights"), role("gradients"), role("optimizer")];
  const ours = roles.reduce((sum, { ours }) => sum + ours, 0);
  const rest = configuration.memory!.plannedBytes / GB -
    gigabytes(configuration, "weights", "gradients", "optimizer");
  const { config } = configuration;
  const quantized = usual && other
    ? { configuration: other, gigabytes: gigabytes(other, "optimizer") * scale }
    : null;
  const perParameter = (one: Configuration) =>
    formatNumber(one.memory!.byRole.optimizer / sizes.parameters, 2);
  return {
    configuration,
    ...sizes,
    roles,
    quantized,
    total: { name: "before activations", ours, paper: exactly(THREE_BILLION.total) },
    reasons: [
      `The planned model has ${
        formatNumber(sizes.parameters / 1e9, 2)
      } B parameters; its bytes are scaled to 3 B.`,
      `The optimizer takes ${
        perParameter(configuration)
      } bytes a parameter: each block of 8-bit values has two scales, and ${
        usual ? "embeddings and small tensors" : "small tensors"
      } keep f32.`,
      ...quantized
        ? [
          `With quantized embeddings it takes ${perParameter(quantized.configuration)}, ${
            formatNumber(quantized.gigabytes, 1)
          } GB at 3 B, and weights of rare tokens can jump: see “How it was measured”.`,
        ]
        : [],
      `What the paper leaves out (activations, workspace, inputs) adds ${
        formatSignificant(rest, 2)
      } GB at batch ${configuration.effectiveBatchSize} × ${config.sequenceLength} tokens.`,
    ],
  };
}

/**
 * Llama 2 7B with LoRA in fp16 over an int8 base beside the paper's Fig. 1, each plan that there is, in the
 * suite's order; without fp16 where there is no other.
 */
export function llama7b({ planned }: Analysis): PlannedModel[] {
  const plans = planned.filter(({ shows, config, memory }) =>
    shows === "llama-7b-plan" && memory && config.methods.includes("qlora-int8")
  );
  const half = plans.filter(({ config }) => config.methods.includes("fp16"));
  return (half.length > 0 ? half : plans).flatMap((plan) => besideFigure(plan) ?? []);
}

/** Full fine-tuning in f32 of the same model at the same tokens, as planned; null where it was not. */
export function fullPlan({ planned }: Analysis, { config, shows }: Configuration): Configuration | null {
  return planned.find((one) =>
    one.shows === shows && one.memory && one.config.model === config.model &&
    one.config.sequenceLength === config.sequenceLength &&
    one.config.microBatchSize === config.microBatchSize && one.config.optimizer === config.optimizer &&
    one.config.methods.every((method) => method === "checkpoint")
  ) ?? null;
}

/** What the paper's gigabyte of trainable weights is in parameters, of two bytes each. */
export const PAPER_TRAINABLE = `The paper's ${
  formatNumber(LLAMA_7B.trainable)
} GB of trainable fp16 weights is ${formatNumber(LLAMA_7B.trainable / 2, 1)} B parameters`;

function besideFigure(configuration: Configuration): PlannedModel | null {
  const sizes = sizesOf(configuration);
  if (!sizes) return null;
  const { base, trainable, onTop, total } = LLAMA_7B;
  const weights = gigabytes(configuration, "weights", "masterWeights");
  const whole = configuration.memory!.plannedBytes / GB;
  const { config } = configuration;
  const states = gigabytes(configuration, "gradients", "optimizer");
  return {
    configuration,
    ...sizes,
    roles: [
      { name: "weights, base and adapters", ours: weights, paper: exactly(base + trainable) },
      { name: "gradients, optimizer, activations and the rest", ours: whole - weights, paper: onTop },
    ],
    total: { name: "in all", ours: whole, paper: total },
    reasons: [
      `${PAPER_TRAINABLE}; the adapters planned here have ${formatNumber(sizes.trainable / 1e6, 1)} M, ${
        formatNumber(sizes.trainable / sizes.parameters * 100, 2)
      } % of the model, so that gradients and optimizer need ${formatNumber(states, 2)} GB.`,
      `The base takes ${
        formatNumber(weights * GB / sizes.parameters, 2)
      } bytes a parameter: matrices are int8, embeddings and norms are not.`,
      `Activations, ${
        formatNumber(gigabytes(configuration, "activations"), 1)
      } GB here, go with the batch and the ` +
      `sequence length (${configuration.effectiveBatchSize} × ${config.sequenceLength} tokens, ${
        config.methods.includes("checkpoint") ? "with" : "without"
      } checkpointing); the paper names neither.`,
    ],
  };
}

function sizesOf({ ok }: Configuration): { parameters: number; trainable: number } | null {
  const [cell] = ok;
  return cell?.parameters && cell.trainableParameters
    ? { parameters: cell.parameters, trainable: cell.trainableParameters }
    : null;
}

/** The paper's range, to the whole gigabytes it is given in. */
export function rangeOf({ low, high }: PlannedRole["paper"]): { low: number; high: number } {
  return { low: low - 0.5, high: high + 0.5 };
}
