import assert from "node:assert/strict";
import { openWeights } from "../../../engine/formats/safetensors.ts";
import { loadAdapter } from "../../../engine/train/adapters.ts";
import { prepare } from "../../../engine/train/prepare.ts";
import { Trainer } from "../../../engine/train/trainer.ts";
import { loadWeights } from "../../../engine/train/weights.ts";
import { fixtureOptions, languageModelFixture } from "../../support/model_fixture.ts";
import { deviceTest, sharedDevice } from "../../support/with_device.ts";

const FOLDER = `${import.meta.dirname}/../../fixtures/peft_llama/`;
const fixture = await languageModelFixture("llama_tiny");
const expected = JSON.parse(await Deno.readTextFile(`${FOLDER}expected.json`));

for (const format of ["nf4", "int8"] as const) {
  Deno.test(
    `QLoRA over ${format} on Llama learns, leaves the base as it is and books what it plans`,
    deviceTest,
    async () => {
      const { gpu, pipelines } = await sharedDevice();
      const method = `qlora-${format}`;
      const options = fixtureOptions(fixture, {
        model: `${FOLDER}base`,
        data: `${FOLDER}tokens.u16`,
        methods: [method],
        methodOptions: { [method]: { rank: 4, alpha: 8, targets: "query-value" } },
        optimizerOptions: { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0 },
        learningRate: 1e-2,
        sequenceLength: expected.sequenceLength,
        microBatchSize: expected.batchSize,
      });
      const trainer = await Trainer.open(gpu, await prepare(options), options, { pipelines });
      const { session, graphs: { parameters } } = trainer;
      try {
        assert.equal(session.ledger.peakBytes, trainer.plan.peakBytes);
        using source = (await openWeights(`${FOLDER}base`))!;
        await loadWeights(session, parameters, source);
        await loadAdapter(session, parameters, `${FOLDER}adapter_initial`);
        const base = async () => {
          const bytes = [];
          for (const { quantized, value, added } of parameters) {
            if (added) continue;
            const stored = quantized ? [quantized.codes, quantized.absmax, quantized.nested] : [value];
            for (const one of stored) bytes.push(new Uint8Array(await session.read(one)));
          }
          return bytes;
        };
        const quantized = parameters.filter((parameter) => parameter.quantized);
        assert.equal(quantized.length, 14, "seven matrices in each of two layers");
        const before = await base();
        const losses = [];
        for (let step = 0; step < 20; step++) losses.push((await trainer.trainStep()).loss);
        assert.deepEqual(await base(), before);
        // The fall that peft's LoRA over the unquantized base has on the same batches, or nearly.
        const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
        const fall = (of: number[]) => of[0] - mean(of.slice(-5));
        const full = fall(expected.runs.lora.losses);
        assert.ok(full > 0.05, `the reference falls by ${full}`);
        assert.ok(
          Math.abs(fall(losses) - full) < 0.15 * full,
          `the loss falls by ${fall(losses)}, expected ${full}`,
        );
      } finally {
        trainer.close();
      }
    },
  );
}
