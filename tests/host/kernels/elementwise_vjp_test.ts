import assert from "node:assert/strict";
import { ShapeError } from "../../../engine/graph/op.ts";
import { add, gelu, geluMul, relu, scale, siluMul, softCap, tanh } from "../../../kernels/elementwise.ts";
import { checkVjp } from "../../support/check_op.ts";

const WIDE = { shape: [3, 7], scale: 4 };

Deno.test("gelu: the VJP agrees with central differences, in both forms", () => {
  checkVjp(gelu, [WIDE], { approximation: "tanh" });
  checkVjp(gelu, [WIDE], { approximation: "erf" });
});

Deno.test("silu_mul: the VJP agrees with central differences, together and alone", () => {
  checkVjp(siluMul, [WIDE, WIDE], {});
  checkVjp(siluMul, [WIDE, WIDE], {}, { wrt: [0] });
  checkVjp(siluMul, [WIDE, WIDE], {}, { wrt: [1] });
});

Deno.test("gelu_mul: the VJP agrees with central differences in both forms, together and alone", () => {
  for (const approximation of ["tanh", "erf"] as const) {
    checkVjp(geluMul, [WIDE, WIDE], { approximation });
    checkVjp(geluMul, [WIDE, WIDE], { approximation }, { wrt: [0] });
    checkVjp(geluMul, [WIDE, WIDE], { approximation }, { wrt: [1] });
  }
});

Deno.test("relu: the VJP agrees with central differences", () => {
  checkVjp(relu, [WIDE], {});
});

Deno.test("tanh and scale: the VJP agrees with central differences", () => {
  checkVjp(tanh, [WIDE], {});
  checkVjp(scale, [WIDE], { factor: -0.3 });
});

Deno.test("add: the VJP gives the output's gradient to each operand", () => {
  checkVjp(add, [WIDE, WIDE], {}, { wrt: [0] });
  checkVjp(add, [WIDE, WIDE], {}, { wrt: [1] });
});

Deno.test("gelu: the references match values computed elsewhere", () => {
  // Both formulas with math.erf and math.tanh of CPython.
  const x = Float64Array.of(-3, -1, 0.5, 2);
  const types = { inputs: [{ shape: [4], dtype: "f32" as const }], outputs: [] };
  const expected = {
    erf: [-0.00404969409489031, -0.15865525393145707, 0.34573123063700656, 1.9544997361036416],
    tanh: [-0.0036373920817729943, -0.15880800939172324, 0.34571400982514394, 1.954597694087775],
  };
  for (const approximation of ["erf", "tanh"] as const) {
    const [y] = gelu.reference([x], { approximation }, types);
    y.forEach((v, i) =>
      assert.ok(Math.abs(v - expected[approximation][i]) <= 1e-14, `${approximation} ${x[i]}: ${v}`)
    );
  }
});

Deno.test("soft_cap: the reference matches values computed elsewhere", () => {
  // 30 · tanh(x / 30) with math.tanh of CPython.
  const types = { inputs: [{ shape: [3], dtype: "f32" as const }], outputs: [] };
  const [y] = softCap.reference([Float64Array.of(-90, 1, 30)], { cap: 30 }, types);
  const expected = [-29.851642610601914, 0.9996297941646859, 22.847824678672946];
  y.forEach((v, i) => assert.ok(Math.abs(v - expected[i]) <= 1e-12, `${i}: ${v}`));
});

Deno.test("elementwise ops refuse operands that do not fit", () => {
  const f32 = { shape: [2, 3], dtype: "f32" as const };
  assert.throws(() => add.inferTypes([f32, { shape: [2, 2], dtype: "f32" }], {}), ShapeError);
  assert.throws(() => siluMul.inferTypes([f32, { shape: [2, 3], dtype: "f16" }], {}), ShapeError);
});
