import assert from "node:assert/strict";
import { configurationsOf } from "../../../report/rows/configuration.ts";
import { withoutReused } from "../../../report/rows/reused.ts";
import { syntheticRun } from "./synthetic_run.ts";

const [template] = syntheticRun({}).cells;

/** A cell of a phase with a seed; `same`: the cell whose record it repeats. */
function cell(phase: string, id: string, seed: number, same: string | null = null) {
  return { ...structuredClone(template), id, phase, sameRunAs: same, config: { ...template.config, seed } };
}

/** Phases that stay, each with those it stands for. */
function shown(cells: ReturnType<typeof cell>[]): string[] {
  return withoutReused(configurationsOf(cells)).map(({ configuration, repeated }) =>
    [configuration, ...repeated].map(({ phase }) => phase).join()
  );
}

Deno.test("withoutReused() keeps the configuration with more runs, and of equal ones the earlier", () => {
  assert.deepEqual(shown([cell("single", "a", 1), cell("ladder", "b", 1, "a"), cell("ladder", "c", 2)]), [
    "ladder,single",
  ]);
  assert.deepEqual(shown([cell("single", "a", 1), cell("ladder", "b", 1, "a")]), ["single,ladder"]);
});

Deno.test("withoutReused() keeps both where each has a run of its own, and runs that are alike only by chance", () => {
  const apart = [
    cell("single", "a", 1),
    cell("single", "b", 3),
    cell("ladder", "c", 1, "a"),
    cell("ladder", "d", 2),
  ];
  assert.deepEqual(shown(apart), ["single", "ladder"]);
  assert.deepEqual(shown([cell("single", "a", 1), cell("ladder", "b", 1)]), ["single", "ladder"]);
});
