import assert from "node:assert/strict";
import { completeWgsl } from "../../../engine/runtime/pipelines.ts";

Deno.test("completeWgsl() enables f16 for code that uses it, not for comments that speak of it", () => {
  assert.match(completeWgsl("alias act_t = f16;\n"), /^enable f16;/);
  assert.doesNotMatch(completeWgsl("// act_t is f32 or f16\nalias act_t = f32; // not f16\n"), /enable f16/);
});
