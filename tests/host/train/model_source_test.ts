import { createHash } from "node:crypto";
import assert from "node:assert/strict";
import { modelFiles, pinModel, resolveModel } from "../../../engine/train/model_source.ts";
import { planTraining } from "../../../engine/train/plan_training.ts";
import { HubServer } from "../../support/hub_server.ts";
import { fixtureOptions, languageModelFixture } from "../../support/model_fixture.ts";
import { assertInputError, TemporaryFolder } from "../formats/temporary_folder.ts";

const FIXTURE = await languageModelFixture("llama_tiny");

/** A hub with one tiny Llama, and an environment that leads to it. */
async function withHub(act: (server: HubServer, cache: string) => Promise<void>): Promise<void> {
  using cache = new TemporaryFolder();
  const read = async (name: string) => ({ bytes: await Deno.readFile(`${FIXTURE.modelFolder}/${name}`) });
  const server = await HubServer.start({
    "config.json": await read("config.json"),
    "model.safetensors": { ...await read("model.safetensors"), large: true },
  });
  const names = ["HF_ENDPOINT", "HF_HUB_CACHE", "HF_TOKEN", "HF_HUB_OFFLINE"];
  const before = names.map((name) => Deno.env.get(name));
  for (const name of names) Deno.env.delete(name);
  Deno.env.set("HF_ENDPOINT", server.endpoint);
  Deno.env.set("HF_HUB_CACHE", cache.path);
  try {
    await act(server, cache.path);
  } finally {
    for (const [i, name] of names.entries()) {
      if (before[i] === undefined) Deno.env.delete(name);
      else Deno.env.set(name, before[i]!);
    }
    await server.stop();
  }
}

Deno.test("a repository of the hub is pinned to its commit and planned from config.json alone", () =>
  withHub(async (server) => {
    const pinned = await pinModel("someone/tiny", { what: "config" });
    assert.equal(pinned, `someone/tiny@${server.commit}`);
    const asked = server.asked.length;
    const options = fixtureOptions(FIXTURE, { model: pinned });
    const ofFolder = await planTraining({ ...options, model: FIXTURE.modelFolder });
    assert.deepEqual(await planTraining(options), ofFolder);
    assert.equal(server.asked.length, asked, "planning a pinned model asked the hub again");
    assert.ok(!server.asked.some(({ path }) => path.endsWith(".safetensors")));
  }));

Deno.test("a model that was not pinned before is downloaded when it is opened", () =>
  withHub(async (server, cache) => {
    const { folder } = await resolveModel("someone/tiny@main");
    assert.equal(folder, `${cache}/models--someone--tiny/snapshots/${server.commit}`);
    assert.ok(Deno.statSync(`${folder}/model.safetensors`).isFile);
    await server.stop();
    Deno.env.set("HF_HUB_OFFLINE", "1");
    assert.equal((await resolveModel("someone/tiny")).folder, folder);
    assert.equal(await pinModel("someone/tiny", { what: "model" }), `someone/tiny@${server.commit}`);
    await assertInputError(
      () => pinModel("someone/else", { what: "model" }),
      "someone/else@main offline",
      "nor is there a folder someone/else",
    );
  }));

Deno.test("modelFiles() says what the files of a model are, by their own bytes", () =>
  withHub(async (server) => {
    const pinned = await pinModel("someone/tiny@main", { what: "model" });
    const files = await modelFiles(pinned);
    assert.deepEqual(files.map(({ file }) => file), Object.keys(server.files).sort());
    for (const { file, byteLength, sha256 } of files) {
      const { bytes } = server.files[file];
      assert.equal(byteLength, bytes.length);
      assert.equal(sha256, createHash("sha256").update(bytes).digest("hex"));
    }
    assert.deepEqual(await modelFiles("gpt2-nano"), []);
  }));

Deno.test("folders come before repositories, and presets before both", () =>
  withHub(async (server) => {
    assert.equal(await pinModel(FIXTURE.modelFolder, { what: "model" }), FIXTURE.modelFolder);
    assert.equal(await pinModel("gpt2-nano", { what: "model" }), "gpt2-nano");
    assert.equal(await pinModel("no-such-thing", { what: "model" }), "no-such-thing");
    await assertInputError(() => resolveModel("no-such-thing"), "owner/name on the hub", "gpt2-nano");
    await assertInputError(() => resolveModel("./no/such"), "Cannot find the model ./no/such");
    assert.deepEqual(server.asked, []);
  }));
