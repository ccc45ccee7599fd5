import type { Kernel } from "../../engine/graph/launch.ts";
import { modelOf } from "../../engine/model/config.ts";
import { PRESETS } from "../../engine/model/presets.ts";
import { DEFAULT_TARGET } from "../../engine/plan/reference_kernels.ts";
import type { Target } from "../../engine/graph/target.ts";
import type { KernelSet } from "../../kernels/kernel_set.ts";
import { kernelsFor, MESA_SCRATCH_BYTES } from "../../kernels/kernel_sets.ts";
import { planStep, stepSettings } from "../../engine/train/trainer.ts";
import type { Settings } from "../../results/settings.ts";
import { resolveSettings } from "../../suites/resolve_settings.ts";

/** The limits that every device has. */
const LIMITS = {
  ...DEFAULT_TARGET,
  maxComputeInvocationsPerWorkgroup: 256,
  maxComputeWorkgroupStorageSize: 16384,
};
const software = (subgroupSize: number, scratchBytes = 0) =>
  kernelsFor("software", { ...LIMITS, subgroupSize }, scratchBytes);
const gpu = (limits: Partial<Target>) => kernelsFor("gpu", { ...LIMITS, ...limits });
/** Adapters as Dawn may show them: subgroups of one size, another, or none. */
export const DAWN_KERNELS: Readonly<Record<string, KernelSet>> = {
  "software, 4 lanes": software(4),
  "software, 8 lanes": software(8),
  "software, 8 lanes, scratch texture": software(8, MESA_SCRATCH_BYTES),
  "software, 16 lanes, scratch texture": software(16, MESA_SCRATCH_BYTES),
  "software, no subgroups": software(0),
  "GPU, 32 lanes, matrices": gpu({ subgroupSize: 32, subgroupMatrix: { m: 16, n: 16, k: 16 } }),
  "GPU, 32 lanes": gpu({ subgroupSize: 32 }),
  "GPU, no subgroups": gpu({ subgroupSize: 0 }),
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

/** The kernels of every kind of step from a set, each once, those that the clock may choose among them. */
export function kernelsOf(set: KernelSet): Kernel[] {
  const kernels = new Map<string, Kernel>();
  for (const preset of MODELS) {
    const model = modelOf({ ...PRESETS[preset], vocabularySize: 512, layerCount: 1 });
    for (const { packed, ...settings } of STEPS) {
      const config = resolveSettings({ model: preset, data: "moby-dick", sequenceLength: 64, ...settings });
      const { plan } = planStep({ ...stepSettings(model, config), packed, evaluate: true }, set);
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
