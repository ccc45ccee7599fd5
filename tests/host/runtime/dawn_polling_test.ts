import assert from "node:assert/strict";
import { paceDawnPolls } from "../../../engine/runtime/dawn_polling.ts";

/** A scope of its own with polls paced, and how often it was asked for a turn at once and for one later. */
function pacedScope() {
  const asked = { immediate: 0, later: 0 };
  let time = 0;
  const scope = {
    setImmediate: (_: () => void) => void asked.immediate++,
    setTimeout: (_: () => void, ms: number) => {
      assert.ok(ms >= 1);
      asked.later++;
    },
  };
  paceDawnPolls(scope, () => time);
  const turns = (count: number, callback: () => void, msBetween = 0.01) => {
    asked.immediate = asked.later = 0;
    for (let i = 0; i < count; i++) {
      time += msBetween;
      scope.setImmediate(callback);
    }
    return { ...asked };
  };
  return { turns, idle: (ms: number) => void (time += ms) };
}

const native = (() => {}).bind(null);

Deno.test("a long wait's turns come later, a short one's at once, and the next wait begins anew", () => {
  const { turns, idle } = pacedScope();
  assert.deepEqual(turns(10, native), { immediate: 10, later: 0 });
  const long = turns(10_000, native);
  assert.equal(long.immediate + long.later, 10_000);
  assert.ok(long.immediate < 100, `${long.immediate} turns at once`);
  assert.deepEqual(turns(100, native, 1.2), { immediate: 0, later: 100 }, "turns of a timer are no new wait");
  idle(20);
  assert.deepEqual(turns(10, native), { immediate: 10, later: 0 });
});

Deno.test("functions of JavaScript are called as they were", () => {
  const { turns } = pacedScope();
  assert.deepEqual(turns(10_000, () => {}), { immediate: 10_000, later: 0 });
});
