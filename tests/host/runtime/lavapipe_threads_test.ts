import assert from "node:assert/strict";
import { spreadLavapipe } from "../../../engine/runtime/lavapipe_threads.ts";

/** What `LP_NUM_THREADS` is afterwards. */
function threads(machine: { os?: string; cores: number }, before?: string): string | undefined {
  let value = before;
  const variable = { get: () => value, set: (_: string, to: string) => void (value = to) };
  spreadLavapipe({ os: "linux", ...machine, variable });
  return value;
}

Deno.test("the software adapter gets two threads a core on machines of few cores", () => {
  assert.equal(threads({ cores: 2 }), "4");
  assert.equal(threads({ cores: 12 }), "16");
  assert.equal(threads({ cores: 2 }, ""), "4", "set to nothing");
});

Deno.test("the software adapter keeps its threads where that is no gain, or where it was told", () => {
  assert.equal(threads({ cores: 1 }), undefined);
  assert.equal(threads({ cores: 16 }), undefined);
  assert.equal(threads({ cores: 2, os: "darwin" }), undefined);
  assert.equal(threads({ cores: 2 }, "3"), "3");
});

Deno.test("the software adapter keeps its threads where the environment may not be written", () => {
  assert.doesNotThrow(() => spreadLavapipe({ os: "linux", cores: 2, variable: null }));
});
