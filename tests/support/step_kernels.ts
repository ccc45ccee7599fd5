import type { Kernel } from "../../engine/graph/launch.ts";
import type { Target } from "../../engine/graph/target.ts";
import { modelOf } from "../../engine/model/config.ts";
import { PRESETS } from "../../engine/model/presets.ts";
import { DEFAULT_TARGET, LAVAPIPE_TEXEL_BYTES } from "../../engine/plan/reference_targets.ts";
import { planStep, stepSettings } from "../../engine/train/trainer.ts";
import type { Settings } from "../../results/settings.ts";
import { resolveSettings } from "../../suites/resolve_settings.ts";

/** The limits that every device has. */
const LIMITS = {
  ...DEFAULT_TARGET,
  maxComputeInvocationsPerWorkgroup: 256,
  maxComputeWorkgroupStorageSize: 16384,
};
/**
 * Both kinds say so themselves, whatever the default is: the forms for CPUs are other kernels than those for
 * GPUs.
 */
const SOFTWARE: Target = { ...LIMITS, software: true, subgroupSize: 8 };
const GPU: Target = { ...LIMITS, software: false, subgroupSize: 32 };
/** Adapters as Dawn may show them: subgroups of one size, another, or none. */
export const DAWN_TARGETS: Readonly<Record<string, Target>> = {
  "software, 4 lanes": { ...SOFTWARE, subgroupSize: 4 },
  "software, 8 lanes": SOFTWARE,
  "software, 8 lanes, scratch texture": { ...SOFTWARE, texelBytes: LAVAPIPE_TEXEL_BYTES },
  "software, 16 lanes, scratch texture": { ...SOFTWARE, subgroupSize: 16, texelBytes: LAVAPIPE_TEXEL_BYTES },
  "software, no subgroups": { ...SOFTWARE, subgroupSize: 0 },
  "GPU, 32 lanes, matrices": { ...GPU, subgroupMatrix: { m: 16, n: 16, k: 16 } },
  "GPU, 32 lanes": GPU,
  "GPU, no subgroups": { ...GPU, subgroupSize: 0 },
};

/** Between them they use every op. */
const STEPS: readonly (Settings & { packed?: boolean })[] = [
  { methods: [] },
  { methods: [], packed: true },
  { methods: ["flash"], packed: true },
  { methods: ["fp16"], dropout: 0.1, microBatchSize: 2, gradientAccumulationSteps: 2 },
  { methods: ["flash"], dropout: 0.1 },
  { methods: ["flash", "fp16", "checkpoint"] },
  { methods: ["lora"] },
  { methods: ["qlora-nf4", "fp16"] },
  { methods: ["qlora-int8"], optimizer: "adamw8bit" },
  { methods: [], optimizer: "adafactor" },
  { methods: ["fp16"], optimizer: "adamw8bit" },
  { methods: ["fp16"], optimizer: "sgd" },
];
const MODELS = ["gpt2-nano", "llama-nano", "bert-nano", "bert-nano-mlm"];

/** The kernels of every kind of step on a target, each once, those that the clock may choose among them. */
export function kernelsOf(target: Target): Kernel[] {
  const kernels = new Map<string, Kernel>();
  for (const preset of MODELS) {
    const model = modelOf({ ...PRESETS[preset], vocabularySize: 512, layerCount: 1 });
    for (const { packed, ...settings } of STEPS) {
      const config = resolveSettings({ model: preset, data: "moby-dick", sequenceLength: 64, ...settings });
      const { plan } = planStep({ ...stepSettings(model, config), packed, evaluate: true }, target);
      for (const command of plan.programs.flatMap(({ commands }) => commands)) {
        if (!("kernel" in command)) continue;
        const launches = [
          command,
          ...(command.choice?.names ?? []).map(command.choice?.use ?? (() => command)),
        ];
        for (const { kernel } of launches) {
          kernels.set(`${kernel.entryPoint}${JSON.stringify(kernel.constants)}${kernel.code}`, kernel);
        }
      }
    }
  }
  return [...kernels.values()];
}
