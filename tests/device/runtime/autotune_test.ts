import assert from "node:assert/strict";
import { join } from "node:path";
import { GraphBuilder } from "../../../engine/graph/builder.ts";
import type { Dispatch } from "../../../engine/graph/op.ts";
import { type Plan, planGraphs } from "../../../engine/plan/plan.ts";
import { Autotuner } from "../../../engine/runtime/autotune.ts";
import { ChoiceCache } from "../../../engine/runtime/autotune_cache.ts";
import type { Gpu } from "../../../engine/runtime/device.ts";
import { Session } from "../../../engine/runtime/session.ts";
import { linear } from "../../../kernels/linear.ts";
import { pack } from "../../support/check_op.ts";
import { seededNumbers } from "../../support/seeded.ts";
import { deviceTest, sharedDevice } from "../../support/with_device.ts";

const { gpu: shared, pipelines } = await sharedDevice();
/** The adapter as if it were a GPU: only there are kernels timed without being asked. */
const gpu: Gpu = { ...shared, target: { ...shared.target, software: false, subgroupSize: 0 } };

const [ROWS, C_IN, C_OUT] = [70, 52, 68];

/** One product, its operands and its result. */
function product() {
  const builder = new GraphBuilder();
  const x = builder.persistents.declare("x", { shape: [ROWS, C_IN], dtype: "f32" }, "inputs");
  const w = builder.persistents.declare("w", { shape: [C_IN, C_OUT], dtype: "f32" }, "weights");
  const attrs = { transposedWeight: false, bias: false, residual: false };
  const [y] = builder.call(linear, [x, w], attrs);
  const plan = planGraphs([builder.finish("product", [y])], builder.persistents.all(), gpu.target);
  return { plan, x, w, y };
}

function onlyDispatch({ programs: [{ commands }] }: Plan): Dispatch {
  assert.equal(commands.length, 1);
  assert.ok("kernel" in commands[0]);
  return commands[0];
}

/** The bits of the product. */
async function compute(
  { x, w, y }: Omit<ReturnType<typeof product>, "plan">,
  plan: Plan,
): Promise<Uint32Array> {
  const session = await Session.open(shared, plan, { arenaFill: 0x7fc00000, pipelines });
  try {
    session.write(x, pack(seededNumbers(ROWS * C_IN, 1), "f32"));
    session.write(w, pack(seededNumbers(C_IN * C_OUT, 2), "f32"));
    await session.run();
    return new Uint32Array(await session.read(y));
  } finally {
    session.close();
  }
}

async function inTemporaryFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "autotune-" });
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("every kernel that may be chosen for a product computes the same bits", deviceTest, async () => {
  const { plan, ...values } = product();
  const { choice } = onlyDispatch(plan);
  assert.ok(choice && choice.names.length >= 4, `only ${choice?.names} to choose from`);
  assert.equal(choice.names[0], choice.chosen);
  const expected = await compute(values, plan);
  assert.ok(expected.some((word) => word !== 0) && !expected.includes(0x7fc00000));
  for (const name of choice.names.slice(1)) {
    const other: Plan = { ...plan, programs: [{ ...plan.programs[0], commands: [choice.use(name)] }] };
    assert.notEqual(onlyDispatch(other).kernel.code, onlyDispatch(plan).kernel.code, name);
    assert.deepEqual(await compute(values, other), expected, name);
  }
  assert.throws(() => choice.use("workgroup 1×1×1/1"), RangeError);
});

Deno.test("a choice is timed once, kept, and changes no byte of the plan", deviceTest, async () => {
  await inTemporaryFolder(async (folder) => {
    const { plan } = product();
    const { choice } = onlyDispatch(plan);
    const cache = new ChoiceCache(gpu.adapter, folder);
    let timed = 0;
    const first = await new Autotuner("on", cache).tune(gpu, plan, pipelines, () => timed++);
    assert.equal(timed, 1);
    assert.deepEqual(Object.keys(first.choices), [choice!.key]);
    assert.ok(choice!.names.includes(first.choices[choice!.key]));
    assert.deepEqual([...(await cache.read()).keys()], [choice!.key]);
    assert.equal(first.plan.peakBytes, plan.peakBytes);
    assert.deepEqual(first.plan.buffers, plan.buffers);

    // Another process: what the file says holds, even where the rules say otherwise.
    const [, other] = choice!.names;
    const { code } = (await cache.read()).get(choice!.key)!;
    await cache.add(new Map([[choice!.key, { kernel: other, code }]]));
    const second = await new Autotuner("on", cache).tune(gpu, plan, pipelines, () => timed++);
    assert.equal(timed, 1);
    assert.deepEqual(second.choices, { [choice!.key]: other });
    assert.equal(onlyDispatch(second.plan).kernel.code, choice!.use(other).kernel.code);

    // Kernels of another text, or one that no longer is: timed anew.
    for (const stale of [{ kernel: other, code: "00000000" }, { kernel: "workgroup 1×1×1/1", code }]) {
      await cache.add(new Map([[choice!.key, stale]]));
      const before: number = timed;
      await new Autotuner("on", cache).tune(gpu, plan, pipelines, () => timed++);
      assert.equal(timed, before + 1);
    }
    await new Autotuner("force", cache).tune(gpu, plan, pipelines, () => timed++);
    assert.equal(timed, 4);
  });
});

Deno.test("a cache that cannot be written costs the choice, not the run", deviceTest, async () => {
  await inTemporaryFolder(async (folder) => {
    const file = join(folder, "a file where a folder should be");
    await Deno.writeTextFile(file, "");
    const { plan } = product();
    const tuner = new Autotuner("on", new ChoiceCache(gpu.adapter, join(file, "kernels")));
    const { choices } = await tuner.tune(gpu, plan, pipelines);
    assert.equal(Object.keys(choices).length, 1);
    // Within the process it holds.
    let timed = 0;
    assert.deepEqual((await tuner.tune(gpu, plan, pipelines, () => timed++)).choices, choices);
    assert.equal(timed, 0);
  });
});

Deno.test("without time the rules choose, and that is kept too", deviceTest, async () => {
  await inTemporaryFolder(async (folder) => {
    const { plan } = product();
    const { choice } = onlyDispatch(plan);
    const cache = new ChoiceCache(gpu.adapter, folder);
    const { choices } = await new Autotuner("on", cache, { budgetMs: 0 }).tune(gpu, plan, pipelines);
    assert.deepEqual(choices, { [choice!.key]: choice!.chosen });
    assert.equal((await cache.read()).get(choice!.key)?.kernel, choice!.chosen);
  });
});

Deno.test(
  "nothing is timed with autotune off, nor on software adapters unless forced",
  deviceTest,
  async () => {
    await inTemporaryFolder(async (folder) => {
      const { plan } = product();
      const cache = new ChoiceCache(gpu.adapter, folder);
      const software: Gpu = { ...gpu, target: { ...gpu.target, software: true } };
      for (const [mode, on] of [["off", gpu], ["on", software]] as const) {
        const tuned = await new Autotuner(mode, cache).tune(on, plan, pipelines);
        assert.equal(tuned.plan, plan);
        assert.deepEqual(tuned.choices, {});
      }
      assert.equal((await cache.read()).size, 0);
      const { choices } = await new Autotuner("force", cache).tune(software, plan, pipelines);
      assert.equal(Object.keys(choices).length, 1);
    });
  },
);
