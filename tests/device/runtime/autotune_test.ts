import assert from "node:assert/strict";
import { join } from "node:path";
import { GraphBuilder } from "../../../engine/graph/builder.ts";
import type { Dispatch } from "../../../engine/graph/launch.ts";
import { type Plan, planGraphs } from "../../../engine/plan/plan.ts";
import { Autotuner } from "../../../engine/runtime/autotune.ts";
import { ChoiceCache } from "../../../engine/runtime/autotune_cache.ts";
import type { Gpu } from "../../../engine/runtime/gpu.ts";
import { PipelineCache } from "../../../engine/runtime/pipelines.ts";
import { timeKernels } from "../../../engine/runtime/kernel_timer.ts";
import { readBuffer } from "../../../engine/runtime/readback.ts";
import { Session } from "../../../engine/runtime/session.ts";
import { linear } from "../../../kernels/linear.ts";
import { pack } from "../../support/check_op.ts";
import { seededNumbers } from "../../support/seeded.ts";
import { deviceTest, sharedDevice } from "../../support/with_device.ts";
import { changed } from "../../support/kernel_changes.ts";

const { gpu: shared, pipelines } = await sharedDevice();
/** The adapter as if it were a GPU: only there are kernels timed without being asked. */
const gpu: Gpu = { ...shared, kernels: changed(shared.kernels, { kind: "gpu", subgroupSize: 0 }) };

/** Time to compile all there is on a software adapter: what was not timed is not kept. */
const PATIENT = { budgetMs: 600_000 };

const [ROWS, C_IN, C_OUT] = [70, 52, 68];

/** One product, its operands and its result. */
function product() {
  const builder = new GraphBuilder();
  const x = builder.persistents.declare("x", { shape: [ROWS, C_IN], dtype: "f32" }, "inputs");
  const w = builder.persistents.declare("w", { shape: [C_IN, C_OUT], dtype: "f32" }, "weights");
  const attrs = { transposedWeight: false, bias: false, residual: false };
  const [y] = builder.call(linear, [x, w], attrs);
  const plan = planGraphs([builder.finish("product", [y])], builder.persistents.all(), gpu.kernels);
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
    const first = await new Autotuner("on", cache, PATIENT).tune(gpu, plan, pipelines, () => timed++);
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
    const second = await new Autotuner("on", cache, PATIENT).tune(gpu, plan, pipelines, () => timed++);
    assert.equal(timed, 1);
    assert.deepEqual(second.choices, { [choice!.key]: other });
    assert.equal(onlyDispatch(second.plan).kernel.code, choice!.use(other).kernel.code);

    // Kernels of another text, or one that no longer is: timed anew.
    for (const stale of [{ kernel: other, code: "00000000" }, { kernel: "workgroup 1×1×1/1", code }]) {
      await cache.add(new Map([[choice!.key, stale]]));
      const before: number = timed;
      await new Autotuner("on", cache, PATIENT).tune(gpu, plan, pipelines, () => timed++);
      assert.equal(timed, before + 1);
    }
    await new Autotuner("force", cache, PATIENT).tune(gpu, plan, pipelines, () => timed++);
    assert.equal(timed, 4);
  });
});

Deno.test("a cache that cannot be written costs the choice, not the run", deviceTest, async () => {
  await inTemporaryFolder(async (folder) => {
    const file = join(folder, "a file where a folder should be");
    await Deno.writeTextFile(file, "");
    const { plan } = product();
    const tuner = new Autotuner("on", new ChoiceCache(gpu.adapter, join(file, "kernels")), PATIENT);
    const { choices } = await tuner.tune(gpu, plan, pipelines);
    assert.equal(Object.keys(choices).length, 1);
    // Within the process it holds.
    let timed = 0;
    assert.deepEqual((await tuner.tune(gpu, plan, pipelines, () => timed++)).choices, choices);
    assert.equal(timed, 0);
  });
});

Deno.test("without time the rules choose, for this process alone", deviceTest, async () => {
  await inTemporaryFolder(async (folder) => {
    const { plan } = product();
    const { choice } = onlyDispatch(plan);
    const cache = new ChoiceCache(gpu.adapter, folder);
    const late = new Autotuner("on", cache, { budgetMs: 0 });
    const byRule = { [choice!.key]: choice!.chosen };
    for (let i = 0; i < 2; i++) assert.deepEqual((await late.tune(gpu, plan, pipelines)).choices, byRule);
    assert.equal((await cache.read()).size, 0);
    // The next process has time of its own.
    let timed = 0;
    await new Autotuner("on", cache, PATIENT).tune(gpu, plan, pipelines, () => timed++);
    assert.equal(timed, 1);
    assert.equal((await cache.read()).size, 1);
  });
});

Deno.test("what was compared with a part of the others alone is not kept either", deviceTest, async () => {
  await inTemporaryFolder(async (folder) => {
    const { plan } = product();
    const cache = new ChoiceCache(gpu.adapter, folder);
    // Each kernel takes its compiler longer than there is.
    const slow = refusing(() => new Promise((resolve) => setTimeout(resolve, 20)));
    await new Autotuner("on", cache, { budgetMs: 10 }).tune(gpu, plan, slow);
    assert.equal((await cache.read()).size, 0);
  });
});

/** Pipelines of a compiler that does something before each kernel: to refuse it, that throws. */
function refusing(before: (code: string) => unknown): PipelineCache {
  return new class extends PipelineCache {
    override async get(...request: Parameters<PipelineCache["get"]>) {
      await before(request[0].code);
      return await super.get(...request);
    }
  }(gpu);
}

/** A compiler that refuses some kernels of a choice. */
function refusingOf({ choice, kernel }: Dispatch, names: readonly string[]): PipelineCache {
  const codes = names.map((name) => name === choice!.chosen ? kernel.code : choice!.use(name).kernel.code);
  return refusing((code) => {
    if (codes.includes(code)) throw new Error("the driver says no");
  });
}

Deno.test(
  "a kernel that the compiler refuses is left out of those timed, with a note",
  deviceTest,
  async () => {
    await inTemporaryFolder(async (folder) => {
      const { plan } = product();
      const { choice } = onlyDispatch(plan);
      const [first, second, ...others] = choice!.names;
      for (const refused of [[first], [second], [first, ...others]]) {
        const cache = new ChoiceCache(gpu.adapter, join(folder, refused.join()));
        const compiler = refusingOf(onlyDispatch(plan), refused);
        const { choices, notes } = await new Autotuner("on", cache, PATIENT).tune(gpu, plan, compiler);
        assert.ok(!refused.includes(choices[choice!.key]), `${choices[choice!.key]} of ${refused}`);
        assert.deepEqual(
          notes,
          refused.map((name) => `${name} is left out of ${choice!.key}: the driver says no`),
        );
        // All that can be had was timed.
        assert.equal((await cache.read()).get(choice!.key)?.kernel, choices[choice!.key]);
      }
    });
  },
);

Deno.test("a step runs without the kernels that the compiler refuses, tuned or not", deviceTest, async () => {
  const { plan, ...values } = product();
  const { choice } = onlyDispatch(plan);
  const expected = await compute(values, plan);
  for (const refused of [choice!.names.slice(0, 1), choice!.names.slice(0, -1)]) {
    // Autotune is off on this device.
    const session = await Session.open(shared, plan, { pipelines: refusingOf(onlyDispatch(plan), refused) });
    try {
      const used = choice!.names[refused.length];
      assert.deepEqual(session.kernelChoices, { [choice!.key]: used });
      assert.equal(session.kernelNotes.length, refused.length);
      assert.equal(
        session.kernelNotes[0],
        `${choice!.names[1]} takes the place of ${choice!.chosen} in ${choice!.key}: the driver says no`,
      );
      session.write(values.x, pack(seededNumbers(ROWS * C_IN, 1), "f32"));
      session.write(values.w, pack(seededNumbers(C_IN * C_OUT, 2), "f32"));
      await session.run();
      assert.deepEqual(new Uint32Array(await session.read(values.y)), expected);
    } finally {
      session.close();
    }
  }
  const compiler = refusingOf(onlyDispatch(plan), choice!.names);
  await assert.rejects(Session.open(shared, plan, { pipelines: compiler }), (error: Error) => {
    assert.match(error.message, /^Cannot compile any of the \d+ kernels for .*the driver says no/);
    for (const name of choice!.names) assert.ok(error.message.includes(name), name);
    return true;
  });
});

/** The shared device with other methods in place of its own. */
function deviceWith(methods: Partial<GPUDevice>): GPUDevice {
  return new Proxy(shared.device, {
    get(target, name) {
      const value = Reflect.get(methods, name) ?? Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

Deno.test(
  "what the compiler reports as internal is an error of the kernel, not of the device",
  deviceTest,
  async () => {
    const filters: GPUErrorFilter[] = [];
    const device = deviceWith({
      pushErrorScope(filter) {
        filters.push(filter);
        return shared.device.pushErrorScope(filter) as undefined;
      },
      async popErrorScope() {
        const filter = filters.pop();
        const error = await shared.device.popErrorScope();
        return filter === "internal" ? { message: "registers ran out" } : error;
      },
    });
    const code = "@compute @workgroup_size(1) fn fine() {}";
    const kernel = { name: "fine", code, entryPoint: "fine", writes: [] };
    const pipelines = new PipelineCache({ ...shared, device });
    await assert.rejects(pipelines.get(kernel, 0), /Cannot compile kernel fine: registers ran out/);
    assert.deepEqual(filters, [], "every scope is closed");
    assert.equal(pipelines.size, 0);
  },
);

Deno.test("kernels are timed on noise, from end to end of every buffer", deviceTest, async () => {
  const { plan } = product();
  const { choice, bindings } = onlyDispatch(plan);
  const ranges: GPUBuffer[] = [];
  const device = deviceWith({
    createBuffer(descriptor) {
      const storage = (descriptor.usage & GPUBufferUsage.STORAGE) !== 0;
      const buffer = shared.device.createBuffer({
        ...descriptor,
        usage: descriptor.usage | (storage ? GPUBufferUsage.COPY_SRC : 0),
      });
      if (storage) ranges.push(buffer);
      return buffer;
    },
  });
  const found: Float32Array[] = [];
  // When the first kernel is compiled, none has run.
  const compiler = refusing(async () => {
    if (found.length > 0) return;
    for (const range of ranges) found.push(new Float32Array(await readBuffer(shared, range, 0, range.size)));
  });
  const launches = choice!.names.map((name) =>
    [name, name === choice!.chosen ? onlyDispatch(plan) : choice!.use(name)] as const
  );
  const { ms, complete } = await timeKernels({ ...gpu, device }, launches, compiler, () => true);
  assert.ok(complete && ms.size === launches.length && [...ms.values()].every((time) => time > 0));
  assert.deepEqual(found.map(({ byteLength }) => byteLength), bindings.map(({ byteLength }) => byteLength));
  for (const numbers of found) {
    assert.ok(numbers.every((number) => number !== 0 && Math.abs(number) < 0.01));
    assert.ok(new Set(numbers).size > 0.9 * numbers.length, "of no pattern");
  }
});

Deno.test(
  "nothing is timed with autotune off, nor on software adapters unless forced",
  deviceTest,
  async () => {
    await inTemporaryFolder(async (folder) => {
      const { plan } = product();
      const cache = new ChoiceCache(gpu.adapter, folder);
      const software: Gpu = { ...gpu, kernels: changed(gpu.kernels, { kind: "software" }) };
      for (const [mode, on] of [["off", gpu], ["on", software]] as const) {
        const tuned = await new Autotuner(mode, cache).tune(on, plan, pipelines);
        assert.equal(tuned.plan, plan);
        assert.deepEqual(tuned.choices, {});
      }
      assert.equal((await cache.read()).size, 0);
      const { choices } = await new Autotuner("force", cache, PATIENT).tune(software, plan, pipelines);
      assert.equal(Object.keys(choices).length, 1);
    });
  },
);
