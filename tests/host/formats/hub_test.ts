import assert from "node:assert/strict";
import { fetchModel, type FetchOptions } from "../../../engine/formats/hub/snapshot.ts";
import { parseHubReference } from "../../../engine/formats/hub/reference.ts";
import { type HubSettings, hubSettings } from "../../../engine/formats/hub/settings.ts";
import { etagOf, type HubFile, HubServer } from "../../support/hub_server.ts";
import { assertInputError, TemporaryFolder } from "./temporary_folder.ts";

const REPOSITORY = "someone/tiny";

function text(content: string): HubFile {
  return { bytes: new TextEncoder().encode(content) };
}

/** So many bytes that are not all alike. */
function large(byteLength: number, seed = 1): HubFile {
  return {
    bytes: Uint8Array.from({ length: byteLength }, (_, i) => (i * 31 + (i >> 8) * seed) & 255),
    large: true,
  };
}

/** A model as the hub has it. */
function tiny(): Record<string, HubFile> {
  return {
    ".gitattributes": text("*.safetensors filter=lfs\n"),
    "README.md": text("# tiny\n"),
    "config.json": text('{"model_type":"gpt2"}'),
    "tokenizer.json": text("{}"),
    "tokenizer_config.json": text('{"a":1}'),
    "pytorch_model.bin": large(100),
    "onnx/model.onnx": large(100),
    "model.safetensors": large(300_000),
  };
}

interface Stage {
  server: HubServer;
  cache: string;
  settings: HubSettings;
  fetch(reference?: string, options?: Partial<FetchOptions>): ReturnType<typeof fetchModel>;
}

async function onStage(
  files: Record<string, HubFile>,
  act: (stage: Stage) => Promise<void>,
  changes: Partial<HubSettings> = {},
): Promise<void> {
  using folder = new TemporaryFolder();
  const server = await HubServer.start(files);
  const cache = `${folder.path}/hub`;
  const settings = server.settings(cache, changes);
  const fetch: Stage["fetch"] = (reference = REPOSITORY, options = {}) =>
    fetchModel(parseHubReference(reference)!, { what: "model", settings, ...options });
  try {
    await act({ server, cache, settings, fetch });
  } finally {
    await server.stop();
  }
}

/** Everything under a folder, links not followed; sorted. */
function filesUnder(folder: string, prefix = ""): string[] {
  return [...Deno.readDirSync(folder)].flatMap(({ name, isDirectory }) =>
    isDirectory ? filesUnder(`${folder}/${name}`, `${prefix}${name}/`) : [prefix + name]
  ).sort();
}

Deno.test("a model is downloaded once, into the cache as Python's library lays it out", () =>
  onStage(tiny(), async ({ server, cache, fetch }) => {
    const { reference, folder } = await fetch();
    assert.deepEqual(reference, { repository: REPOSITORY, revision: server.commit });
    assert.equal(folder, `${cache}/models--someone--tiny/snapshots/${server.commit}`);
    const names = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
    const etags = names.map((name) => etagOf(server.files[name]));
    const root = "models--someone--tiny";
    assert.deepEqual(
      filesUnder(cache),
      [
        ...etags.map((etag) => `.locks/${root}/${etag}.lock`),
        ...etags.map((etag) => `${root}/blobs/${etag}`),
        `${root}/refs/main`,
        ...names.map((name) => `${root}/snapshots/${server.commit}/${name}`),
      ].sort(),
    );
    assert.equal(Deno.readTextFileSync(`${cache}/${root}/refs/main`), server.commit);
    for (const [i, name] of names.entries()) {
      assert.equal(Deno.readLinkSync(`${folder}/${name}`), `../../blobs/${etags[i]}`);
      assert.deepEqual(Deno.readFileSync(`${folder}/${name}`), server.files[name].bytes);
    }
    const before = server.asked.length;
    assert.equal((await fetch()).folder, folder);
    // Only which commit the branch stands at is asked again.
    assert.deepEqual(server.asked.slice(before).map(({ path }) => path), [
      "/api/models/someone/tiny/revision/main",
    ]);
    await fetch(`${REPOSITORY}@${server.commit}`);
    assert.equal(server.asked.length, before + 1, "a commit whose files are here was asked for");
  }));

Deno.test("branches, tags and pull requests are pinned to their commits", () =>
  onStage(tiny(), async ({ server, cache, fetch }) => {
    const first = server.commit;
    assert.equal((await fetch(`${REPOSITORY}@v1`)).reference.revision, first);
    server.commit = "fedcba9876543210fedcba9876543210fedcba98";
    server.files["model.safetensors"] = large(1000, 5);
    const { reference, folder } = await fetch(`${REPOSITORY}@refs/pr/1`);
    assert.equal(reference.revision, server.commit);
    assert.equal(Deno.statSync(`${folder}/model.safetensors`).size, 1000);
    assert.equal(Deno.readTextFileSync(`${cache}/models--someone--tiny/refs/refs/pr/1`), server.commit);
    assert.equal(Deno.readTextFileSync(`${cache}/models--someone--tiny/refs/v1`), first);
    // What did not change was not fetched twice.
    assert.equal(server.rangesOf("tokenizer.json").length, 1);
  }));

Deno.test("planning fetches config.json alone", () =>
  onStage(tiny(), async ({ server, fetch }) => {
    const { folder } = await fetch(REPOSITORY, { what: "config" });
    assert.deepEqual(filesUnder(folder), ["config.json"]);
    assert.deepEqual(
      server.asked.filter(({ path }) => !path.startsWith("/api/") && !path.endsWith("/config.json")),
      [],
    );
  }));

Deno.test("connections that are cut, again and again, are taken up where they ended", () =>
  onStage(tiny(), async ({ server, fetch }) => {
    const cuts = [0, 1, 100_000, 0, 65_536, 134_462].map((after) => ({ kind: "cut" as const, after }));
    server.faults.set("model.safetensors", cuts);
    server.faults.set("config.json", [{ kind: "cut", after: 3 }]);
    server.infoFaults.push({ kind: "cut", after: 0 });
    const { folder } = await fetch();
    for (const name of ["model.safetensors", "config.json"]) {
      assert.deepEqual(Deno.readFileSync(`${folder}/${name}`), server.files[name].bytes);
    }
    assert.deepEqual(server.rangesOf("model.safetensors"), [
      null,
      null,
      "bytes=1-",
      "bytes=100001-",
      "bytes=100001-",
      "bytes=165537-",
      "bytes=299999-",
    ]);
    assert.deepEqual(server.rangesOf("config.json"), [null, "bytes=3-"]);
  }));

Deno.test("a download that another process began goes on from there", () =>
  onStage(tiny(), async ({ server, cache, fetch }) => {
    const file = server.files["model.safetensors"];
    server.faults.set("model.safetensors", [
      { kind: "cut", after: 200_000 },
      ...Array.from({ length: 5 }, () => ({ kind: "cut" as const, after: 0 })),
    ]);
    await assertInputError(() => fetch(), "model.safetensors", "200000 of 300000 bytes", "attempts");
    const blob = `${cache}/models--someone--tiny/blobs/${etagOf(file)}`;
    assert.equal(Deno.statSync(`${blob}.incomplete`).size, 200_000);
    server.asked.length = 0;
    server.faults.clear();
    const progress: number[][] = [];
    const { folder } = await fetch(REPOSITORY, {
      onProgress: ({ doneBytes, totalBytes, fetchedBytes }) =>
        progress.push([doneBytes, totalBytes!, fetchedBytes]),
    });
    assert.deepEqual(Deno.readFileSync(`${folder}/model.safetensors`), file.bytes);
    assert.deepEqual(server.rangesOf("model.safetensors"), ["bytes=200000-"]);
    assert.deepEqual(progress[0], [200_000, 300_000, 0]);
    assert.deepEqual(progress.at(-1), [300_000, 300_000, 100_000]);
  }));

Deno.test("what an earlier download left is thrown away where it is not of this file", () =>
  onStage(tiny(), async ({ server, cache, fetch }) => {
    const file = server.files["model.safetensors"];
    const blobs = `${cache}/models--someone--tiny/blobs`;
    for (const left of [new Uint8Array(1000), new Uint8Array(300_000), new Uint8Array(300_001)]) {
      Deno.mkdirSync(blobs, { recursive: true });
      Deno.writeFileSync(`${blobs}/${etagOf(file)}.incomplete`, left);
      const { folder } = await fetch();
      assert.deepEqual(Deno.readFileSync(`${folder}/model.safetensors`), file.bytes);
      assert.deepEqual(filesUnder(blobs).filter((name) => name.endsWith(".incomplete")), []);
      Deno.removeSync(cache, { recursive: true });
    }
  }));

Deno.test("a server that knows no ranges sends the whole file again", () =>
  onStage(tiny(), async ({ server, fetch }) => {
    server.ignoresRanges = true;
    server.faults.set("model.safetensors", [{ kind: "cut", after: 70_000 }]);
    const { folder } = await fetch();
    assert.deepEqual(
      Deno.readFileSync(`${folder}/model.safetensors`),
      server.files["model.safetensors"].bytes,
    );
  }));

Deno.test("contents that do not fit their checksum are refused and not kept", async () => {
  const flipped = (file: HubFile) =>
    file.bytes.map((byte, i) => i === file.bytes.length - 1 ? byte ^ 1 : byte);
  for (const [name, kind] of [["model.safetensors", "sha256"], ["config.json", "git id"]]) {
    await onStage(tiny(), async ({ server, cache, fetch }) => {
      server.files[name].sent = flipped(server.files[name]);
      await assertInputError(() => fetch(), name, REPOSITORY, `its ${kind} is`, etagOf(server.files[name]));
      const blobs = filesUnder(`${cache}/models--someone--tiny/blobs`);
      assert.ok(!blobs.some((blob) => blob.startsWith(etagOf(server.files[name]))), `${blobs} kept`);
      server.files[name].sent = undefined;
      await fetch();
    });
  }
});

Deno.test("a file that is longer or shorter than announced is refused", async () => {
  for (const change of [1, -1]) {
    await onStage(tiny(), async ({ server, fetch }) => {
      const file = server.files["model.safetensors"];
      file.sent = large(file.bytes.length + change).bytes;
      await assertInputError(() => fetch(), "model.safetensors");
    });
  }
});

Deno.test("a checksum that is no name of a file is refused", () =>
  onStage(tiny(), async ({ server, cache, fetch }) => {
    server.files["model.safetensors"].etag = "../../../escaped";
    await assertInputError(() => fetch(), "model.safetensors", '"../../../escaped"', "expected a checksum");
    assert.ok(!filesUnder(cache).some((path) => path.includes("escaped")));
  }));

Deno.test("the token goes to the hub and nowhere else", () =>
  onStage(tiny(), async ({ server, fetch }) => {
    server.requiredToken = "hf_secret";
    await fetch();
    const [hub, storage] = ["hub", "storage"].map((name) =>
      server.asked.filter(({ server }) => server === name).map(({ authorization }) => authorization)
    );
    assert.ok(hub.length > 4 && hub.every((value) => value === "Bearer hf_secret"));
    assert.ok(storage.length > 0 && storage.every((value) => value === null), "the storage got the token");
  }, { token: "hf_secret" }));

Deno.test("a renamed repository is found under its old name", () =>
  onStage(tiny(), async ({ server, fetch }) => {
    await assertInputError(() => fetch("old/name"), "no such model"); // its files are not redirected here
    assert.equal(server.asked[1].path, "/api/models/someone/tiny/revision/main");
  }));

Deno.test("refusals of the hub say what they mean", async () => {
  const refused = (reference: string, act: (server: HubServer) => void, ...parts: string[]) =>
    onStage(tiny(), async ({ server, fetch }) => {
      act(server);
      await assertInputError(() => fetch(reference), ...parts);
    });
  const none = () => {};
  await refused("someone/else", none, "someone/else@main", "no such model");
  await refused(`${REPOSITORY}@v9`, none, `${REPOSITORY}@v9`, "no revision v9");
  await refused(REPOSITORY, (server) => server.requiredToken = "hf_x", "or it is private: then set HF_TOKEN");
  await refused(
    REPOSITORY,
    (server) =>
      server.infoFaults.push({ kind: "status", status: 403, headers: { "X-Error-Code": "GatedRepo" } }),
    "access to it is restricted",
    "HF_TOKEN",
  );
  await refused(
    REPOSITORY,
    (server) =>
      server.siblings = [{ rfilename: "config.json" }, { rfilename: "model.safetensors" }, {
        rfilename: "vocab.txt",
      }],
    "it has no file vocab.txt",
  );
  await refused(REPOSITORY, (server) => server.commit = "../../etc", 'its commit is "../../etc"');
  await refused(REPOSITORY, (server) => delete server.files["config.json"], "it has no config.json");
  await refused(REPOSITORY, (server) => server.siblings = [5], "it has a file");
});

Deno.test("names that leave the folder are refused, whatever they are for", async () => {
  for (const name of ["../x", "a/../../x", "/etc/passwd", "..\\x", "C:x", "./x", "a//b", ""]) {
    await onStage(tiny(), async ({ server, cache, fetch }) => {
      server.siblings = [{ rfilename: "config.json" }, { rfilename: name }];
      await assertInputError(() => fetch(), JSON.stringify(name), "leaves the folder");
      assert.throws(() => Deno.statSync(cache), Deno.errors.NotFound, "something was written");
    });
  }
});

Deno.test("an index whose shards lie outside is refused", () =>
  onStage({
    "config.json": text("{}"),
    "model.safetensors.index.json": text('{"weight_map":{"a":"../../../x.safetensors"}}'),
  }, async ({ fetch }) => {
    await assertInputError(() => fetch(), '"../../../x.safetensors"', "in the same folder");
  }));

Deno.test("the shards of an index are downloaded, and others are not", () =>
  onStage({
    "config.json": text("{}"),
    "model.safetensors.index.json": text(
      '{"weight_map":{"a":"model-1-of-2.safetensors","b":"model-2-of-2.safetensors","c":"model-1-of-2.safetensors"}}',
    ),
    "model-1-of-2.safetensors": large(500),
    "model-2-of-2.safetensors": large(600),
    "unused.safetensors": large(100),
  }, async ({ server, fetch }) => {
    const { folder, reference } = await fetch();
    assert.deepEqual(filesUnder(folder), [
      "config.json",
      "model-1-of-2.safetensors",
      "model-2-of-2.safetensors",
      "model.safetensors.index.json",
    ]);
    const asked = server.asked.length;
    await fetch(`${REPOSITORY}@${reference.revision}`); // that it has no tokenizer is remembered
    assert.equal(server.asked.length, asked);
    delete server.files["model-2-of-2.safetensors"];
    Deno.removeSync(`${folder}/model-2-of-2.safetensors`);
    await assertInputError(
      () => fetch(),
      "names model-2-of-2.safetensors, which the repository does not have",
    );
  }));

Deno.test("a repository with no safetensors is refused with what can be done", () =>
  onStage({ "config.json": text("{}"), "pytorch_model.bin": large(10) }, async ({ server, fetch }) => {
    await assertInputError(
      () => fetch(),
      "pytorch_model.bin only",
      "expected safetensors",
      "save_pretrained",
    );
    assert.deepEqual(server.rangesOf("pytorch_model.bin"), []);
    delete server.files["pytorch_model.bin"];
    await assertInputError(() => fetch(), "it has no weights, expected model.safetensors");
  }));

Deno.test("a silent server is given up, an overworked one is asked again", () =>
  onStage(tiny(), async ({ server, settings, fetch }) => {
    server.infoFaults.push({ kind: "status", status: 503 }, {
      kind: "status",
      status: 429,
      headers: { "Retry-After": "0" },
    });
    server.faults.set("model.safetensors", [{ kind: "silence" }, { kind: "status", status: 500 }]);
    const patient = { ...settings, timeoutMs: 300 };
    await fetch(REPOSITORY, { settings: patient });
    server.infoFaults.push(...Array.from({ length: 5 }, () => ({ kind: "silence" as const })));
    const impatient = { ...settings, timeoutMs: 50, cacheFolder: `${settings.cacheFolder}-other` };
    await assertInputError(
      () => fetch(REPOSITORY, { settings: impatient }),
      "ask for someone/tiny",
      "no answer within 0.05 s",
    );
  }));

Deno.test("a hub out of reach does not matter when the cache has the model, and is said", () =>
  onStage(tiny(), async ({ server, fetch, settings }) => {
    await fetch();
    await server.stop();
    const notes: string[] = [];
    const { reference } = await fetch(REPOSITORY, { onNote: (note) => notes.push(note) });
    assert.equal(reference.revision, server.commit);
    assert.match(notes.join(), /attempts; using someone\/tiny@0123456789abcdef\w+ from the cache/);
    await assertInputError(
      () => fetch(`${REPOSITORY}@v1`, { settings }),
      "Cannot ask for someone/tiny",
      server.endpoint,
    );
  }));

Deno.test("offline, nothing is asked for and what is missing is named", () =>
  onStage(tiny(), async ({ server, cache, settings, fetch }) => {
    const offline = { settings: { ...settings, offline: true } };
    await assertInputError(() => fetch(REPOSITORY, offline), "offline", "revision main", cache);
    await fetch(REPOSITORY, { what: "config" });
    const asked = server.asked.length;
    await fetch(REPOSITORY, { ...offline, what: "config" });
    await assertInputError(
      () => fetch(REPOSITORY, offline),
      "model.safetensors (or model.safetensors.index.json)",
    );
    await assertInputError(
      () => fetch(`${REPOSITORY}@${"a".repeat(40)}`, offline),
      "config.json is not in the cache",
    );
    assert.equal(server.asked.length, asked);
    const { folder } = await fetch();
    assert.equal((await fetch(REPOSITORY, offline)).folder, folder);
    Deno.removeSync(await Deno.realPath(`${folder}/model.safetensors`)); // a link to nowhere is no file
    await assertInputError(() => fetch(REPOSITORY, offline), "model.safetensors");
    await fetch();
    await fetch(REPOSITORY, offline);
  }));

Deno.test("two downloads at once fetch each file once", () =>
  onStage(tiny(), async ({ server, fetch }) => {
    server.faults.set("model.safetensors", [{ kind: "cut", after: 150_000 }]);
    const [a, b] = await Promise.all([fetch(), fetch()]);
    assert.equal(a.folder, b.folder);
    assert.deepEqual(
      Deno.readFileSync(`${a.folder}/model.safetensors`),
      server.files["model.safetensors"].bytes,
    );
    assert.deepEqual(server.rangesOf("model.safetensors"), [null, "bytes=150000-"]);
  }));

Deno.test("parseHubReference() tells repositories from paths", async () => {
  assert.deepEqual(parseHubReference("a/b"), { repository: "a/b", revision: "main" });
  assert.deepEqual(parseHubReference("a-1/B.c_d@refs/pr/3"), {
    repository: "a-1/B.c_d",
    revision: "refs/pr/3",
  });
  for (
    const path of [
      "gpt2",
      "./a/b",
      "/a/b",
      "../a",
      "a/b/c",
      "a\\b",
      "a/..",
      "a/b--c",
      "a//b",
      "",
      "a/",
      "~/x",
    ]
  ) {
    assert.equal(parseHubReference(path), null, path);
  }
  for (const revision of ["", "..", "a/../b", "/a", "a/", ".git", "a b", "a\0", "x.lock", "a?b"]) {
    await assertInputError(() => parseHubReference(`a/b@${revision}`), JSON.stringify(revision));
  }
});

Deno.test("hubSettings() reads the variables that Python's library reads", async () => {
  const settings = (variables: Record<string, string>) => hubSettings((name) => variables[name]);
  const plain = settings({});
  assert.equal(plain.endpoint, "https://huggingface.co");
  assert.equal(plain.token, null);
  assert.equal(plain.offline, false);
  assert.match(plain.cacheFolder, /\/\.cache\/huggingface\/hub$/);
  assert.equal(settings({ HF_HOME: "/h" }).cacheFolder, "/h/hub");
  assert.equal(settings({ HF_HOME: "/h", HF_HUB_CACHE: "/c" }).cacheFolder, "/c");
  assert.equal(settings({ XDG_CACHE_HOME: "/x" }).cacheFolder, "/x/huggingface/hub");
  assert.equal(settings({ HF_ENDPOINT: "http://localhost:1/" }).endpoint, "http://localhost:1");
  assert.equal(settings({ HF_TOKEN: " t " }).token, "t");
  assert.equal(settings({ HF_TOKEN: "" }).token, null);
  for (const on of ["1", "true", "YES", "on"]) assert.equal(settings({ HF_HUB_OFFLINE: on }).offline, true);
  assert.equal(settings({ HF_HUB_OFFLINE: "0" }).offline, false);
  assert.throws(() => settings({ HF_TOKEN: "hf_secret\nhf_other" }), (error: Error) => {
    assert.match(error.message, /HF_TOKEN/);
    assert.doesNotMatch(error.message, /secret|other/);
    return true;
  });
  await assertInputError(() => settings({ HF_ENDPOINT: "huggingface.co" }), "HF_ENDPOINT");
  await assertInputError(() => settings({ HF_HUB_DOWNLOAD_TIMEOUT: "soon" }), "HF_HUB_DOWNLOAD_TIMEOUT");
});
