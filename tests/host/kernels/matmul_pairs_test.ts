import assert from "node:assert/strict";
import type { Located, Target } from "../../../engine/graph/op.ts";
import { type Dtype, DTYPE_BYTES } from "../../../engine/graph/types.ts";
import { plannedTarget } from "../../../engine/runtime/planned_target.ts";
import { matmulCommands } from "../../../kernels/matmul.ts";

const WIDE: Target = { ...plannedTarget("software"), subgroupSize: 16 };

/** How a product of 64 rows and 32 terms is stored by the lower lanes, if by them alone. */
function storesOf(
  { columns = 64, dtype = "f32", target = {}, ...rest }: {
    columns?: number;
    dtype?: Dtype;
    target?: Partial<Target>;
    tileRows?: number;
  } = {},
): "pairs" | "halves" | undefined {
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
  const [{ code }, ...others] = commands.map((command) => "clear" in command ? { code: "" } : command.kernel);
  assert(code.includes("fourOf_") && others.length === 0, "not one product that reads the scratch texture");
  return code.includes("pairOf(") ? "pairs" : code.includes("otherHalf(") ? "halves" : undefined;
}

Deno.test("subgroups of 16 lanes store products in pairs of fours, in tiles of every size", () => {
  assert.equal(storesOf(), "pairs");
  assert.equal(storesOf({ tileRows: 32 }), "pairs");
});

Deno.test("products are not stored in pairs where rows are no whole pairs, nor on other adapters", () => {
  assert.equal(storesOf({ columns: 68 }), undefined);
  assert.equal(storesOf({ columns: 68, tileRows: 32 }), "halves");
  assert.equal(storesOf({ target: { subgroupSize: 8 } }), undefined);
  assert.equal(storesOf({ target: { shaderInt64: false } }), undefined);
});

Deno.test("halves are packed into pairs in large tiles alone, as packing takes long to compile", () => {
  assert.equal(storesOf({ dtype: "f16" }), undefined);
  assert.equal(storesOf({ dtype: "f16", tileRows: 32 }), "pairs");
});
