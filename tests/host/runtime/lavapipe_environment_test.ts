import assert from "node:assert/strict";
import {
  lavapipeLanes,
  lavapipeSettings,
  tuneLavapipe,
} from "../../../engine/runtime/lavapipe_environment.ts";

const WIDE_FLAGS = ["fpu", "avx2", "avx512f", "avx512dq", "avx512bw", "avx512vl"];
/** Of Mesa 22.3 and of 25.0. */
const [OLD, NEW] = [230, 305];

/** The environment afterwards, of what it was before. */
function tuned(
  machine: { os?: string; cores?: number; flags?: string[]; revision?: number },
  before: Record<string, string> = {},
): Record<string, string> {
  const values = { ...before };
  const variables = {
    get: (name: string) => values[name],
    set: (name: string, to: string) => void (values[name] = to),
  };
  tuneLavapipe({
    os: "linux",
    cores: 1,
    flags: [],
    revision: OLD,
    ...machine,
    variables,
    shaderCache: () => undefined,
  });
  return values;
}

Deno.test("the software adapter gets two threads a core on machines of few cores", () => {
  assert.deepEqual(tuned({ cores: 2 }), { LP_NUM_THREADS: "4" });
  assert.deepEqual(tuned({ cores: 12 }), { LP_NUM_THREADS: "16" });
  assert.deepEqual(tuned({ cores: 2 }, { LP_NUM_THREADS: "" }), { LP_NUM_THREADS: "4" }, "set to nothing");
});

Deno.test("the software adapter gets vectors of 512 bits where the processor has them", () => {
  assert.deepEqual(tuned({ flags: WIDE_FLAGS }), { LP_NATIVE_VECTOR_WIDTH: "512" });
  for (const flag of WIDE_FLAGS.filter((flag) => flag.startsWith("avx512"))) {
    assert.deepEqual(tuned({ flags: WIDE_FLAGS.filter((other) => other !== flag) }), {}, `without ${flag}`);
  }
});

Deno.test("the software adapter keeps its own vectors where Mesa is newer than 22.3", () => {
  assert.deepEqual(tuned({ flags: WIDE_FLAGS, revision: NEW }), {});
  assert.deepEqual(tuned({ flags: WIDE_FLAGS, revision: NaN }), {}, "unknown");
});

Deno.test("machine code for other vectors than Mesa's own is kept apart, unless the environment says where", () => {
  const folders = (before: Record<string, string>, flags: string[] = []) => {
    const values = { ...before };
    const variables = {
      get: (name: string) => values[name],
      set: (name: string, to: string) => void (values[name] = to),
    };
    const shaderCache = (bits: number) => `/cache/mesa-${bits}`;
    tuneLavapipe({ os: "linux", cores: 1, flags, variables, revision: OLD, shaderCache });
    return values.MESA_SHADER_CACHE_DIR;
  };
  assert.equal(folders({}), undefined);
  assert.equal(folders({}, WIDE_FLAGS), "/cache/mesa-512");
  assert.equal(folders({ LP_NATIVE_VECTOR_WIDTH: "512" }), "/cache/mesa-512");
  assert.equal(folders({ LP_NATIVE_VECTOR_WIDTH: "256" }, WIDE_FLAGS), undefined);
  assert.equal(folders({ MESA_SHADER_CACHE_DIR: "/mine" }, WIDE_FLAGS), "/mine");
  assert.equal(folders({ MESA_SHADER_CACHE_DISABLE: "1" }, WIDE_FLAGS), undefined);
});

Deno.test("the software adapter is left alone where that is no gain, or where it was told", () => {
  assert.deepEqual(tuned({ cores: 1 }), {});
  assert.deepEqual(tuned({ cores: 16 }), {});
  assert.deepEqual(tuned({ os: "darwin", cores: 2, flags: WIDE_FLAGS }), {});
  const told = { LP_NUM_THREADS: "3", LP_NATIVE_VECTOR_WIDTH: "256" };
  assert.deepEqual(tuned({ cores: 2, flags: WIDE_FLAGS }, told), told);
});

Deno.test("the software adapter is left alone where the environment may not be written", () => {
  assert.doesNotThrow(() =>
    tuneLavapipe({ os: "linux", cores: 2, flags: WIDE_FLAGS, revision: OLD, variables: null })
  );
});

Deno.test("a plan has the lanes that the software adapter will have", () => {
  const lanes = (flags: string[], width?: string, revision = OLD) =>
    lavapipeLanes({ flags, variables: { get: () => width }, revision });
  assert.equal(lanes([]), 8);
  assert.equal(lanes(WIDE_FLAGS), 16);
  assert.equal(lanes(WIDE_FLAGS, ""), 16, "set to nothing");
  assert.equal(lanes(WIDE_FLAGS, "256"), 8);
  assert.equal(lanes([], "512"), 16);
  assert.equal(lanes(WIDE_FLAGS, undefined, NEW), 8);
  assert.equal(lanes(WIDE_FLAGS, "512", NEW), 16, "told to");
  assert.equal(lavapipeLanes({ flags: WIDE_FLAGS, variables: null, revision: OLD }), 8, "may not be written");
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
