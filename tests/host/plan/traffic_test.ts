import assert from "node:assert/strict";
import type { Kernel } from "../../../engine/graph/launch.ts";
import { dispatchBytes, slotsRead } from "../../../engine/plan/traffic.ts";
import { PRESETS } from "../../../engine/model/presets.ts";
import { modelOf } from "../../../engine/model/config.ts";
import { planStep } from "../../../engine/train/trainer.ts";
import { plannedKernels } from "../../../engine/runtime/planned_kernels.ts";

const KERNELS = plannedKernels("gpu");

const CODE = `
@group(0) @binding(0) var<storage, read_write> source: array<f32>; // source[0] = 1.0 in a comment
@group(0) @binding(1) var<storage, read_write> sum: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> result: array<f32>;
@group(0) @binding(3) var<storage, read_write> unused: array<f32>;
@group(0) @binding(2) var<storage, read_write> other_result: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;
fn load(i: u32) -> f32 { if (i == arrayLength(&unused)) { return 0.0; } return source[i]; }
@compute @workgroup_size(64) fn first(@builtin(global_invocation_id) id: vec3<u32>) {
  sum[id.x / 4u][id.x % 4u] += load(id.x);
  result[u32(source[id.x])] = f32(result_like == 1.0);
}
@compute @workgroup_size(64) fn second(@builtin(global_invocation_id) id: vec3<u32>) {
  sum[id.x].x = other_result[0];
}`;

const kernel = (entryPoint: string, writes: number[]): Kernel => ({
  name: entryPoint,
  code: CODE,
  entryPoint,
  writes,
});

Deno.test("slotsRead() tells what is read through the functions that an entry point calls", () => {
  assert.deepEqual([...slotsRead(kernel("first", [1, 2]))], [0, 1]);
  assert.deepEqual([...slotsRead(kernel("second", [1]))], [2]);
});

Deno.test("slotsRead() takes what is counted up, or reached by a pointer, for read", () => {
  const code = `
@group(0) @binding(0) var<storage, read_write> counter: array<atomic<u32>>;
@group(0) @binding(1) var<storage, read_write> flags: array<u32>;
@group(0) @binding(2) var<storage, read_write> turns: array<u32>;
@group(0) @binding(3) var<storage, read_write> result: array<u32>;
@compute @workgroup_size(1) fn count() {
  if (true && flags[0] != 0u) { atomicAdd(&counter[0], 1u & flags[1]); }
  turns[0]++;
  result[0] = 1u;
}`;
  assert.deepEqual([...slotsRead({ name: "count", code, entryPoint: "count", writes: [0, 2, 3] })], [
    0,
    1,
    2,
  ]);
});

Deno.test("dispatchBytes() counts a binding that is read and written twice, an unused one not at all", () => {
  const bindings = [100, 20, 3, 4000].map((byteLength) => ({ buffer: 0, byteOffset: 0, byteLength }));
  const dispatch = { kernel: kernel("first", [1, 2]), bindings, params: [], workgroups: [1, 1, 1] as const };
  assert.equal(dispatchBytes(dispatch), 100 + 2 * 20 + 3);
});

Deno.test("every dispatch of a whole step reads something and writes something", () => {
  const model = modelOf({ ...PRESETS["gpt2-nano"], vocabularySize: 512 });
  for (const optimizer of ["adamw", "adamw8bit", "adafactor", "sgd"]) {
    const { plan } = planStep({
      model,
      microBatchSize: 2,
      gradientAccumulationSteps: 2,
      sequenceLength: 32,
      methods: {},
      optimizer,
      optimizerOptions: {
        ...{ weightDecay: 0.01, beta1: 0.9, beta2: 0.999, eps: 1e-8, momentum: 0.9 },
        ...{ eps1: 1e-30, eps2: 1e-3, clipThreshold: 1, decayRate: -0.8, scaleParameter: true },
      },
      clip: 1,
      dropout: 0.1,
      evaluate: true,
    }, KERNELS);
    for (const command of plan.programs.flatMap(({ commands }) => commands)) {
      if ("clear" in command) continue;
      const { kernel, bindings } = command;
      assert.ok(kernel.writes.length > 0, `${kernel.name} writes nothing`);
      if (!/zero|fill|reset/.test(kernel.name)) {
        assert.ok(slotsRead(kernel).size > 0, `${kernel.name} reads nothing`);
      }
      assert.ok([...slotsRead(kernel)].every((slot) => slot < bindings.length), kernel.name);
    }
  }
});
