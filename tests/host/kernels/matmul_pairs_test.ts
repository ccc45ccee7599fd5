import assert from "node:assert/strict";
import type { Located, Target } from "../../../engine/graph/op.ts";
import { type Dtype, DTYPE_BYTES } from "../../../engine/graph/types.ts";
import { plannedTarget } from "../../../engine/runtime/planned_target.ts";
import { matmulCommands } from "../../../kernels/matmul.ts";

const WIDE: Target = { ...plannedTarget("software"), subgroupSize: 16 };

/** Whether a product of 64 rows and 32 terms is stored in words of 64 bits, eight columns each. */
function storesPairs(
  { columns = 64, dtype = "f32", target = {}, ...rest }: {
    columns?: number;
    dtype?: Dtype;
    target?: Partial<Target>;
    accumulate?: boolean;
    tileRows?: number;
  } = {},
): boolean {
  const [rows, terms] = [64, 32];
  const located = (buffer: number, count: number): Located => ({
    name: `value ${buffer}`,
    shape: [count],
    dtype,
    buffer,
    byteOffset: 0,
    byteLength: count * DTYPE_BYTES[dtype],
  });
  const commands = matmulCommands({
    name: "product",
    m: rows,
    n: columns,
    k: terms,
    a: { value: located(0, rows * terms), ld: terms },
    b: { value: located(1, terms * columns), ld: columns },
    c: { value: located(2, rows * columns), ld: columns },
    ...rest,
  }, { ...WIDE, ...target });
  const codes = commands.map((command) => "clear" in command ? "" : command.kernel.code);
  assert(codes.every((code) => code.includes("fourOf_")), "a product that does not read the scratch texture");
  return codes.every((code) => code.includes("pairOf("));
}

Deno.test("subgroups of 16 lanes store products in pairs of fours, in tiles of every size", () => {
  assert(storesPairs());
  assert(storesPairs({ tileRows: 32 }));
});

Deno.test("products are not stored in pairs where rows are no whole pairs, nor on other adapters", () => {
  assert(!storesPairs({ columns: 68 }));
  assert(!storesPairs({ target: { subgroupSize: 8 } }));
  assert(!storesPairs({ target: { shaderInt64: false } }));
});

Deno.test("halves are packed into pairs in large tiles alone, as packing takes long to compile", () => {
  assert(!storesPairs({ dtype: "f16" }));
  assert(storesPairs({ dtype: "f16", tileRows: 32 }));
});
