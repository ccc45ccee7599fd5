import assert from "node:assert/strict";
import { assertClose } from "../../support/numerics.ts";
import { PACKED_MODELS, packedFixture } from "../../support/packed_fixture.ts";
import { lossesOnBatches } from "../../support/train_on_batches.ts";
import { deviceTest, runsF16 } from "../../support/with_device.ts";

for (const name of PACKED_MODELS) {
  Deno.test(
    `10 AdamW steps of ${name} on packed documents follow PyTorch on each document alone`,
    deviceTest,
    async (t) => {
      const fixture = await packedFixture(name);
      const plain = await lossesOnBatches(fixture, fixture.batches);
      // Two correct f32 implementations: the losses of the fixtures are within
      // 1.1e-6 of those in f64; ten times that.
      assertClose(plain, fixture.losses, 1e-5, "loss");
      assertClose(await lossesOnBatches(fixture, fixture.batches, { flash: true }), plain, 1e-6, "flash");
      const checkpoint = { every: 1, selective: false };
      assert.deepEqual(
        await lossesOnBatches(fixture, fixture.batches.slice(0, 3), { checkpoint }),
        plain.slice(0, 3),
      );
      if (!await runsF16(t)) return;
      // f16 has 11 bits: single roundings of 5e-4, averaged over the batch.
      const half = await lossesOnBatches(fixture, fixture.batches.slice(0, 3), { fp16: true, flash: true });
      assertClose(half, plain.slice(0, 3), 2e-3, "f16");
    },
  );
}
