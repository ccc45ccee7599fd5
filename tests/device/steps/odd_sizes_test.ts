import { modelOf, parseModelConfig } from "../../../engine/model/config.ts";
import { PADDING_SEGMENT } from "../../../kernels/attention_shapes.ts";
import { checkModelOnDevice } from "../../support/model_gradients.ts";
import { seededIntegers, seededNumbers } from "../../support/seeded.ts";
import { deviceTest } from "../../support/with_device.ts";

/** Two sequences of 13, of which nothing divides into vectors or tiles. */
const SIZE = { batch: 2, sequence: 13 };
const ROWS = SIZE.batch * SIZE.sequence;

const LLAMA = {
  model_type: "llama",
  vocab_size: 1001,
  hidden_size: 30,
  intermediate_size: 41,
  num_hidden_layers: 2,
  max_position_embeddings: 13,
  rms_norm_eps: 1e-5,
};
const BERT = {
  model_type: "bert",
  vocab_size: 101,
  hidden_size: 15,
  num_attention_heads: 3,
  intermediate_size: 37,
  num_hidden_layers: 2,
  max_position_embeddings: 19,
};

const MODELS: [string, Record<string, unknown>][] = [
  ["Llama with 3 heads of 20 over 1", {
    ...LLAMA,
    num_attention_heads: 3,
    num_key_value_heads: 1,
    head_dim: 20,
  }],
  ["Llama with 6 heads over 2, and biases everywhere", {
    ...LLAMA,
    num_attention_heads: 6,
    num_key_value_heads: 2,
    head_dim: 10,
    attention_bias: true,
    mlp_bias: true,
    tie_word_embeddings: true,
  }],
  ["BERT with heads of 5 and three labels", {
    ...BERT,
    architectures: ["BertForSequenceClassification"],
    id2label: { 0: "a", 1: "b", 2: "c" },
  }],
  ["BERT for hidden tokens with heads of 5", { ...BERT, architectures: ["BertForMaskedLM"] }],
];

for (const [name, json] of MODELS) {
  Deno.test(`${name}: loss and gradients on the device are those of the references`, deviceTest, async () => {
    const model = modelOf(parseModelConfig(json, "config.json"));
    const { vocabularySize } = model.config;
    const targets = model.objective === "sequence-label"
      ? seededIntegers(SIZE.batch, 3, 2)
      : seededIntegers(ROWS, vocabularySize, 2).map((target, i) => i % 4 === 3 ? -100 : target);
    const batch = {
      tokens: seededIntegers(ROWS, vocabularySize, 1),
      targets,
      tokenTypes: seededIntegers(ROWS, 2, 3),
      // The second sequence is padded from its tenth token on.
      segments: Array.from({ length: ROWS }, (_, i) => i >= 22 ? PADDING_SEGMENT : 0),
    };
    let seed = 10;
    const weight = ({ shape, init }: { shape: readonly number[]; init: { kind: string } }) => {
      const numbers = seededNumbers(shape.reduce((a, b) => a * b), seed++, 0.3);
      // Norms stay near one, so that activations keep their size.
      return init.kind === "constant" && shape.length === 1 ? numbers.map((x) => 1 + x) : numbers;
    };
    // Sums of up to 1001 f32 products in each of some thirty ops: roundings of
    // 6e-8 · √1001, a few times over.
    await checkModelOnDevice(model, SIZE, batch, weight, 1e-5);
  });
}
