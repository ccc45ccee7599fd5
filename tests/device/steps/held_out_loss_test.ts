import assert from "node:assert/strict";
import { evaluate } from "../../../engine/train/evaluate.ts";
import { train } from "../../../engine/train/train.ts";
import { TemporaryFolder } from "../../host/formats/temporary_folder.ts";
import { seededNumbers } from "../../support/seeded.ts";
import { tinyOptions } from "../../support/tiny_options.ts";
import { deviceTest } from "../../support/with_device.ts";

const SEQUENCE = 16;
/** Sequences in the held-out half of the tokens: 19 batches of four, the last one short. */
const HELD_OUT = 75;
const HALF = HELD_OUT * SEQUENCE + 1;

Deno.test(
  "the held-out loss of a run is to the bit what eval finds for the saved model on the same sequences",
  deviceTest,
  async () => {
    using folder = new TemporaryFolder();
    const tokens = Uint16Array.from(
      seededNumbers(2 * HALF, 1),
      (number) => Math.floor((number + 1) / 2 * 256),
    );
    const bytes = (part: Uint16Array<ArrayBuffer>) => new Uint8Array(Uint16Array.from(part).buffer);
    const data = folder.file("all.u16", bytes(tokens));
    const heldOut = folder.file("held_out.u16", bytes(tokens.subarray(HALF)));
    const options = tinyOptions({ model: "gpt2-pico", data }, {
      sequenceLength: SEQUENCE,
      microBatchSize: 4,
      heldOutFraction: 0.5,
      steps: 3,
      evaluateEvery: 2,
    });
    for (const heldOutWindows of [0, 30]) {
      const save = folder.file(`saved-${heldOutWindows}`);
      const result = await train({ ...options, heldOutWindows }, {}, { save });
      const { loss, targets } = await evaluate({
        model: save,
        data: heldOut,
        tokenizer: "model",
        sequenceLength: SEQUENCE,
        microBatchSize: 4,
        heldOutWindows,
        seed: 0,
        adapter: null,
      });
      assert.equal(targets, (heldOutWindows || HELD_OUT) * SEQUENCE);
      const last = result.heldOut.at(-1)!;
      assert.equal(last.loss, loss, `${heldOutWindows} windows`);
      assert.ok(last.ms > 0);
    }
  },
);
