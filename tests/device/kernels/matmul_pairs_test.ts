import assert from "node:assert/strict";
import type { Dtype } from "../../../engine/graph/types.ts";
import { checkKernel, type TestInput } from "../../support/check_op.ts";
import { matmulProbe, type ProbeAttrs } from "../../support/matmul_probe.ts";
import { deviceTestOf } from "../../support/with_device.ts";

for (const [dtype, tileRows] of [["f32", undefined], ["f32", 32], ["f16", 32]] as [Dtype, number?][]) {
  Deno.test(
    `a product of ${dtype}${
      tileRows ? " in large tiles" : ""
    } has the same bits stored in pairs and in fours`,
    await deviceTestOf(dtype),
    async () => {
      // Less than a tile, its edge in the middle of a pair of lanes, several tiles; what falls into no pairs.
      for (const [m, n] of [[7, 8], [33, 56], [40, 136], [20, 60]]) {
        for (const [aTransposed, bTransposed] of [[false, false], [true, false], [false, true]]) {
          const k = 20;
          if (aTransposed && m % 4 !== 0) continue;
          const attrs: ProbeAttrs = {
            m,
            n,
            k,
            a: { ld: aTransposed ? m : k, transposed: aTransposed },
            b: { ld: bTransposed ? k : n, transposed: bTransposed },
            c: { ld: n },
            output: { shape: [m, n], dtype },
            alpha: 0.375,
            bias: true,
            residual: true,
            tileRows,
          };
          const inputs: TestInput[] = [
            { shape: aTransposed ? [k, m] : [m, k], dtype },
            { shape: bTransposed ? [n, k] : [k, n], dtype },
            { shape: [n], dtype },
            { shape: [m, n], dtype },
          ];
          const what = `${m}×${n}×${k} ${aTransposed ? "t" : "n"}${bTransposed ? "t" : "n"}`;
          const [pairs] = await checkKernel(matmulProbe, inputs, attrs, { terms: k, what });
          const [fours] = await checkKernel(matmulProbe, inputs, attrs, {
            terms: k,
            what,
            target: { shaderInt64: false },
          });
          assert.deepEqual(pairs, fours, what);
        }
      }
    },
  );
}
