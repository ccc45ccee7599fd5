import { GraphBuilder } from "../../engine/graph/builder.ts";
import type { OpDefinition } from "../../engine/graph/op.ts";
import type { TensorType } from "../../engine/graph/types.ts";
import { planGraphs } from "../../engine/plan/plan.ts";
import { Session } from "../../engine/runtime/session.ts";
import { NEUTRAL_STEP, type StepBlock } from "../../kernels/step_block.ts";
import { pack, unpack } from "./check_op.ts";
import { sharedDevice } from "./with_device.ts";
import { changed, type KernelChanges } from "./kernel_changes.ts";

/** One op on the device whose inputs keep their contents between runs, as an optimizer's do. */
export interface OpSession extends Disposable {
  /** Dispatches of a run. */
  readonly dispatches: number;
  write(input: number, numbers: ArrayLike<number>): void;
  read(input: number): Promise<Float64Array>;
  run(step?: Partial<StepBlock>): Promise<void>;
}

/**
 * Plans `op` over persistent inputs of these types, with transient memory full of NaN; inputs start as zeros.
 */
export async function openOp<Attrs>(
  op: OpDefinition<Attrs>,
  inputs: readonly TensorType[],
  attrs: Attrs,
  target: KernelChanges = {},
): Promise<OpSession> {
  const { gpu, pipelines } = await sharedDevice();
  const builder = new GraphBuilder();
  const values = inputs.map((type, i) => builder.persistents.declare(`input${i}`, type, "inputs"));
  builder.call(op, values, attrs);
  const plan = planGraphs(
    [builder.finish("op", [])],
    builder.persistents.all(),
    changed(gpu.kernels, target),
  );
  const session = await Session.open(gpu, plan, { arenaFill: 0x7fc00000, pipelines });
  return {
    dispatches: plan.programs[0].commands.length,
    write: (input, numbers) => session.write(values[input], pack(numbers, values[input].dtype)),
    read: async (input) => unpack(await session.read(values[input]), values[input]),
    run: (step = {}) => {
      session.writeStep({ ...NEUTRAL_STEP, ...step });
      return session.run();
    },
    [Symbol.dispose]: () => session.close(),
  };
}
