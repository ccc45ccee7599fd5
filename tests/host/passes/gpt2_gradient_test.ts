import { GraphBuilder } from "../../../engine/graph/builder.ts";
import { verifyGraph } from "../../../engine/graph/verify.ts";
import { LayerContext } from "../../../engine/model/layers.ts";
import { appendBackward } from "../../../engine/passes/autodiff.ts";
import { gpt2Fixture } from "../../support/gpt2_fixture.ts";
import { contents, interpret, type Memory } from "../../support/interpret.ts";
import { assertClose } from "../../support/numerics.ts";

Deno.test("autodiff of GPT-2, run by the f64 references, gives PyTorch's loss and every one of its gradients", async () => {
  const fixture = await gpt2Fixture();
  const { batchSize: batch, sequenceLength: sequence } = fixture;
  const rows = batch * sequence;
  const builder = new GraphBuilder();
  const declare = (name: string, shape: readonly number[], dtype: "f32" | "u32" | "i32") =>
    builder.persistents.declare(name, { shape, dtype }, "inputs");
  const inputs = {
    tokens: declare("tokens", [rows], "u32"),
    tokenOrder: declare("token_order", [rows], "u32"),
    positions: declare("positions", [rows], "u32"),
    positionOrder: declare("position_order", [rows], "u32"),
    targets: declare("targets", [rows], "i32"),
    loss: declare("loss", [1], "f32"),
  };
  const parameters = new Map(
    fixture.model.parameters.map(({ name, shape }) => [name, declare(name, shape, "f32")]),
  );
  const context = new LayerContext(builder, { batch, sequence, inputs, parameters, dropout: 0 });
  const loss = fixture.model.loss(context);
  const gradients = appendBackward(builder, { loss, trainable: [...parameters.values()] });
  const graph = builder.finish("step", [...gradients.values()]);
  verifyGraph(graph, "autodiff");

  const memory: Memory = new Map();
  for (const [name, value] of parameters) memory.set(value.id, Float64Array.from(await fixture.weight(name)));
  const tokens = fixture.tokens.subarray(0, rows);
  const positions = Float64Array.from({ length: rows }, (_, i) => i % sequence);
  const order = (ids: ArrayLike<number>) =>
    Float64Array.from(Array.from(ids, (_, i) => i).sort((a, b) => ids[a] - ids[b] || a - b));
  memory.set(inputs.tokens.id, Float64Array.from(tokens));
  memory.set(inputs.tokenOrder.id, order(tokens));
  memory.set(inputs.positions.id, positions);
  memory.set(inputs.positionOrder.id, order(positions));
  memory.set(inputs.targets.id, Float64Array.from(fixture.tokens.subarray(1, rows + 1)));
  memory.set(inputs.loss.id, new Float64Array(1));
  interpret(graph, memory);

  // The graph sums the loss over rows and PyTorch takes the mean; so do the gradients.
  assertClose([contents(memory, inputs.loss)[0] / rows], [fixture.expected.firstLoss], 1e-6, "loss");
  for (const [name, value] of parameters) {
    const expected = Float64Array.from(await fixture.gradient(name)).map((x) => x * rows);
    assertClose(contents(memory, gradients.get(value)!), expected, 2e-5, `gradient of ${name}`);
  }
});
