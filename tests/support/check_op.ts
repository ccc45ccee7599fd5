import { GraphBuilder } from "../../engine/graph/builder.ts";
import type { OpDefinition } from "../../engine/graph/op.ts";
import { type Dtype, elementCount, type Value } from "../../engine/graph/types.ts";
import { verifyGraph } from "../../engine/graph/verify.ts";
import { appendBackward } from "../../engine/passes/autodiff.ts";
import { planGraphs } from "../../engine/plan/plan.ts";
import { Session } from "../../engine/runtime/session.ts";
import type { StepBlock } from "../../kernels/step_block.ts";
import { NEUTRAL_STEP } from "../../kernels/step_block.ts";
import { contents, interpret, type Memory } from "./interpret.ts";
import { assertClose, numericalGradient, tolerance } from "./numerics.ts";
import { seededNumbers } from "./seeded.ts";
import { sharedDevice } from "./with_device.ts";
import { changed, type KernelChanges } from "./kernel_changes.ts";

/** An input of the op under test. Without `data`, seeded numbers in [−1, 1). */
export interface TestInput {
  shape: readonly number[];
  dtype?: Dtype;
  data?: ArrayLike<number>;
  /** Scale of the seeded numbers. */
  scale?: number;
}

/** Settings of `checkKernel`. */
export interface KernelCheck {
  /** Changes to the device's target: a tiny binding limit, `kind: "gpu"`, … */
  target?: KernelChanges;
  /** Products summed per output element; widens the tolerance by its root. */
  terms?: number;
  /**
   * Allowed error relative to the largest expected magnitude; default from the output's dtype and `terms`.
   */
  allowed?: number;
  /** Outputs not compared (scratch memory), by index. */
  skipOutputs?: readonly number[];
  step?: Partial<StepBlock>;
  what?: string;
}

/**
 * Runs one op on the device, with all transient memory filled with NaN first, and compares every output and
 * every mutated input with the op's f64 reference. Inputs are rounded to their dtype before both.
 *
 * @returns Outputs as the device computed them.
 */
export async function checkKernel<Attrs>(
  op: OpDefinition<Attrs>,
  inputs: readonly TestInput[],
  attrs: Attrs,
  check: KernelCheck = {},
): Promise<Float64Array[]> {
  const { gpu, pipelines } = await sharedDevice();
  const builder = new GraphBuilder();
  const values = inputs.map(({ shape, dtype = "f32" }, i) =>
    builder.persistents.declare(`input${i}`, { shape, dtype }, "inputs")
  );
  const outputs = builder.call(op, values, attrs);
  const graph = builder.finish("check", outputs);
  verifyGraph(graph, "check");
  const plan = planGraphs([graph], builder.persistents.all(), changed(gpu.kernels, check.target));
  const session = await Session.open(gpu, plan, { arenaFill: 0x7fc00000, pipelines });
  try {
    const memory: Memory = new Map();
    values.forEach((value, i) => {
      const packed = pack(
        inputs[i].data ?? seededNumbers(elementCount(value), i + 1, inputs[i].scale),
        value.dtype,
      );
      session.write(value, packed);
      memory.set(value.id, unpack(packed.buffer, value));
    });
    session.writeStep({ ...NEUTRAL_STEP, ...check.step });
    await session.run();

    interpret(graph, memory);
    const mutated = (op.mutates?.(values, attrs) ?? []).map((i) => values[i]);
    const actual: Float64Array[] = [];
    for (const value of outputs) actual.push(unpack(await session.read(value), value));
    for (const [i, value] of [...outputs, ...mutated].entries()) {
      if (i < outputs.length && check.skipOutputs?.includes(i)) continue;
      const got = i < outputs.length ? actual[i] : unpack(await session.read(value), value);
      const allowed = check.allowed ?? tolerance(value.dtype, check.terms);
      const what = `${check.what ?? op.name} ${value.name} [${value.shape}]`;
      assertClose(got, contents(memory, value), allowed, what);
    }
    return actual;
  } finally {
    session.close();
  }
}

/** Settings of `checkVjp`. */
export interface VjpCheck {
  /** Inputs to differentiate by; default: all f32 and f16 ones. */
  wrt?: readonly number[];
  /** Relative error allowed; the references are f64, so little is needed. */
  allowed?: number;
  /**
   * Weighs these outputs only (an op's saved statistics are no function to
   * differentiate). Default: the first.
   */
  outputs?: readonly number[];
}

/**
 * Compares the VJP of an op with central differences of its reference, all in f64: gradients of Σ weights ·
 * outputs with random weights. Checked twice, without and with prior gradients for every input.
 */
export function checkVjp<Attrs>(
  op: OpDefinition<Attrs>,
  inputs: readonly TestInput[],
  attrs: Attrs,
  { wrt, allowed = 1e-7, outputs: weighed = [0] }: VjpCheck = {},
): void {
  for (const priors of [false, true]) {
    const builder = new GraphBuilder();
    const values = inputs.map(({ shape, dtype = "f32" }, i) =>
      builder.persistents.declare(`input${i}`, { shape, dtype }, "inputs")
    );
    const data = inputs.map(({ data, scale }, i) =>
      data ? Float64Array.from(data) : seededNumbers(elementCount(values[i]), i + 1, scale)
    );
    const floating = values.flatMap((
      value,
      i,
    ) => (value.dtype === "f32" || value.dtype === "f16" ? [i] : []));
    const differentiated = wrt ?? floating;
    const outputs = builder.call(op, values, attrs);
    // A loss op starts its gradient itself, with one.
    const weights = weighed.map((o) =>
      op.gradientReplacesForward ? new Float64Array([1]) : seededNumbers(elementCount(outputs[o]), 100 + o)
    );
    const forward = builder.finish("forward", outputs);

    // Seeds of the output gradients are persistent values, fed as if a later op had produced them.
    const seeds = weighed.map((o, i) =>
      builder.persistents.declare(`seed${i}`, { shape: outputs[o].shape, dtype: "f32" }, "inputs")
    );
    const seedOf = new Map(weighed.map((o, i) => [outputs[o], seeds[i]]));
    const accumulators = new Map<Value, Value>();
    for (const i of priors ? differentiated : []) {
      const type = { shape: values[i].shape, dtype: "f32" as const };
      accumulators.set(values[i], builder.persistents.declare(`prior${i}`, type, "gradients"));
    }
    const gradients = appendBackward(builder, {
      loss: outputs[0],
      trainable: differentiated.map((i) => values[i]),
      accumulators: new Map([...accumulators, ...seedOf]),
    });
    const memory: Memory = new Map();
    values.forEach((value, i) => memory.set(value.id, data[i].slice()));
    seeds.forEach((seed, i) => memory.set(seed.id, weights[i].slice()));
    const priorData = new Map([...accumulators].map(([value, prior], n) => {
      const numbers = seededNumbers(elementCount(value), 200 + n);
      memory.set(prior.id, numbers.slice());
      return [value, numbers];
    }));
    const graph = builder.finish("vjp", [...gradients.values()].filter((gradient) => !gradient.persistent));
    verifyGraph(graph, "vjp");
    interpret(graph, memory);

    const objective = () => {
      const run: Memory = new Map();
      values.forEach((value, i) => run.set(value.id, data[i].slice()));
      interpret(forward, run);
      return weighed.reduce((sum, o, n) => {
        const output = contents(run, outputs[o]);
        return sum + output.reduce((inner, x, i) => inner + x * weights[n][i], 0);
      }, 0);
    };
    for (const i of differentiated) {
      const gradient = gradients.get(values[i]);
      if (!gradient) throw new Error(`${op.name}: no gradient for input ${i}`);
      const expected = numericalGradient(objective, data[i]);
      priorData.get(values[i])?.forEach((x, n) => expected[n] += x);
      assertClose(
        contents(memory, gradient),
        expected,
        allowed,
        `${op.name} gradient of input ${i}${priors ? " with a prior" : ""}`,
        Math.max(1, ...expected.map(Math.abs)),
      );
    }
  }
}

/** Numbers as the bytes of a value. */
export function pack(
  numbers: ArrayLike<number>,
  dtype: Dtype,
):
  | Float32Array<ArrayBuffer>
  | Float16Array<ArrayBuffer>
  | Uint32Array<ArrayBuffer>
  | Int32Array<ArrayBuffer>
  | Uint8Array<ArrayBuffer> {
  if (dtype === "f16") return Float16Array.from(numbers);
  if (dtype === "u32") return Uint32Array.from(numbers);
  if (dtype === "i32") return Int32Array.from(numbers);
  if (dtype === "u8") return Uint8Array.from(numbers);
  return Float32Array.from(numbers);
}

/** The bytes of a value as numbers. */
export function unpack(bytes: ArrayBuffer, value: Value): Float64Array {
  const count = elementCount(value);
  switch (value.dtype) {
    case "f16":
      return Float64Array.from(new Float16Array(bytes, 0, count));
    case "u32":
      return Float64Array.from(new Uint32Array(bytes, 0, count));
    case "i32":
      return Float64Array.from(new Int32Array(bytes, 0, count));
    case "u8":
      return Float64Array.from(new Uint8Array(bytes, 0, count));
    case "f32":
      return Float64Array.from(new Float32Array(bytes, 0, count));
    default:
      return value.dtype satisfies never;
  }
}
