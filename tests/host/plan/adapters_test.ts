// Memory depends on the kind of adapter, software or GPU, and on nothing else of it (docs/decisions/0001).
import assert from "node:assert/strict";
import { GraphBuilder } from "../../../engine/graph/builder.ts";
import { ROLES } from "../../../engine/graph/types.ts";
import { modelOf } from "../../../engine/model/config.ts";
import { PRESETS } from "../../../engine/model/presets.ts";
import { buildStep, type StepGraphs } from "../../../engine/passes/pipeline.ts";
import { spaceOf } from "../../../engine/plan/launch_space.ts";
import { paramsSpace, type Plan, planGraphs } from "../../../engine/plan/plan.ts";
import { PLANNED_ADAPTERS, plannedKernels } from "../../../engine/runtime/planned_kernels.ts";
import { stepSettings } from "../../../engine/train/trainer.ts";
import { tanh } from "../../../kernels/elementwise.ts";
import type { Settings } from "../../../results/settings.ts";
import { resolveSettings } from "../../../suites/resolve_settings.ts";
import { changed, type KernelChanges } from "../../support/kernel_changes.ts";

const MODELS: readonly Settings[] = [
  { model: "gpt2-nano", microBatchSize: 4, sequenceLength: 128, dropout: 0.1 },
  { model: "llama-nano", microBatchSize: 8, sequenceLength: 128, methods: ["flash", "fp16"] },
  // Attention's probabilities, and weights or logits, pass 128 MiB.
  { model: "gpt2-nano-long", microBatchSize: 16, sequenceLength: 1024, optimizer: "adafactor" },
  { model: "gpt2", microBatchSize: 4, sequenceLength: 1024 },
  {
    model: "gpt2-medium",
    methods: ["fp16", "flash", "checkpoint"],
    optimizer: "adamw8bit",
    sequenceLength: 1024,
  },
  { model: "bert-large", microBatchSize: 8, sequenceLength: 512, optimizer: "adafactor" },
  {
    model: "openllama-3b",
    methods: ["qlora-nf4", "flash", "checkpoint"],
    sequenceLength: 2048,
    microBatchSize: 1,
  },
];

/** Limits by what adapters have of them: WebGPU's least, what drivers often say, and the most. */
const LIMITS: Readonly<Record<string, KernelChanges>> = {
  "128 MiB bindings": {},
  "1 GiB bindings": { maxStorageBufferBindingSize: 2 ** 30 },
  "2 GiB bindings, the least workgroups": {
    maxStorageBufferBindingSize: 2 ** 31,
    maxComputeWorkgroupStorageSize: 16384,
    maxComputeInvocationsPerWorkgroup: 256,
  },
  "4 GiB bindings, the largest workgroups": {
    maxStorageBufferBindingSize: 2 ** 32 - 4,
    maxComputeWorkgroupStorageSize: 65536,
    maxStorageBuffersPerShaderStage: 32,
    maxComputeWorkgroupsPerDimension: 2 ** 31 - 1,
  },
  "no f16": { shaderF16: false },
};
/** What else adapters of a kind differ in. */
const KINDS: Readonly<Record<typeof PLANNED_ADAPTERS[number], readonly KernelChanges[]>> = {
  gpu: [{ subgroupSize: 0 }, { subgroupSize: 32, subgroupMatrix: { m: 16, n: 16, k: 16 } }],
  software: [...[0, 4, 8, 16].map((subgroupSize) => ({ subgroupSize })), { scratchBytes: 0 }],
};

/** A plan's bytes in all, by role and by buffer. */
const bytesOf = ({ peakBytes, bytesByRole, steadyBytes, buffers }: Plan) => ({
  peakBytes,
  bytesByRole,
  steadyBytes,
  buffers: buffers.map(({ label, bytes }) => `${label} ${bytes}`),
});

function graphsOf(settings: Settings): StepGraphs {
  const preset = PRESETS[settings.model!];
  // More layers are more of the same.
  const layerCount = Math.min(preset.layerCount, 12);
  const model = modelOf({ ...preset, layerCount, vocabularySize: preset.vocabularySize || 512 });
  return buildStep(stepSettings(model, resolveSettings({ data: "moby-dick", ...settings })));
}

for (const settings of MODELS) {
  const { model, methods = [], optimizer = "adamw" } = settings;
  Deno.test(`${[model, ...methods, optimizer].join(", ")}: a plan's bytes are those of its kind of adapter`, () => {
    const { graphs, persistents } = graphsOf(settings);
    const kinds = PLANNED_ADAPTERS.map((adapter) => {
      const planned = planGraphs(graphs, persistents, plannedKernels(adapter));
      const differing = [
        ...Object.values(LIMITS),
        ...KINDS[adapter].map((further) => ({
          ...LIMITS["4 GiB bindings, the largest workgroups"],
          ...further,
        })),
      ];
      for (const changes of differing) {
        const plan = planGraphs(graphs, persistents, changed(plannedKernels(adapter), changes));
        assert.deepEqual(bytesOf(plan), bytesOf(planned), `${adapter}, ${JSON.stringify(changes)}`);
        const used = spaceOf(plan.programs.flatMap(({ commands }) => commands));
        assert.ok(used.paramsBytes <= plan.buffers[plan.paramsBuffer].bytes);
      }
      return planned;
    });
    const [gpu, software] = kinds;
    const texture = software.buffers[software.scratchTexture!].bytes;
    assert.equal(gpu.scratchTexture, null);
    assert.equal(software.peakBytes, gpu.peakBytes + texture);
    for (const role of ROLES) {
      assert.equal(
        software.bytesByRole[role],
        gpu.bytesByRole[role] + (role === "workspace" ? texture : 0),
        role,
      );
    }
  });
}

Deno.test("an adapter that binds less than WebGPU's least gets the space that its launches need", () => {
  const builder = new GraphBuilder();
  const x = builder.persistents.declare("x", { shape: [2 ** 24], dtype: "f32" }, "inputs");
  const graph = builder.finish("tanh", builder.call(tanh, [x], {}));
  const plan = (maxStorageBufferBindingSize: number) =>
    planGraphs([graph], [x], changed(plannedKernels("gpu"), { maxStorageBufferBindingSize }));
  const [least, less] = [plan(2 ** 27), plan(2 ** 15)];
  const used = spaceOf(less.programs.flatMap(({ commands }) => commands)).paramsBytes;
  const bytes = less.buffers[less.paramsBuffer].bytes;
  assert.ok(bytes > least.buffers[least.paramsBuffer].bytes);
  assert.ok(used <= bytes && bytes < used + 256 * 1024);
});

Deno.test("paramsSpace() is the larger of what is reserved and what is used, in whole units of 256 KiB", () => {
  const unit = 256 * 1024;
  for (
    const [reserved, used, bytes] of [
      [0, 0, unit],
      [unit, 256, unit],
      [unit + 1, 256, 2 * unit],
      [unit, unit, unit],
      [unit, unit + 256, 2 * unit],
    ]
  ) {
    assert.equal(paramsSpace(reserved, used), bytes);
  }
});
