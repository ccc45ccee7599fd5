import assert from "node:assert/strict";
import {
  differences,
  environmentKey,
  mixtureOf,
  type Origin,
  originsOf,
  vectorWidthOf,
} from "../../../results/environment.ts";
import type { Environment } from "../../../results/record.ts";
import { syntheticRun } from "../report/synthetic_run.ts";

const { cells } = syntheticRun({ batches: [1, 4, 8], seeds: [0], statuses: { 8: "not-run" } });

/** The first cell's environment, changed, with the key that goes with it. */
function changed(changes: Partial<Environment>): Environment {
  const environment = { ...cells[0].environment, ...changes };
  return { ...environment, key: environmentKey(environment) };
}

const origin = (changes: Partial<Environment> = {}, numerics = 2): Origin => ({
  numerics,
  environment: changed(changes),
});

Deno.test("the key of a software adapter has processor, threads and vectors, that of a GPU has none", () => {
  assert.equal(
    environmentKey({
      adapter: "NVIDIA H200",
      software: false,
      cpu: "Intel",
      driver: "580.159.04",
      gpuProviderVersion: "wgpu of Deno 2.9.6",
      threads: null,
      vectorWidth: null,
    }),
    "NVIDIA H200 | driver 580.159.04 | wgpu of Deno 2.9.6",
  );
  assert.equal(
    changed({}).key,
    "llvmpipe (LLVM 15.0.6, 256 bits) | Example CPU 3.1 GHz | driver Mesa 22.3.6 | wgpu of Deno 2.9.6 | threads 4 | " +
      "vector width 256 bits",
  );
  assert.match(changed({ threads: null }).key, / \| threads as the driver has them \| /);
});

Deno.test("vectorWidthOf() reads Mesa's name", () => {
  assert.equal(vectorWidthOf("llvmpipe (LLVM 15.0.6, 512 bits)"), 512);
  assert.equal(vectorWidthOf("llvmpipe"), null);
  assert.equal(vectorWidthOf("NVIDIA H200"), null);
});

Deno.test("differences() names each part of the key, the numerics and the code", () => {
  const names = (before: Origin, now: Origin) => differences(before, now).map(({ what }) => what);
  assert.deepEqual(names(origin(), origin()), []);
  const parts: [Partial<Environment>, string][] = [
    [{ adapter: "llvmpipe (LLVM 19.1.7, 256 bits)" }, "adapter"],
    [{ cpu: "another" }, "processor"],
    [{ driver: "Mesa 25.0.7" }, "driver"],
    [{ driver: null }, "driver"],
    [{ gpuProviderVersion: "wgpu of Deno 3" }, "WebGPU by"],
    [{ threads: 2 }, "threads"],
    [{ vectorWidth: 512 }, "vector width"],
  ];
  for (const [change, what] of parts) assert.deepEqual(names(origin(), origin(change)), [what]);
  assert.deepEqual(differences(origin({}, 2), origin({}, 3)), [{ what: "numerics", before: "2", now: "3" }]);
  // Not everything of a machine: memory and kernel may differ.
  assert.deepEqual(names(origin(), origin({ memoryBytes: 1, operatingSystem: "other", cpuCount: 64 })), []);
  const odd = origin();
  odd.environment.key = "made by another rule";
  assert.deepEqual(names(odd, origin()), ["environment key"]);
});

Deno.test("code is compared by work trees where both are known, by commits otherwise", () => {
  const tree = (digit: string) => digit.repeat(40);
  const found = (before: Partial<Environment>, now: Partial<Environment>) =>
    differences(origin(before), origin(now));
  const [a, b] = ["a".repeat(40), "b".repeat(40)];
  assert.deepEqual(found({ commit: a, tree: tree("1") }, { commit: `${b}+`, tree: tree("1") }), []);
  assert.deepEqual(found({ commit: a, tree: tree("1") }, { commit: `${a}+`, tree: tree("2") }), [
    { what: "work tree", before: "111111111111 (aaaaaaaaaaaa)", now: "222222222222 (aaaaaaaaaaaa+)" },
  ]);
  assert.deepEqual(found({ commit: a, tree: null }, { commit: a, tree: tree("1") }), []);
  assert.deepEqual(found({ commit: a, tree: null }, { commit: `${a}+`, tree: tree("1") }), [
    { what: "commit", before: a, now: `${a}+` },
  ]);
  assert.deepEqual(found({ commit: null, tree: null }, { commit: a, tree: null }), [
    { what: "commit", before: "none", now: a },
  ]);
});

Deno.test("mixtureOf() counts the cells of each origin, those that were left out not among them", () => {
  const [one, two, idle] = cells;
  assert.equal(mixtureOf([]), null);
  assert.equal(mixtureOf(cells), null);
  assert.equal(mixtureOf([one, two, { ...idle, environment: changed({ driver: "other" }) }]), null);
  const mixed = [one, one, { ...two, environment: changed({ driver: "Mesa 25.0.7" }) }];
  assert.deepEqual(originsOf(mixed).map(({ cells }) => cells), [2, 1]);
  assert.equal(
    mixtureOf(mixed),
    "Mixed: 2 of the 3 cells that ran are of one origin, 1 of another (driver Mesa 25.0.7, not Mesa 22.3.6).",
  );
});
