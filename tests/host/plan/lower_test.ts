import assert from "node:assert/strict";
import { type Dispatch, type Kernel, u32 } from "../../../engine/graph/launch.ts";
import type { Target } from "../../../engine/graph/target.ts";
import { checkDispatch } from "../../../engine/plan/lower.ts";
import { DEFAULT_TARGET } from "../../../engine/plan/reference_kernels.ts";

const TARGET: Target = { ...DEFAULT_TARGET, maxStorageBuffersPerShaderStage: 8 };

/** A launch with so many bindings and words. */
function dispatch(
  { bindings = 2, words = 4, ...changes }: { bindings?: number; words?: number } & Partial<Kernel>,
): Dispatch {
  return {
    kernel: { name: "kernel", code: "", entryPoint: "kernel", writes: [1], ...changes },
    bindings: Array.from(
      { length: bindings },
      (_, i) => ({ buffer: 0, byteOffset: 256 * i, byteLength: 256 }),
    ),
    params: Array.from({ length: words }, () => u32(7)),
    workgroups: [1, 1, 1],
  };
}

/** What a limit holds to its end, and what passes it. */
const LIMITS: readonly (readonly [Dispatch, Dispatch, RegExp])[] = [
  [
    dispatch({ words: 16 * 1024 }),
    dispatch({ words: 16 * 1024 + 1 }),
    /it has 65540 bytes of parameters, the limit is 65536$/,
  ],
  [dispatch({ bindings: 8 }), dispatch({ bindings: 9 }), /it binds 9 storage buffers, the limit is 8$/],
  [
    dispatch({ workgroupBytes: TARGET.maxComputeWorkgroupStorageSize }),
    dispatch({ workgroupBytes: TARGET.maxComputeWorkgroupStorageSize + 4 }),
    /it takes 32772 bytes of workgroup memory, the limit is 32768$/,
  ],
  [
    dispatch({ writes: [0, 1] }),
    dispatch({ writes: [0, 2] }),
    /it says that it writes bindings 0, 2, it has 2 and must write one$/,
  ],
  [dispatch({}), dispatch({ writes: [] }), /it says that it writes bindings , it has 2 and must write one$/],
  [
    { ...dispatch({}), workgroups: [65535, 1, 1] },
    { ...dispatch({}), workgroups: [65536, 1, 1] },
    /Cannot launch 65536 × 1 × 1 workgroups/,
  ],
  [
    { ...dispatch({}), workgroups: [2, 1, 1] },
    { ...dispatch({}), workgroups: [1.5, 1, 1] },
    /Cannot launch 1.5 × 1 × 1 workgroups/,
  ],
];

Deno.test("checkDispatch() takes what a limit holds, and names kernel, node, value and limit of what passes it", () => {
  for (const [within, beyond, message] of LIMITS) {
    checkDispatch(within, TARGET, "op (layer)");
    assert.throws(() => checkDispatch(beyond, TARGET, "op (layer)"), (error: Error) => {
      assert.ok(error instanceof RangeError);
      assert.match(error.message, message);
      assert.match(error.message, /kernel of op \(layer\)/);
      return true;
    });
  }
});
