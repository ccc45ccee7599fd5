// Holds that the engine's numbers are those that its number of numerics stands for: see engine/numerics.ts.
import assert from "node:assert/strict";
import { NUMERICS } from "../../engine/numerics.ts";
import { entriesIn, needsF16, PINNED_CELLS, PINS_FILE, placeOf, trainPinned } from "../support/pins.ts";
import { deviceTest, runsF16, sharedDevice } from "../support/with_device.ts";

/**
 * What losses may differ by where bits are not pinned: sums in another order and other functions of a driver
 * make 1e-6, which eight steps at these rates grow by less than a hundred; with f16 a rounding that falls the
 * other way is 5e-4 of an activation.
 */
const TOLERANCE = { f32: 1e-4, f16: 1e-3 };

const entry = entriesIn(await Deno.readTextFile(PINS_FILE)).find(({ numerics }) => numerics === NUMERICS);
const { adapter } = (await sharedDevice()).gpu;
const place = await placeOf(adapter);
const here = entry?.losses.find((losses) => losses.place === place);
const reference = here ?? entry?.losses[0];

if (!here) {
  console.log(
    `Bits are not pinned on ${place}: losses are held to ${TOLERANCE.f32} (f16: ${TOLERANCE.f16}) of those on ` +
      `${reference?.place}; \`deno task pins\` adds this place`,
  );
}

for (const [name, options] of Object.entries(PINNED_CELLS)) {
  const exactly = here ? "to the bit" : "closely, as bits are not pinned on this adapter";
  Deno.test(`numerics ${NUMERICS} give the pinned losses ${exactly}: ${name}`, deviceTest, async (t) => {
    if (needsF16(options) && !await runsF16(t)) return;
    const advice =
      `The engine's numbers are not those of numerics ${NUMERICS}. If that is meant, raise NUMERICS in ` +
      "engine/numerics.ts and run `deno task pins`; if not, something changed them";
    const found = await trainPinned(options);
    const expected = reference?.cells[name];
    assert.ok(expected, `${name} has no pins: run \`deno task pins\``);
    if (here) {
      const where = `pinned on ${here.place}`;
      const [given, pinned] = [found, expected].map((one) => JSON.stringify(one));
      assert.deepEqual(found, expected, `${advice} (${where}).\n${given}, expected\n${pinned}`);
      return;
    }
    const largest = Math.max(...found.losses.map((loss, i) => Math.abs(loss / expected.losses[i] - 1)));
    const allowed = needsF16(options) ? TOLERANCE.f16 : TOLERANCE.f32;
    assert.equal(found.losses.length, expected.losses.length);
    assert.ok(largest <= allowed, `${advice}: off by ${largest}, expected at most ${allowed}`);
  });
}
