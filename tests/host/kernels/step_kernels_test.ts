// What `tests/support/step_kernels.ts` gives the compilers to read is what its names say.
import assert from "node:assert/strict";
import type { Kernel } from "../../../engine/graph/op.ts";
import { DAWN_TARGETS, kernelsOf } from "../../support/step_kernels.ts";

/** Names of the kernels whose text has a match. */
function namesWith(kernels: readonly Kernel[], pattern: RegExp): string[] {
  return [...new Set(kernels.filter(({ code }) => pattern.test(code)).map(({ name }) => name))].sort();
}

for (const [name, target] of Object.entries(DAWN_TARGETS)) {
  Deno.test(`the kernels for "${name}" have the forms that its name says`, () => {
    assert.equal(target.software, name.startsWith("software"));
    const kernels = kernelsOf(target);
    const lanes = Number(name.match(/(\d+) lanes/)?.[1] ?? 0);
    assert.equal(target.subgroupSize, lanes);
    // CPUs hand numbers round in subgroups, and without subgroups multiply as GPUs do; GPUs meet at barriers.
    const onCpu = target.software && lanes > 0;
    assert.equal(namesWith(kernels, /\bsubgroupShuffle/).length > 10, onCpu);
    assert.equal(namesWith(kernels, /\bworkgroupBarrier\b/).length > 10, !onCpu);
    assert.equal(namesWith(kernels, /\bworkgroupBarrier\b/).includes("layer_norm_forward"), !target.software);
    assert.equal(namesWith(kernels, /\btexture_storage_2d\b/).length > 10, name.includes("texture"));
    assert.equal(namesWith(kernels, /\bsubgroup_matrix_/).includes("linear"), name.includes("matrices"));
    assert.equal(namesWith(kernels, /\botherHalf\b/).length > 5, lanes === 16);
  });
}
