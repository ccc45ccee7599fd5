import assert from "node:assert/strict";
import { configurationKey } from "../../../results/configuration_key.ts";
import type { CellRole } from "../../../results/record.ts";
import type { RunConfig } from "../../../results/settings.ts";

Deno.test("cells of one configuration differ in seed and in the cell that they start from, if it is called the same", () => {
  const key = (changes: Partial<RunConfig> = {}, role?: CellRole | null, name = (id: string) => id[0]) =>
    configurationKey(
      { config: { model: "gpt2", seed: 1, startFrom: "a1", ...changes } as RunConfig, role },
      name,
    );
  assert.equal(key({ seed: 2, startFrom: "a2" }), key());
  assert.equal(key({}, null), key());
  const others = [
    key({ startFrom: "b1" }),
    key({ startFrom: null }),
    key({ model: "bert" }),
    key({}, "search"),
    key({ startFrom: "a2" }, null, (id) => id),
  ];
  assert.equal(new Set([key(), ...others]).size, 6);
});
