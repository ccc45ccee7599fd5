import { GraphBuilder } from "../../engine/graph/builder.ts";
import type { Graph } from "../../engine/graph/graph.ts";
import type { Value } from "../../engine/graph/types.ts";
import { verifyGraph } from "../../engine/graph/verify.ts";
import type { Model } from "../../engine/model/config.ts";
import { type BatchInputs, declareInputs } from "../../engine/model/inputs.ts";
import { LayerContext } from "../../engine/model/layers.ts";
import type { ParameterSpec } from "../../engine/model/parameters.ts";
import { appendBackward } from "../../engine/passes/autodiff.ts";
import { planGraphs } from "../../engine/plan/plan.ts";
import { Session } from "../../engine/runtime/session.ts";
import { pack, unpack } from "./check_op.ts";
import { contents, interpret, type Memory } from "./interpret.ts";
import type { ModelFixture } from "./model_fixture.ts";
import { assertClose } from "./numerics.ts";
import { sharedDevice } from "./with_device.ts";

/** One batch of a model. */
export interface FixtureBatch {
  tokens: ArrayLike<number>;
  targets: ArrayLike<number>;
  tokenTypes?: ArrayLike<number>;
  segments?: ArrayLike<number>;
  /** Those of whole sequences unless given. */
  positions?: ArrayLike<number>;
}

/** Forward and backward graph of a model, without optimizer or memory methods. */
interface GradientGraph {
  builder: GraphBuilder;
  graph: Graph;
  inputs: BatchInputs;
  parameters: { spec: ParameterSpec; value: Value; gradient: Value }[];
}

function buildGradients(model: Model, batch: number, sequence: number, packed = false): GradientGraph {
  const builder = new GraphBuilder();
  const inputs = declareInputs(builder.persistents, model.inputs({ batch, sequence, packed }));
  const parameters = model.parameters.map((spec) => ({
    spec,
    value: builder.persistents.declare(spec.name, { shape: spec.shape, dtype: "f32" }, "weights"),
  }));
  const loss = model.loss(new LayerContext(builder, { batch, sequence, inputs, parameters, dropout: 0 }));
  const gradients = appendBackward(builder, { loss, trainable: parameters.map(({ value }) => value) });
  const graph = builder.finish("step", [...gradients.values()]);
  verifyGraph(graph, "autodiff");
  const withGradients = parameters.map(({ spec, value }) => {
    const gradient = gradients.get(value);
    if (!gradient) throw new Error(`${spec.name} has no gradient`);
    return { spec, value, gradient };
  });
  return { builder, graph, inputs, parameters: withGradients };
}

/** Contents of all inputs, as a data feed would make them. */
function batchContents(inputs: BatchInputs, sequence: number, batch: FixtureBatch): [Value, Float64Array][] {
  const filled: [Value, Float64Array][] = [];
  const put = (value: Value | undefined, numbers: ArrayLike<number>) => {
    if (value) filled.push([value, Float64Array.from(numbers)]);
  };
  const putIds = (ids: Value | undefined, order: Value | undefined, numbers: ArrayLike<number>) => {
    put(ids, numbers);
    put(order, Array.from(numbers, (_, i) => i).sort((a, b) => numbers[a] - numbers[b] || a - b));
  };
  const zeros = new Float64Array(batch.tokens.length);
  putIds(inputs.tokens, inputs.tokenOrder, batch.tokens);
  putIds(inputs.positions, inputs.positionOrder, batch.positions ?? zeros.map((_, i) => i % sequence));
  putIds(inputs.tokenTypes, inputs.tokenTypeOrder, batch.tokenTypes ?? zeros);
  put(inputs.segments, batch.segments ?? zeros);
  put(inputs.targets, batch.targets);
  put(inputs.loss, [0]);
  for (const { value, spec } of inputs.constants) put(value, spec.data());
  return filled;
}

/**
 * Builds forward and backward graph of a fixture's model, runs them by the f64 references, and compares the
 * loss and the gradient of every parameter with PyTorch's.
 */
export async function checkModelGradients(
  fixture: Pick<ModelFixture, "batchSize" | "sequenceLength" | "model" | "weight" | "gradient"> & {
    expected: { firstLoss: number };
  },
  batch: FixtureBatch,
): Promise<void> {
  const { batchSize, sequenceLength, model } = fixture;
  // Documents share sequences where positions are not those of whole ones.
  const packed = batch.positions !== undefined;
  const { graph, inputs, parameters } = buildGradients(model, batchSize, sequenceLength, packed);
  const memory: Memory = new Map();
  for (const [value, numbers] of batchContents(inputs, sequenceLength, batch)) memory.set(value.id, numbers);
  for (const { value, spec } of parameters) {
    memory.set(value.id, Float64Array.from(await fixture.weight(spec.name)));
  }
  interpret(graph, memory);

  // The graph sums the loss over targets and PyTorch takes the mean; so do the gradients.
  const targets = Array.from(batch.targets).filter((target) => target !== -100).length;
  assertClose([contents(memory, inputs.loss)[0] / targets], [fixture.expected.firstLoss], 1e-6, "loss");
  const expected = new Map<string, Float64Array>();
  for (const { spec } of parameters) {
    expected.set(spec.name, Float64Array.from(await fixture.gradient(spec.name)).map((x) => x * targets));
  }
  for (const { spec, gradient } of parameters) {
    const numbers = expected.get(spec.name)!;
    assertClose(
      contents(memory, gradient),
      numbers,
      2e-5,
      `gradient of ${spec.name}`,
      scaleOfGradient(spec.name, expected),
    );
  }
}

/**
 * Runs forward and backward graph of a model on the device, with transient memory full of NaN, and compares
 * the loss and every gradient with those of the f64 references.
 *
 * @param weight Contents of a parameter.
 * @param allowed Relative error; see `scaleOfGradient`.
 */
export async function checkModelOnDevice(
  model: Model,
  size: { batch: number; sequence: number },
  batch: FixtureBatch,
  weight: (spec: ParameterSpec) => ArrayLike<number>,
  allowed: number,
): Promise<void> {
  const { gpu, pipelines } = await sharedDevice();
  const { builder, graph, inputs, parameters } = buildGradients(model, size.batch, size.sequence);
  const plan = planGraphs([graph], builder.persistents.all(), gpu.kernels);
  const session = await Session.open(gpu, plan, { arenaFill: 0x7fc00000, pipelines });
  try {
    const memory: Memory = new Map();
    const filled = [
      ...batchContents(inputs, size.sequence, batch),
      ...parameters.map(({ spec, value }): [Value, ArrayLike<number>] => [value, weight(spec)]),
    ];
    for (const [value, numbers] of filled) {
      const packed = pack(numbers, value.dtype);
      session.write(value, packed);
      memory.set(value.id, unpack(packed.buffer, value));
    }
    await session.run();
    interpret(graph, memory);
    const read = async (value: Value) => unpack(await session.read(value), value);
    assertClose(await read(inputs.loss), contents(memory, inputs.loss), allowed, "loss");
    const expected = new Map(parameters.map(({ spec, gradient }) => [spec.name, contents(memory, gradient)]));
    for (const { spec: { name, shape }, gradient } of parameters) {
      const numbers = expected.get(name)!;
      const scale = scaleOfGradient(name, expected);
      assertClose(await read(gradient), numbers, allowed, `gradient of ${name} [${shape}]`, scale);
    }
  } finally {
    session.close();
  }
}

/**
 * What errors of a parameter's gradient are relative to: its own largest element.
 *
 * The one exception are BERT's key biases, which add the same to all scores of a query: their gradients are
 * zero in exact arithmetic, and what is left of them is the rounding of terms that cancel. Those terms are
 * the gradients of the keys, which the key's weight sums too, times activations about as large as one: so
 * errors are relative to its gradient.
 */
function scaleOfGradient(name: string, gradients: ReadonlyMap<string, Float64Array>): number {
  return largestOf(gradients.get(name.replace(/(\.attention\.self\.key)\.bias$/, "$1.weight"))!);
}

function largestOf(numbers: Float64Array): number {
  return numbers.reduce((max, x) => Math.max(max, Math.abs(x)), 0);
}
