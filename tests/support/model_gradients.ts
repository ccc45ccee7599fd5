import { GraphBuilder } from "../../engine/graph/builder.ts";
import { elementCount, type Value } from "../../engine/graph/types.ts";
import { verifyGraph } from "../../engine/graph/verify.ts";
import { declareInputs } from "../../engine/model/inputs.ts";
import { LayerContext } from "../../engine/model/layers.ts";
import { appendBackward } from "../../engine/passes/autodiff.ts";
import { contents, interpret, type Memory } from "./interpret.ts";
import type { ModelFixture } from "./model_fixture.ts";
import { assertClose } from "./numerics.ts";

/** The first batch of a fixture. */
export interface FixtureBatch {
  tokens: ArrayLike<number>;
  targets: ArrayLike<number>;
  tokenTypes?: ArrayLike<number>;
  segments?: ArrayLike<number>;
}

/**
 * Builds forward and backward graph of a fixture's model, runs them by the f64 references, and compares the loss and the
 * gradient of every parameter with PyTorch's.
 */
export async function checkModelGradients(fixture: ModelFixture, batch: FixtureBatch): Promise<void> {
  const { batchSize, sequenceLength: sequence, model } = fixture;
  const builder = new GraphBuilder();
  const inputs = declareInputs(builder.persistents, model.inputs({ batch: batchSize, sequence }));
  const parameters = model.parameters.map((spec) => ({
    spec,
    value: builder.persistents.declare(spec.name, { shape: spec.shape, dtype: "f32" }, "weights"),
  }));
  const loss = model.loss(
    new LayerContext(builder, { batch: batchSize, sequence, inputs, parameters, dropout: 0 }),
  );
  const gradients = appendBackward(builder, { loss, trainable: parameters.map(({ value }) => value) });
  const graph = builder.finish("step", [...gradients.values()]);
  verifyGraph(graph, "autodiff");

  const memory: Memory = new Map();
  const put = (value: Value | undefined, numbers: ArrayLike<number>) => {
    if (value) memory.set(value.id, Float64Array.from(numbers));
  };
  const putIds = (ids: Value | undefined, order: Value | undefined, numbers: ArrayLike<number>) => {
    put(ids, numbers);
    put(order, Array.from(numbers, (_, i) => i).sort((a, b) => numbers[a] - numbers[b] || a - b));
  };
  const zeros = new Float64Array(batchSize * sequence);
  putIds(inputs.tokens, inputs.tokenOrder, batch.tokens);
  putIds(inputs.positions, inputs.positionOrder, zeros.map((_, i) => i % sequence));
  putIds(inputs.tokenTypes, inputs.tokenTypeOrder, batch.tokenTypes ?? zeros);
  put(inputs.segments, batch.segments ?? zeros);
  put(inputs.targets, batch.targets);
  put(inputs.loss, [0]);
  for (const { value, spec } of inputs.constants) put(value, spec.data());
  for (const { value, spec } of parameters) put(value, await fixture.weight(spec.name));
  interpret(graph, memory);

  // The graph sums the loss over targets and PyTorch takes the mean; so do the gradients.
  const targets = Array.from(batch.targets).filter((target) => target !== -100).length;
  assertClose([contents(memory, inputs.loss)[0] / targets], [fixture.expected.firstLoss], 1e-6, "loss");
  for (const { value, spec } of parameters) {
    const expected = Float64Array.from(await fixture.gradient(spec.name)).map((x) => x * targets);
    assertClose(
      contents(memory, gradients.get(value)!),
      expected,
      2e-5,
      `gradient of ${spec.name} [${elementCount(value)}]`,
    );
  }
}
