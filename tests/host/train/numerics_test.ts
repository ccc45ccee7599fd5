import assert from "node:assert/strict";
import { NUMERICS } from "../../../engine/numerics.ts";
import {
  entriesIn,
  hashOfEntry,
  type PinEntry,
  PINS_FILE,
  problemsOf,
  startHashes,
} from "../../support/pins.ts";
import { type Outcome, updated } from "../../support/write_pins.ts";

const entries = entriesIn(await Deno.readTextFile(PINS_FILE));

Deno.test("pins are of every number up to the engine's, each other than those before, and none changed since", () => {
  assert.deepEqual(problemsOf(entries, NUMERICS), []);
});

Deno.test("weights start and data is ordered as the engine's numerics are pinned", async () => {
  assert.deepEqual(
    await startHashes(),
    entries.at(-1)!.start,
    `The start is not that of numerics ${NUMERICS}. If that is meant, raise NUMERICS in engine/numerics.ts and run ` +
      "`deno task pins`",
  );
});

/** Pins of a number: one loss in each place. */
function pins(numerics: number, losses: Record<string, number>, start = "a"): PinEntry {
  return {
    numerics,
    start: { weights: start },
    losses: Object.entries(losses).map(([place, loss]) => ({
      place,
      cells: { cell: { losses: [loss], gradientNorms: [1] } },
    })),
    before: null,
  };
}

const chained = (before: PinEntry, entry: PinEntry): PinEntry => ({ ...entry, before: hashOfEntry(before) });
const SECOND = pins(2, { here: 1, there: 1.5 });
const THIRD = chained(SECOND, pins(3, { here: 2 }));

Deno.test("problemsOf() finds numbers left out, pins changed later, pins that do not differ and a number without pins", () => {
  assert.deepEqual(problemsOf([SECOND, THIRD], 3), []);
  assert.deepEqual(problemsOf([SECOND], 3), ["the last pins are of numerics 2, engine/numerics.ts has 3"]);
  assert.deepEqual(problemsOf([SECOND, { ...THIRD, numerics: 4 }], 4), ["numerics 4 follow 2"]);
  assert.deepEqual(problemsOf([pins(2, { here: 1.1, there: 1.5 }), THIRD], 3), [
    "the pins of numerics 2 were changed",
  ]);
  assert.deepEqual(problemsOf([SECOND, chained(SECOND, pins(3, { here: 1 }))], 3), [
    "numerics 3 have the pins of 2",
  ]);
  assert.deepEqual(problemsOf([SECOND, chained(SECOND, pins(3, { here: 1 }, "b"))], 3), [], "another start");
});

Deno.test("updated() changes the pins of a number that HEAD has only when told to", () => {
  const entriesOf = (outcome: Outcome) => "entries" in outcome ? outcome.entries : outcome.refused;
  const committed = [SECOND];
  // The same numbers: nothing to do here, and one more place elsewhere.
  assert.deepEqual(entriesOf(updated([SECOND], committed, pins(2, { here: 1 }), false)), [SECOND]);
  const more = updated([SECOND], committed, pins(2, { new: 7 }), false);
  assert.deepEqual(entriesOf(more), [{ ...SECOND, losses: pins(2, { here: 1, there: 1.5, new: 7 }).losses }]);
  // Other numbers under the same number, by losses or by start.
  for (const taken of [pins(2, { here: 1.1 }), pins(2, { here: 1 }, "b"), pins(2, { new: 7 }, "b")]) {
    assert.match(String(entriesOf(updated([SECOND], committed, taken, false))), /raise NUMERICS/);
    assert.deepEqual(entriesOf(updated([SECOND], committed, taken, true)), [taken]);
  }
  // A raised number, as often as it takes before it is committed; never with the numbers of the one before.
  const raised = entriesOf(updated([SECOND], committed, pins(3, { here: 2 }), false)) as PinEntry[];
  assert.deepEqual(raised, [SECOND, THIRD]);
  assert.deepEqual(entriesOf(updated(raised, committed, pins(3, { here: 3 }), false)), [
    SECOND,
    chained(SECOND, pins(3, { here: 3 })),
  ]);
  assert.equal(
    entriesOf(updated([SECOND], committed, pins(3, { here: 1 }), false)),
    "Cannot pin: numerics 3 have the pins of 2",
  );
  assert.equal(
    entriesOf(updated([SECOND], committed, pins(4, { here: 2 }), false)),
    "Cannot pin: numerics 4 follow 2",
  );
});
