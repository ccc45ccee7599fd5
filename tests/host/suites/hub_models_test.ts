// Models that a suite names by a branch: pinned once, held to, and done without where there is no network.
import assert from "node:assert/strict";
import { InputError } from "../../../engine/input_error.ts";
import type { ModelFile } from "../../../mod.ts";
import type { HubModel } from "../../../results/record.ts";
import { type HubAccess, pinModels } from "../../../suites/hub_models.ts";
import { parseSuite, type TieredSuite, tieredSuite } from "../../../suites/suite.ts";

const [OLD, NEW] = ["0".repeat(40), "1".repeat(40)];

const SUITE = `title: hub
defaults: { model: gpt2-nano, data: moby-dick, sequenceLength: 32, tokens: 1024 }
phases:
  - { name: plain, kind: matrix, cells: [{ label: a }] }
  - { name: base, kind: matrix, defaults: { model: some/one@main }, cells: [{ label: b }] }
  - { name: tuned, kind: matrix, defaults: { startFrom: { phase: base, label: b } }, cells: [{ label: c }] }
  - { name: again, kind: matrix, cells: [{ label: d, startFrom: { phase: tuned, label: c } }] }
  - name: both
    kind: matrix
    axes: { model: [some/one@main, gpt2-nano, other/one@v2] }
    exclude: [{ model: some/one@main, seed: 7 }]
    prune: [{ where: { model: other/one@v2 }, because: large }]
`;

function suiteOf(text = SUITE): TieredSuite {
  const { file, issues } = parseSuite(text, "hub.yaml");
  assert.deepEqual(issues, []);
  return tieredSuite({ ...file, imports: [] }, "software", false);
}

/** A hub whose branches are at a commit; without one of the names it cannot be reached. */
function hubAt(commit: string, { missing = "", sha256 = "aa" } = {}): HubAccess & { asked: string[] } {
  const asked: string[] = [];
  return {
    asked,
    pin(model) {
      asked.push(model);
      if (missing !== "" && model.startsWith(missing)) throw new InputError("Cannot reach the hub");
      return Promise.resolve(model.replace(/@(main|v2)$/, `@${commit}`));
    },
    files: (): Promise<ModelFile[]> =>
      Promise.resolve([{ file: "model.safetensors", byteLength: 3, sha256 }]),
  };
}

const always = () => true;
const named = ({ phases }: TieredSuite, name: string) => phases.find((phase) => phase.name === name)!;

Deno.test("pinModels() puts commits in the place of branches, wherever a phase names a model", async () => {
  const hub = hubAt(OLD);
  const { tiered, models } = await pinModels(suiteOf(), { hub, previous: [], isWanted: always });
  assert.deepEqual(hub.asked, ["some/one@main", "other/one@v2"], "each once");
  assert.deepEqual(models.map(({ name, model }) => [name, model]), [
    ["some/one@main", `some/one@${OLD}`],
    ["other/one@v2", `other/one@${OLD}`],
  ]);
  assert.deepEqual(models[0].files, [{ file: "model.safetensors", byteLength: 3, sha256: "aa" }]);
  assert.equal(named(tiered, "base").defaults.model, `some/one@${OLD}`);
  const { axes, exclude, prune } = named(tiered, "both");
  assert.deepEqual(axes!.model, [`some/one@${OLD}`, "gpt2-nano", `other/one@${OLD}`]);
  assert.equal(exclude![0].model, `some/one@${OLD}`);
  assert.equal(prune![0].where.model, `other/one@${OLD}`);
  assert.equal(named(tiered, "plain").defaults.model, "gpt2-nano");
});

Deno.test("pinModels() holds a run that goes on to the commits and files it began with", async () => {
  const { models } = await pinModels(suiteOf(), { hub: hubAt(OLD), previous: [], isWanted: always });
  const moved = hubAt(NEW);
  const again = await pinModels(suiteOf(), { hub: moved, previous: models, isWanted: always });
  assert.equal(named(again.tiered, "base").defaults.model, `some/one@${OLD}`);
  assert.deepEqual(again.models, models);
  assert.deepEqual(moved.asked, [`some/one@${OLD}`, `other/one@${OLD}`]);
  await assert.rejects(
    pinModels(suiteOf(), { hub: hubAt(OLD, { sha256: "bb" }), previous: models, isWanted: always }),
    /model\.safetensors of some\/one@0+ has SHA-256 bb here, expected aa, as the run has it/,
  );
});

Deno.test("pinModels() leaves out phases whose model cannot be had, and all that starts from them", async () => {
  const hub = hubAt(OLD, { missing: "some/one" });
  const { tiered, models } = await pinModels(suiteOf(), { hub, previous: [], isWanted: always });
  assert.deepEqual(tiered.phases.map(({ name }) => name), ["plain"]);
  assert.deepEqual(models[0], {
    name: "some/one@main",
    model: null,
    files: [],
    because: "Cannot reach the hub",
  });
  // With a network the run goes on with them.
  const later = await pinModels(suiteOf(), { hub: hubAt(NEW), previous: models, isWanted: always });
  assert.equal(later.tiered.phases.length, 5);
  assert.equal(later.models.find(({ name }: HubModel) => name === "some/one@main")!.model, `some/one@${NEW}`);
});

Deno.test("pinModels() asks for nothing that a filter leaves out, and passes on what is no refusal", async () => {
  const hub = hubAt(OLD);
  await pinModels(suiteOf(), { hub, previous: [], isWanted: (phase) => phase === "plain" });
  assert.deepEqual(hub.asked, []);
  const broken: HubAccess = { ...hub, pin: () => Promise.reject(new TypeError("a mistake of ours")) };
  await assert.rejects(pinModels(suiteOf(), { hub: broken, previous: [], isWanted: always }), TypeError);
});
