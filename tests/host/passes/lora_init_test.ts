// How adapters begin: A uniform or normal, B zero.
import assert from "node:assert/strict";
import { injectLora, type LoraSettings } from "../../../engine/passes/lora.ts";
import type { Parameter, SharedDraft } from "../../../engine/passes/step.ts";
import type { ParameterSpec } from "../../../engine/model/parameters.ts";
import { initialValues } from "../../../engine/train/initial_values.ts";

const [RANK, IN, OUT] = [16, 400, 300];

/** First values of an adapter on one linear layer of `IN` × `OUT`. */
async function firstValues(init: LoraSettings["init"], modules?: LoraSettings["modules"]) {
  const spec: ParameterSpec = {
    name: "h.0.c_attn.weight",
    shape: [OUT, IN],
    init: { kind: "constant", value: 0 },
    decay: true,
    linear: "out_in",
  };
  const parameters = [{ spec, trainable: true } as Parameter];
  const persistents = { declare: () => ({}) };
  injectLora({
    ...{ rank: RANK, alpha: 16, dropout: 0, targetModules: ["c_attn"], rankStabilized: false, modules },
    ...init && { init },
  }).declare!({ persistents, parameters } as unknown as SharedDraft);
  const added = parameters.filter(({ added }) => added).map(({ spec: { name, shape, init } }) => ({
    name,
    init,
    elementCount: shape.reduce((a, b) => a * b, 1),
  }));
  const found = new Map<string, number[]>();
  for await (const { tensor, values } of initialValues(added, 3)) {
    found.set(tensor.name, [...found.get(tensor.name) ?? [], ...values]);
  }
  return { a: found.get("h.0.c_attn.lora_A.weight")!, b: found.get("h.0.c_attn.lora_B.weight")! };
}

/** Standard deviation, and the share of values beyond it. */
function spreadOf(values: readonly number[]) {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  const deviation = Math.sqrt(values.reduce((sum, one) => sum + (one - mean) ** 2, 0) / values.length);
  return {
    mean,
    deviation,
    beyond: values.filter((one) => Math.abs(one) > deviation).length / values.length,
  };
}

const near = (got: number, wanted: number, tolerance: number) =>
  assert.ok(Math.abs(got - wanted) < tolerance, `${got}, expected ${wanted} ± ${tolerance}`);

Deno.test("adapters begin uniform within ±1/√in where nothing is said, and with B at zero", async () => {
  for (const init of [undefined, "uniform"] as const) {
    const { a, b } = await firstValues(init);
    const bound = 1 / Math.sqrt(IN);
    assert.equal(a.length, RANK * IN);
    assert.ok(a.every((value) => Math.abs(value) <= bound));
    near(spreadOf(a).deviation, bound / Math.sqrt(3), 0.02 * bound);
    assert.ok(b.length === OUT * RANK && b.every((value) => value === 0));
  }
});

Deno.test("adapters begin normal with a deviation of 1/rank, each module's own, where that is asked for", async () => {
  for (const rank of [RANK, 4]) {
    const { a, b } = await firstValues("normal", new Map([["h.0.c_attn", { rank, alpha: 16 }]]));
    const { mean, deviation, beyond } = spreadOf(a);
    near(mean, 0, 4 / rank / Math.sqrt(a.length));
    near(deviation, 1 / rank, 0.05 / rank);
    near(beyond, 0.3173, 0.04); // a uniform one has 42 %
    assert.ok(b.every((value) => value === 0));
  }
});
