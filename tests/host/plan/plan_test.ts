import assert from "node:assert/strict";
import { join } from "node:path";
import { type Dispatch, SCRATCH_ROW_BYTES } from "../../../engine/graph/launch.ts";
import { ROLES } from "../../../engine/graph/types.ts";
import { modelOf } from "../../../engine/model/config.ts";
import { PRESETS } from "../../../engine/model/presets.ts";
import type { StepMethods, StepSettings } from "../../../engine/passes/pipeline.ts";
import { PLANNED_ADAPTERS, plannedKernels } from "../../../engine/runtime/planned_kernels.ts";
import { total } from "../../../engine/plan/plan.ts";
import { planStep } from "../../../engine/train/trainer.ts";

const KERNELS = plannedKernels("gpu");

const PROBE = join(import.meta.dirname!, "../../support/plan_probe.ts");
const CONFIG = join(import.meta.dirname!, "../../../deno.json");

function settings(
  preset: string,
  methods: StepMethods = {},
  changes: Partial<StepSettings> = {},
): StepSettings {
  const config = PRESETS[preset];
  return {
    model: modelOf({ ...config, vocabularySize: config.vocabularySize || 512 }),
    microBatchSize: 4,
    gradientAccumulationSteps: 1,
    sequenceLength: 128,
    methods,
    optimizer: "adamw",
    optimizerOptions: { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.01 },
    clip: 1,
    dropout: 0,
    evaluate: true,
    ...changes,
  };
}

const plan = (...args: Parameters<typeof settings>) => planStep(settings(...args), KERNELS).plan;

Deno.test("a plan's buffers add up to its peak, and its roles to the same", () => {
  for (const methods of [{}, { checkpoint: { every: 1, selective: false } }, { fp16: true }]) {
    const { buffers, peakBytes, bytesByRole } = plan("gpt2-nano", methods);
    assert.equal(buffers.reduce((sum, { bytes }) => sum + bytes, 0), peakBytes);
    assert.equal(total(bytesByRole), peakBytes);
    for (const buffer of buffers) assert.equal(total(buffer.bytesByRole), buffer.bytes, buffer.label);
  }
});

Deno.test("no transient value of gpt2-nano overlaps another that is alive with it", () => {
  const { plan } = planStep(settings("gpt2-nano"), KERNELS);
  for (const { graph } of plan.programs) {
    const alive = new Map<number, { first: number; last: number }>();
    graph.nodes.forEach((node, index) => {
      for (let value of [...node.inputs, ...node.outputs]) {
        while (value.aliasOf) value = value.aliasOf;
        if (value.persistent) continue;
        const range = alive.get(value.id) ?? { first: index, last: index };
        alive.set(value.id, { ...range, last: index });
      }
    });
    const entries = [...alive].map(([id, range]) => ({ ...range, ...plan.transients.get(id)! }));
    entries.forEach((a, i) => {
      for (const b of entries.slice(0, i)) {
        if (a.last < b.first || b.last < a.first || a.buffer !== b.buffer) continue;
        assert.ok(a.byteOffset + a.byteLength <= b.byteOffset || b.byteOffset + b.byteLength <= a.byteOffset);
      }
    });
  }
});

Deno.test("AdamW's state is 8 bytes a parameter, weights and gradients 4", () => {
  const { bytesByRole } = plan("gpt2", {}, { gradientAccumulationSteps: 2 });
  const parameters = 124_439_808;
  assert.equal(bytesByRole.optimizer, 8 * parameters);
  assert.equal(bytesByRole.weights, 4 * parameters);
  assert.equal(bytesByRole.gradients, 4 * parameters);
});

Deno.test("mixed precision adds 2 bytes of working weights to each parameter but norms and biases", () => {
  const { bytesByRole } = plan("gpt2", { fp16: true }, { gradientAccumulationSteps: 2 });
  const matrices = 50257 * 768 + 1024 * 768 + 12 * 12 * 768 * 768;
  const vectors = 124_439_808 - matrices;
  assert.equal(bytesByRole.masterWeights, 4 * matrices);
  assert.equal(bytesByRole.weights, 2 * matrices + 4 * vectors);
});

Deno.test("checkpointing plans fewer bytes at every batch size, and more the larger it is", () => {
  const saved = [1, 4, 16].map((microBatchSize) => {
    const changes = { microBatchSize };
    const [without, withIt] = [{}, { checkpoint: { every: 1, selective: false } }].map((methods) =>
      plan("gpt2-nano", methods, changes).peakBytes
    );
    assert.ok(withIt < without, `batch ${microBatchSize}: ${withIt} against ${without}`);
    return without - withIt;
  });
  assert.ok(saved[0] < saved[1] && saved[1] < saved[2], saved.join());
});

Deno.test("accumulation plans the activations of one micro-batch, whatever the effective batch", () => {
  const peak = (microBatchSize: number, gradientAccumulationSteps: number) =>
    plan("gpt2-nano", {}, { microBatchSize, gradientAccumulationSteps }).bytesByRole.activations;
  assert.equal(peak(1, 8), peak(1, 2));
  assert.ok(peak(1, 8) < peak(8, 1) / 6);
});

for (const adapter of PLANNED_ADAPTERS) {
  const xl = settings("gpt2-xl", {}, { microBatchSize: 8, sequenceLength: 1024, evaluate: false });

  Deno.test(`gpt2-xl at batch 8 × 1024 takes 16 bytes a parameter and its activations, for ${adapter}`, () => {
    const { peakBytes, bytesByRole } = planStep(xl, plannedKernels(adapter)).plan;
    for (const role of ROLES) assert.ok(bytesByRole[role] >= 0);
    assert.ok(peakBytes > 16 * 1_557_611_200);
  });

  Deno.test(`the command line plans gpt2-xl at batch 8 × 1024 in less than two seconds, for ${adapter}`, async () => {
    // Processor time of a process of its own, at best: other tests run meanwhile.
    const taken: number[] = [];
    while (taken.length < 3 && !(Math.min(...taken) < 2)) {
      const flags = ["--model", "gpt2-xl", "--batch-size", "8", "--seq-len", "1024", "--on", adapter];
      const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", "--no-check", "--config", CONFIG, PROBE, ...flags],
      }).output();
      assert.ok(success, new TextDecoder().decode(stderr));
      taken.push(Number(new TextDecoder().decode(stdout)));
    }
    assert.ok(Math.min(...taken) < 2, `took ${taken.join(", ")} s`);
  });
}

// Plans of large models for the software adapter have tens of thousands of
// dispatches: most must cost next to nothing.
Deno.test("layers of gpt2-xl share what their products are lowered to, and few of its dispatches have a table", () => {
  const changes = { microBatchSize: 8, sequenceLength: 1024, evaluate: false };
  const { programs } = planStep(settings("gpt2-xl", {}, changes), plannedKernels("software")).plan;
  const commands = programs.flatMap(({ commands }) => commands);
  const dispatches = commands.filter((command): command is Dispatch => !("clear" in command));
  const products = dispatches.filter(({ kernel }) => kernel.entryPoint === "matmul");
  const lowered = new Set(products.map(({ params }) => params)).size;
  assert.ok(lowered < products.length / 10, `${lowered} of ${products.length} products were lowered`);
  const tables = dispatches.filter(({ params }) => params.length >= 1024).length;
  assert.ok(tables < 3000, `${tables} dispatches have a table`);
});

Deno.test("fragmentation costs the arena at most 6 % over the most bytes alive at once", () => {
  // On 2026-11-23 it cost 0 to 3.6 % over presets and methods, and 5.6 % for gpt2-mini in fp16.
  for (const preset of ["gpt2-nano", "gpt2-mini", "gpt2"]) {
    for (
      const methods of [{}, { fp16: true }, { flash: true }, { checkpoint: { every: 1, selective: false } }]
    ) {
      const { buffers, programs } = plan(preset, methods);
      const arena = buffers.filter(({ kind }) => kind === "arena").reduce((sum, { bytes }) => sum + bytes, 0);
      const live = Math.max(...programs.flatMap((program) => program.live.map(total)));
      assert.ok(arena <= 1.06 * live, `${preset} ${JSON.stringify(methods)}: ${arena} for ${live}`);
    }
  }
});

Deno.test("a scratch texture is never as high as a power of two, for which Mesa would compile all kernels anew", () => {
  const software = plannedKernels("software");
  const rows = (batch: number, sequenceLength: number) => {
    const { plan } = planStep(settings("gpt2-nano", {}, { microBatchSize: batch, sequenceLength }), software);
    return plan.buffers[plan.scratchTexture!].bytes / SCRATCH_ROW_BYTES;
  };
  const heights = [1, 2, 4, 8, 16].flatMap((batch) => [16, 32, 64, 128].map((length) => rows(batch, length)));
  assert.ok([257, 513].every((height) => heights.includes(height)), `${heights}: some need a power of two`);
  assert.deepEqual(heights.filter((height) => Number.isInteger(Math.log2(height))), []);
});
