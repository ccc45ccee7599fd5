import assert from "node:assert/strict";
import {
  COLLECT_EVERY_PASSES,
  COLLECTION_SHARE,
  TURN_EVERY_MS,
  Upkeep,
} from "../../../engine/runtime/upkeep.ts";

/**
 * An upkeep with a clock that tests set, and what it did by that clock. A collection takes `collectionMs`.
 */
function watched({ collectionMs = 10 }: { collectionMs?: number } = {}) {
  const did: string[] = [];
  const clock = { ms: 0 };
  const upkeep = new Upkeep({
    turn: () => Promise.resolve(void did.push(`turn ${clock.ms}`)),
    collect: () => {
      did.push(`collect ${clock.ms}`);
      clock.ms += collectionMs;
    },
    now: () => clock.ms,
  });
  return { upkeep, did, clock };
}

Deno.test("Upkeep has the event loop turn when it is due, not before", async () => {
  const { upkeep, did, clock } = watched();
  for (const ms of [0, TURN_EVERY_MS - 1, TURN_EVERY_MS, TURN_EVERY_MS + 1, 2 * TURN_EVERY_MS]) {
    clock.ms = ms;
    await upkeep.run();
  }
  assert.deepEqual(did, [`turn ${TURN_EVERY_MS}`, `turn ${2 * TURN_EVERY_MS}`]);
});

Deno.test("Upkeep collects after so many passes, not before", async () => {
  const { upkeep, did } = watched();
  upkeep.encoded(COLLECT_EVERY_PASSES - 1);
  await upkeep.run();
  assert.deepEqual(did, []);
  upkeep.encoded(1);
  await upkeep.run();
  await upkeep.run();
  assert.deepEqual(did, ["collect 0"], "counted from the start again");
});

Deno.test("Upkeep spends no more than its share of the time on collections", async () => {
  const { upkeep, did, clock } = watched({ collectionMs: 2 });
  const next = 2 / COLLECTION_SHARE;
  const always = async (ms: number) => {
    clock.ms = ms;
    upkeep.encoded(COLLECT_EVERY_PASSES);
    await upkeep.run();
  };
  await always(0);
  await always(next - 1);
  await always(next);
  assert.deepEqual(did.filter((what) => what.startsWith("collect")), ["collect 0", `collect ${next}`]);
});

Deno.test("Upkeep leaves alone what it has no tools for", async () => {
  const clock = { ms: 0 };
  const upkeep = new Upkeep({ turn: null, collect: null, now: () => clock.ms });
  clock.ms = 10 * TURN_EVERY_MS;
  upkeep.encoded(10 * COLLECT_EVERY_PASSES);
  await upkeep.run();
});
