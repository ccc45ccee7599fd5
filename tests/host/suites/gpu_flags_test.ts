import assert from "node:assert/strict";
import { applyGpuFlags } from "../../../suites/cli/gpu_flags.ts";
import { providerFlags } from "../../../suites/measure_cell.ts";

const VARIABLES = ["THREEFOLD_GPU", "THREEFOLD_AUTOTUNE"] as const;

/** Runs a test with both variables as given, and leaves them as they were. */
function withVariables(values: Partial<Record<typeof VARIABLES[number], string>>, body: () => void): void {
  const before = VARIABLES.map((name) => Deno.env.get(name));
  const set = (name: string, value: string | undefined) =>
    value === undefined ? Deno.env.delete(name) : Deno.env.set(name, value);
  try {
    for (const name of VARIABLES) set(name, values[name]);
    body();
  } finally {
    VARIABLES.forEach((name, i) => set(name, before[i]));
  }
}

Deno.test("--gpu and --autotune hold for the process and for those it starts", () => {
  withVariables({ THREEFOLD_GPU: "wgpu" }, () => {
    applyGpuFlags({ values: { gpu: "dawn", autotune: "force" } });
    assert.equal(Deno.env.get("THREEFOLD_GPU"), "dawn");
    assert.equal(Deno.env.get("THREEFOLD_AUTOTUNE"), "force");
    applyGpuFlags({ values: {} });
    assert.equal(Deno.env.get("THREEFOLD_GPU"), "dawn");
  });
});

Deno.test("an unknown provider or mode is refused by the flag's name, or the variable's", () => {
  const refused = (values: Record<string, string>, message: string) =>
    assert.throws(() => applyGpuFlags({ values }), { name: "InputError", message });
  withVariables({}, () => {
    refused({ gpu: "metal" }, "Cannot use --gpu metal: expected wgpu or dawn");
    refused({ gpu: "" }, "Cannot use --gpu : expected wgpu or dawn");
    refused({ autotune: "yes" }, "Cannot use --autotune yes: expected on, off, force");
    assert.equal(Deno.env.get("THREEFOLD_GPU"), undefined);
  });
  withVariables({ THREEFOLD_GPU: "Dawn" }, () => {
    refused({}, "Cannot use THREEFOLD_GPU Dawn: expected wgpu or dawn");
    applyGpuFlags({ values: { gpu: "dawn" } });
  });
  withVariables({ THREEFOLD_AUTOTUNE: "1" }, () => {
    refused({}, "Cannot use THREEFOLD_AUTOTUNE 1: expected on, off, force");
  });
  withVariables({ THREEFOLD_GPU: "", THREEFOLD_AUTOTUNE: "" }, () => applyGpuFlags({ values: {} }));
});

Deno.test("a record's command names the provider where it is not the usual one", () => {
  assert.deepEqual(providerFlags({ gpuProvider: "wgpu" }), []);
  assert.deepEqual(providerFlags({ gpuProvider: "dawn" }), ["--gpu", "dawn"]);
});
