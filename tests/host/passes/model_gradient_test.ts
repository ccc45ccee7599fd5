import { bertFixture } from "../../support/bert_fixture.ts";
import { languageModelFixture } from "../../support/model_fixture.ts";
import { checkModelGradients } from "../../support/model_gradients.ts";
import { packedFixture } from "../../support/packed_fixture.ts";

for (const name of ["gpt2_tiny", "llama_tiny", "qwen2_tiny"]) {
  Deno.test(
    `autodiff of ${name}, run by the f64 references, gives PyTorch's loss and every one of its gradients`,
    async () => {
      const fixture = await languageModelFixture(name);
      const rows = fixture.batchSize * fixture.sequenceLength;
      await checkModelGradients(fixture, {
        tokens: fixture.tokens.subarray(0, rows),
        targets: fixture.tokens.subarray(1, rows + 1),
      });
    },
  );
}

for (const task of ["classification", "masked_lm"] as const) {
  Deno.test(
    `autodiff of BERT for ${task}, run by the f64 references, gives PyTorch's loss and every one of its gradients`,
    async () => {
      const fixture = await bertFixture(task);
      await checkModelGradients(fixture, fixture.batches[0]);
    },
  );
}

for (const name of ["gpt2", "llama"] as const) {
  Deno.test(
    `documents packed into shared sequences give ${name} the loss and gradients of each document alone in PyTorch`,
    async () => {
      const fixture = await packedFixture(name);
      await checkModelGradients(fixture, fixture.batches[0]);
    },
  );
}
