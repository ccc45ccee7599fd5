import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { openProvider } from "../../../engine/runtime/provider.ts";
import {
  lavapipeLanes,
  lavapipeSettings,
  tuneLavapipe,
} from "../../../engine/runtime/lavapipe/environment.ts";

/** The environment afterwards, of what it was before. */
function tuned(
  machine: { os?: string; cores?: number },
  before: Record<string, string> = {},
): Record<string, string> {
  const values = { ...before };
  const variables = {
    get: (name: string) => values[name],
    set: (name: string, to: string) => void (values[name] = to),
  };
  tuneLavapipe({ os: "linux", cores: 1, ...machine, variables });
  return values;
}

Deno.test("the software adapter gets two threads a core on machines of few cores", () => {
  assert.deepEqual(tuned({ cores: 2 }), { LP_NUM_THREADS: "4" });
  assert.deepEqual(tuned({ cores: 12 }), { LP_NUM_THREADS: "16" });
  assert.deepEqual(tuned({ cores: 15 }), { LP_NUM_THREADS: "16" });
  assert.deepEqual(tuned({ cores: 2 }, { LP_NUM_THREADS: "" }), { LP_NUM_THREADS: "4" }, "set to nothing");
});

Deno.test("the software adapter is left alone where that is no gain, or where it was told", () => {
  assert.deepEqual(tuned({ cores: 1 }), {});
  assert.deepEqual(tuned({ cores: 16 }), {});
  assert.deepEqual(tuned({ os: "darwin", cores: 2 }), {});
  assert.deepEqual(tuned({ cores: 2 }, { LP_NUM_THREADS: "3" }), { LP_NUM_THREADS: "3" });
});

Deno.test("the software adapter is left alone where the environment may not be written", () => {
  assert.doesNotThrow(() => tuneLavapipe({ os: "linux", cores: 2, variables: null }));
});

Deno.test("a plan has the lanes that the software adapter will have", () => {
  const lanes = (width?: string) => lavapipeLanes({ get: () => width });
  assert.equal(lanes(), 8);
  assert.equal(lanes(""), 8, "set to nothing");
  assert.equal(lanes("128"), 4);
  assert.equal(lanes("512"), 16);
  assert.equal(lavapipeLanes(null), 8, "may not be read");
});

Deno.test("lavapipeSettings() are the threads it was told and the width its name has, and none of other adapters", () => {
  const of = (name: string, threads?: string) => lavapipeSettings(name, { get: () => threads });
  const name = "llvmpipe (LLVM 15.0.6, 256 bits)";
  assert.deepEqual(of(name, "4"), { threads: 4, vectorWidth: 256 });
  assert.deepEqual(of(name, "0"), { threads: 0, vectorWidth: 256 }, "computes on the caller's thread");
  assert.deepEqual(of(name), { threads: null, vectorWidth: 256 });
  assert.deepEqual(of(name, ""), { threads: null, vectorWidth: 256 });
  assert.deepEqual(of("llvmpipe", "2"), { threads: 2, vectorWidth: null });
  assert.deepEqual(lavapipeSettings(name, null), { threads: null, vectorWidth: 256 });
  assert.deepEqual(of("NVIDIA H200", "4"), { threads: null, vectorWidth: null });
});

Deno.test("the engine leaves the environment to the command line, imported or at work", async () => {
  const engine = new URL("../../../mod.ts", import.meta.url).href;
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...["eval", "--config", fileURLToPath(new URL("../../../deno.json", import.meta.url))],
      `const before = Deno.env.toObject();
       await import(${JSON.stringify(engine)});
       console.log(JSON.stringify([before, Deno.env.toObject()]));`,
    ],
  }).output();
  const [unloaded, loaded] = JSON.parse(new TextDecoder().decode(stdout));
  assert.ok(Object.keys(unloaded).length > 0);
  assert.deepEqual(loaded, unloaded);
  const before = Deno.env.toObject();
  await openProvider("wgpu");
  assert.deepEqual(Deno.env.toObject(), before);
  const main = await Deno.readTextFile(new URL("../../../suites/cli/main.ts", import.meta.url));
  assert.match(main, /^if \(import\.meta\.main\) \{[^}]*\btuneLavapipe\(\);/ms);
});
