import { GraphBuilder } from "../../engine/graph/builder.ts";
import type { OpDefinition } from "../../engine/graph/op.ts";
import type { Value } from "../../engine/graph/types.ts";
import { planGraphs } from "../../engine/plan/plan.ts";
import { Session } from "../../engine/runtime/session.ts";
import { NEUTRAL_STEP, type StepBlock } from "../../kernels/step_block.ts";
import type { OptimizerFixture } from "./optimizer_fixture.ts";
import { unpack } from "./check_op.ts";
import { sharedDevice } from "./with_device.ts";

/**
 * Runs an optimizer op over the gradients of a fixture on the device.
 *
 * @param stateCount State values per tensor; all start as zeros.
 * @param stepBlock Fields of the step block for a step, counted from 0.
 * @param onStep Called with the weights and states of every tensor after every step.
 */
export async function runOptimizer<Attrs>(
  op: OpDefinition<Attrs>,
  attrs: Attrs,
  fixture: OptimizerFixture<unknown>,
  { stateCount, stepBlock, onStep }: {
    stateCount: number;
    stepBlock: (step: number) => Partial<StepBlock>;
    onStep: (step: number, tensor: string, weights: Float64Array, states: Float64Array[]) => void;
  },
): Promise<void> {
  const { gpu, pipelines } = await sharedDevice();
  const builder = new GraphBuilder();
  const declare = (name: string, shape: readonly number[], role: Value["role"]) =>
    builder.persistents.declare(name, { shape, dtype: "f32" }, role);
  const clip = declare("clip", [4], "inputs");
  const values = fixture.tensors.map(({ name, shape }) => ({
    name,
    w: declare(name, shape, "weights"),
    g: declare(`${name}.grad`, shape, "gradients"),
    states: Array.from({ length: stateCount }, (_, i) => declare(`${name}.state${i}`, shape, "optimizer")),
  }));
  builder.call(op, [clip, ...values.flatMap(({ w, g, states }) => [w, g, ...states])], attrs);
  const plan = planGraphs([builder.finish("optimizer", [])], builder.persistents.all(), gpu.kernels);
  const session = await Session.open(gpu, plan, { pipelines });
  try {
    session.write(clip, Float32Array.of(0, 1, 0, 0));
    for (const { name, w, states } of values) {
      session.write(w, fixture.initial(name));
      for (const state of states) session.write(state, new Float32Array(fixture.initial(name).length));
    }
    for (let step = 0; step < fixture.steps; step++) {
      for (const { name, g } of values) session.write(g, fixture.gradient(name, step));
      session.writeStep({ ...NEUTRAL_STEP, ...stepBlock(step) });
      await session.run();
      for (const { name, w, states } of values) {
        const contents = [];
        for (const value of [w, ...states]) contents.push(unpack(await session.read(value), value));
        onStep(step, name, contents[0], contents.slice(1));
      }
    }
  } finally {
    session.close();
  }
}
