import assert from "node:assert/strict";
import { documentLayout, nextTokenDocuments, oneDocumentEach } from "../../../engine/train/documents.ts";
import { hiddenTokenSequences, labelledSequences } from "../../../engine/train/layout.ts";
import { nextTokenWindows, windowLayout } from "../../../engine/train/windows.ts";
import { unigramLoss } from "../../../engine/train/unigram_loss.ts";
import { assertClose } from "../../support/numerics.ts";

const windows = (...tokens: number[]) => nextTokenWindows(Uint32Array.from(tokens), 2);
const all = { heldOutWindows: 0 };
const close = (actual: number | null, expected: number) => assertClose([actual!], [expected], 1e-12, "loss");

Deno.test("unigramLoss() is the cross-entropy of held-out targets under the training ones', each counted once more", () => {
  // Targets 1 1 1 2 of the training part; 1 2 3 0 of the held-out one.
  const split = { training: windows(0, 1, 1, 1, 2), heldOut: windows(0, 1, 2, 3, 0) };
  // (3 + 1, 1 + 1, 0 + 1, 0 + 1) of 4 targets and 4 tokens
  close(
    unigramLoss(split, { classes: 4, ...all }),
    -(Math.log(4 / 8) + Math.log(2 / 8) + 2 * Math.log(1 / 8)) / 4,
  );
  // A token more that nobody ever saw costs a share of all.
  close(
    unigramLoss(split, { classes: 5, ...all }),
    -(Math.log(4 / 9) + Math.log(2 / 9) + 2 * Math.log(1 / 9)) / 4,
  );
});

Deno.test("unigramLoss() takes the windows that are evaluated, and all of the training part", () => {
  const split = { training: windows(0, 1, 1, 1, 2), heldOut: windows(0, 1, 2, 3, 0) };
  close(unigramLoss(split, { classes: 4, heldOutWindows: 1 }), -(Math.log(4 / 8) + Math.log(2 / 8)) / 2);
  close(
    unigramLoss(split, { classes: 4, heldOutWindows: 9 }),
    unigramLoss(split, { classes: 4, heldOutWindows: 0 })!,
  );
  assert.equal(unigramLoss({ ...split, heldOut: null }, { classes: 4, ...all }), null);
});

Deno.test("unigramLoss() of labels is the entropy of how often each occurs", () => {
  const layout = windowLayout(Uint32Array.from([0, 1, 2, 3, 4, 5]), {
    sequenceLength: 2,
    start: [],
    end: [],
    what: "x",
  });
  const split = {
    training: labelledSequences(layout, [0, 1, 1]),
    heldOut: labelledSequences(layout, [1, 1, 0]),
  };
  close(unigramLoss(split, { classes: 2, ...all }), -(2 * Math.log(3 / 5) + Math.log(2 / 5)) / 3);
});

Deno.test("unigramLoss() counts what is to be predicted: neither prompts nor padding nor tokens in sight", () => {
  const documents = (trained: number[]) =>
    nextTokenDocuments(
      oneDocumentEach([{ tokens: Uint32Array.of(3, 1, 2), trained: Uint8Array.from(trained), place: "x" }]),
      5,
    );
  // Training: 1 and 2. Held out: 2 alone, as 1 is the prompt's.
  close(
    unigramLoss({ training: documents([0, 1, 1]), heldOut: documents([0, 0, 1]) }, { classes: 4, ...all }),
    -Math.log(2 / 6),
  );
  close(
    unigramLoss({ training: documents([0, 0, 1]), heldOut: documents([0, 1, 0]) }, { classes: 4, ...all }),
    -Math.log(1 / 5),
  );
  assert.equal(
    unigramLoss({ training: documents([0, 1, 1]), heldOut: documents([0, 0, 0]) }, { classes: 4, ...all }),
    null,
  );
});

Deno.test("unigramLoss() of hidden tokens counts as many as are hidden", () => {
  const bins = oneDocumentEach([{ tokens: new Uint32Array(20).fill(7), trained: null, place: "x" }]);
  const hidden = hiddenTokenSequences(documentLayout(bins, 32), {
    seed: 1,
    maskToken: 9,
    specialTokens: new Set(),
    vocabularySize: 10,
  });
  // 15 % of 20 tokens are hidden, all of them 7.
  close(unigramLoss({ training: hidden, heldOut: hidden }, { classes: 10, ...all }), -Math.log(4 / 13));
});
