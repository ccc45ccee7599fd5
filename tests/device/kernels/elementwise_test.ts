import type { OpDefinition } from "../../../engine/graph/op.ts";
import type { Dtype } from "../../../engine/graph/types.ts";
import {
  add,
  gelu,
  geluGrad,
  geluMul,
  geluMulGrad,
  relu,
  reluGrad,
  scale,
  siluMul,
  siluMulGrad,
  softCap,
  tanh,
  tanhGrad,
} from "../../../kernels/elementwise.ts";
import { refreshWorkingCopy } from "../../../kernels/working_copy.ts";
import { checkKernel } from "../../support/check_op.ts";
import { seededNumbers } from "../../support/seeded.ts";
import { deviceTest, deviceTestOf, runsF16 } from "../../support/with_device.ts";
import { KERNEL_KINDS } from "../../../kernels/kernel_set.ts";

/**
 * One element, a prime, a workgroup of 64 vectors less one, just full, one over, and several of the GPU form.
 */
const SIZES = [1, 13, 252, 255, 256, 257, 1023, 4100];

/** The op with attributes bound, and how many inputs it takes. */
const OPS: [OpDefinition, unknown, number][] = [
  [add, {}, 2],
  [gelu, { approximation: "tanh" }, 1],
  [gelu, { approximation: "erf" }, 1],
  [geluGrad, { approximation: "tanh" }, 2],
  [geluGrad, { approximation: "erf" }, 2],
  [geluMul, { approximation: "tanh" }, 2],
  [geluMul, { approximation: "erf" }, 2],
  [geluMulGrad, { approximation: "tanh" }, 3],
  [geluMulGrad, { approximation: "erf" }, 3],
  [relu, {}, 1],
  [reluGrad, {}, 2],
  [softCap, { cap: 1.5 }, 1],
  [siluMul, {}, 2],
  [siluMulGrad, {}, 3],
  [tanh, {}, 1],
  [tanhGrad, {}, 2],
  [scale, { factor: -1.7 }, 1],
];

for (const dtype of ["f32", "f16"] as Dtype[]) {
  const options = await deviceTestOf(dtype);
  for (const [op, attrs, inputCount] of OPS) {
    Deno.test(
      `${op.name} ${JSON.stringify(attrs)} in ${dtype} agrees with the reference`,
      options,
      async () => {
        for (const kind of KERNEL_KINDS) {
          for (const size of SIZES) {
            const inputs = Array.from({ length: inputCount }, () => ({ shape: [size], dtype, scale: 3 }));
            await checkKernel(op, inputs, attrs, { target: { kind } });
          }
        }
      },
    );
  }
}

Deno.test("elementwise ops split operands over the binding limit", deviceTest, async (t) => {
  const f16 = await runsF16(t);
  const target = { maxStorageBufferBindingSize: 4096, maxComputeWorkgroupsPerDimension: 6 };
  for (const size of [1023, 1024, 5000, 5001]) {
    await checkKernel(add, [{ shape: [size] }, { shape: [size] }], {}, { target });
    if (f16) {
      await checkKernel(refreshWorkingCopy, [{ shape: [size] }, { shape: [size], dtype: "f16" }], {}, {
        target,
      });
    }
  }
});

Deno.test("activations stay finite and correct far from zero", deviceTest, async () => {
  const data = [
    -65504,
    -300,
    -88.8,
    -20,
    -10,
    -9.99,
    -5,
    -1e-3,
    -1e-7,
    0,
    1e-7,
    0.24999,
    0.25,
    5,
    10,
    89,
    300,
    65504,
  ];
  for (const magnify of [1, 1e6]) {
    const x = { shape: [data.length], data: data.map((v) => v * magnify) };
    const dy = { shape: [data.length], data: seededNumbers(data.length) };
    for (const approximation of ["tanh", "erf"] as const) {
      await checkKernel(gelu, [x], { approximation });
      await checkKernel(geluGrad, [x, dy], { approximation });
    }
    await checkKernel(tanh, [x], {});
    await checkKernel(siluMul, [x, dy], {});
    // dUp = dy · silu(gate) is as large as the gate; so is the scale errors are measured by.
    await checkKernel(siluMulGrad, [x, dy, dy], {});
  }
});

Deno.test("tanh keeps its relative accuracy near zero", deviceTest, async () => {
  const data = Array.from({ length: 40 }, (_, i) => 0.3 * 0.7 ** i);
  for (const x of data) await checkKernel(tanh, [{ shape: [1], data: [x] }], {});
});

Deno.test("working copies are clamped to the range of f16", deviceTest, async (t) => {
  if (!await runsF16(t)) return;
  const data = [1e30, -1e30, 65504, -65505, 70000, 1, 6.1e-5, 0];
  await checkKernel(refreshWorkingCopy, [{ shape: [8], data }, { shape: [8], dtype: "f16" }], {});
});
