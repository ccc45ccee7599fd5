import assert from "node:assert/strict";
import { outcomeOf, overall, plainAxis, qualityAxis } from "../../../report/claims/claim.ts";
import { ledgerOf } from "../../../report/claims/ledger.ts";
import { analyse } from "../../../report/rows/analysis.ts";
import type { LossDifference } from "../../../report/rows/loss_difference.ts";
import { qualityPair } from "../../../report/rows/pairs.ts";
import type { PhaseShows } from "../../../results/record.ts";
import type { Interval } from "../../../results/stats.ts";
import { asLoaded } from "./support.ts";
import { syntheticRun } from "./synthetic_run.ts";

const around = (estimate: number, reach: number, n = 5): Interval => ({
  estimate,
  low: estimate - reach,
  high: estimate + reach,
  n,
});

function difference(loss: Interval, tokens: Interval | null): LossDifference {
  return {
    interval: loss,
    outcome: "equal",
    margin: { nats: 0.02, from: "decision" },
    pValue: 0.001,
    tokens: tokens && { ratio: tokens, notReached: 0 },
    model: null,
    refusal: null,
    learned: null,
  };
}

Deno.test("quality is kept, or lost, where both measures say so", () => {
  const answer = (loss: Interval, tokens: Interval | null) => qualityAxis(difference(loss, tokens)).answer;
  const [kept, lost] = [around(0.005, 0.004), around(0.1, 0.01)];
  assert.equal(answer(kept, around(1.01, 0.01)), "yes");
  assert.equal(answer(lost, around(1.15, 0.02)), "no");
  assert.equal(answer(kept, around(1.15, 0.02)), "cannot tell");
  assert.equal(answer(lost, around(1.01, 0.01)), "cannot tell");
  assert.equal(answer(kept, around(1.04, 0.03)), "cannot tell");
  // At the edge of five per cent more tokens.
  assert.equal(answer(kept, around(1.04, 0.0099)), "yes");
  assert.equal(answer(kept, around(1.04, 0.0101)), "cannot tell");
  // Too few points, as in records of before: the first measure by itself.
  assert.deepEqual([answer(kept, null), answer(lost, null)], ["yes", "no"]);
});

Deno.test("quality is not shown where the corrected test says so in more than one of twenty", () => {
  const answer = (pValue: number) =>
    qualityAxis({ ...difference(around(0.005, 0.004), null), pValue }).answer;
  assert.deepEqual([0.0499, 0.0501].map(answer), ["yes", "cannot tell"]);
});

Deno.test("measures that disagree are both told", () => {
  const { why } = qualityAxis(difference(around(0.005, 0.004), around(1.15, 0.02)));
  assert.equal(
    why,
    "held-out loss says yes; tokens to the baseline's loss × 1.15 [1.13, 1.17], which says no",
  );
});

Deno.test("a claim whose quality was measured on another model is shown by axis at most", () => {
  const quality = { ...plainAxis("quality", true), model: "gpt2-pico" };
  const memory = plainAxis("memory", true);
  assert.equal(outcomeOf([memory, quality]), "shown by axis");
  assert.equal(outcomeOf([memory, { ...quality, model: null }]), "reproduced");
  assert.equal(outcomeOf([plainAxis("memory", false), quality]), "not reproduced");
  assert.equal(outcomeOf([memory, { ...quality, answer: "cannot tell" }]), "cannot tell");
  assert.equal(overall(["shown by axis", "shown by axis"]), "shown by axis");
  assert.equal(overall(["shown by axis", "reproduced"]), "reproduced");
  assert.equal(overall(["shown by axis", "not reproduced"]), "depends on the setting");
  assert.equal(overall(["shown by axis", "cannot tell"]), "cannot tell");
});

/** The ladder, and the same one trained by another model in a phase for quality. */
function withLearners(model: string) {
  const run = syntheticRun({ everything: true, batches: [4], seeds: [0, 1, 2], tokens: 1024 });
  const learners = structuredClone(run.cells.filter(({ phase }) => phase === "ladder"));
  for (const cell of learners) {
    Object.assign(cell, { phase: "quality", id: `a${cell.id.slice(1)}` });
    cell.config.model = model;
  }
  const shows: PhaseShows = "quality";
  run.run.phases.push({ name: "quality", kind: "matrix", shows, description: "" });
  run.cells.push(...learners);
  return analyse(asLoaded(run));
}

Deno.test("qualityPair() is the same change on the model that learns, and counts as one test", () => {
  const { learners, trained } = withLearners("gpt2-pico");
  const ladder = trained.filter(({ shows }) => shows === "method-ladder");
  assert.ok(learners.length > 1 && trained.every(({ shows }) => shows !== "quality"));
  const [baseline, changed] = [ladder[0], ladder.at(-1)!];
  const found = qualityPair(learners, { baseline, changed })!;
  for (const [learner, one] of [[found.baseline, baseline], [found.changed, changed]]) {
    assert.deepEqual([learner.label, learner.config.model], [one.label, "gpt2-pico"]);
    assert.deepEqual(learner.config.methods, one.config.methods);
  }
  const ledger = ledgerOf([{ baseline, changed }], [], learners);
  assert.equal(ledger.loss({ baseline, changed })!.model, "gpt2-pico");
  assert.equal(ledger.testCount, 1);
  assert.equal(ledgerOf([{ baseline, changed }], []).loss({ baseline, changed })!.model, null);
});

Deno.test("qualityPair() is none for the same model, for chains, and for what was not trained there", () => {
  const same = withLearners("gpt2-tiny");
  const ladder = same.trained.filter(({ shows }) => shows === "method-ladder");
  const pair = { baseline: ladder[0], changed: ladder.at(-1)! };
  assert.equal(qualityPair(same.learners, pair), null);
  const { learners } = withLearners("gpt2-pico");
  assert.notEqual(qualityPair(learners, pair), null);
  const chained = { ...pair, changed: { ...pair.changed, start: "base / base" } };
  assert.equal(qualityPair(learners, chained), null);
  const [, ...others] = learners.filter(({ label }) => label !== pair.changed.label);
  assert.equal(qualityPair(others, pair), null);
});
