import assert from "node:assert/strict";
import { join } from "node:path";
import { Autotuner } from "../../../engine/runtime/autotune.ts";
import { ChoiceCache } from "../../../engine/runtime/autotune_cache.ts";
import { autotuneModeNamed } from "../../../engine/runtime/autotune_mode.ts";
import { cacheFolder } from "../../../engine/host.ts";
import type { AdapterDescription, Gpu } from "../../../engine/runtime/gpu.ts";

const ADAPTER: AdapterDescription = {
  name: "Test / GPU (1)",
  vendor: "4318",
  architecture: "",
  driver: "550.1",
  provider: "wgpu",
  providerVersion: "wgpu of Deno 2",
  software: false,
  features: [],
  limits: { maxBufferSize: 1024 },
  subgroupSize: 32,
  threads: null,
  vectorWidth: null,
};
const CHOICES = new Map([["nn f32 16×16", { kernel: "workgroup 64×64×16/8", code: "01234567" }]]);

async function inTemporaryFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "choices-" });
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("ChoiceCache gives back what was added, merged, one file an adapter, no temporary left", async () => {
  await inTemporaryFolder(async (folder) => {
    const cache = new ChoiceCache(ADAPTER, folder);
    assert.equal((await cache.read()).size, 0);
    assert.ok(await cache.add(CHOICES));
    const more = new Map([["tn f16", { kernel: "b", code: "89abcdef" }]]);
    assert.ok(await new ChoiceCache(ADAPTER, folder).add(more));
    assert.deepEqual(new Map([...(await cache.read())].sort()), new Map([...CHOICES, ...more].sort()));
    const others: Partial<AdapterDescription>[] = [
      { driver: "550.2" },
      { provider: "dawn" },
      { providerVersion: "wgpu of Deno 3" },
      { name: "another" },
      { limits: { maxBufferSize: 2048 } },
    ];
    for (const other of others) {
      assert.equal((await new ChoiceCache({ ...ADAPTER, ...other }, folder).read()).size, 0);
    }
    const names = [...Deno.readDirSync(folder)].map(({ name }) => name);
    assert.equal(names.length, 1);
    assert.match(names[0], /^wgpu-test-gpu-1-[0-9a-f]{8}\.json$/);
  });
});

Deno.test("ChoiceCache reads a spoilt file as an empty one, and writes it anew", async () => {
  await inTemporaryFolder(async (folder) => {
    const cache = new ChoiceCache(ADAPTER, folder);
    await cache.add(CHOICES);
    const whole = await Deno.readTextFile(cache.path);
    const spoilt = [
      "",
      whole.slice(0, whole.length / 2),
      "null",
      "[]",
      `{"format":2}`,
      whole.replace(`"format": 2`, `"format": 1`),
      whole.replace("550.1", "550.2"),
      whole.replace(
        /"choices": \{[^]*\}\s*\}/,
        `"choices": {"a": 3, "b": null, "c": {"kernel": 1, "code": "x"}}}`,
      ),
      "\u0000\u0001\ufffd",
    ];
    for (const text of spoilt) {
      assert.notEqual(text, whole);
      await Deno.writeTextFile(cache.path, text);
      assert.equal((await cache.read()).size, 0, text);
      assert.ok(await cache.add(CHOICES));
      assert.deepEqual(await cache.read(), CHOICES);
    }
    // A folder of that name can be neither read nor replaced.
    await Deno.remove(cache.path);
    await Deno.mkdir(join(cache.path, "x"), { recursive: true });
    assert.equal((await cache.read()).size, 0);
    assert.equal(await cache.add(CHOICES), false);
  });
});

Deno.test("a device has one tuner, whatever else is known of it changes; another device has another", () => {
  const gpu = (device: object) => ({ device, autotune: "on", adapter: ADAPTER }) as unknown as Gpu;
  const first = gpu({});
  assert.equal(Autotuner.of(first), Autotuner.of(first));
  assert.equal(Autotuner.of({ ...first, autotune: "off" }), Autotuner.of(first));
  assert.notEqual(Autotuner.of(gpu({})), Autotuner.of(first));
});

Deno.test("cacheFolder() follows THREEFOLD_CACHE, then XDG_CACHE_HOME, then the home folder", () => {
  const names = ["THREEFOLD_CACHE", "XDG_CACHE_HOME"] as const;
  const before = names.map((name) => Deno.env.get(name));
  try {
    Deno.env.set("THREEFOLD_CACHE", "mine");
    Deno.env.set("XDG_CACHE_HOME", "caches");
    assert.equal(cacheFolder(), "mine");
    Deno.env.set("THREEFOLD_CACHE", "");
    assert.equal(cacheFolder(), join("caches", "threefold"));
    Deno.env.delete("XDG_CACHE_HOME");
    assert.match(cacheFolder(), /[/\\]\.cache[/\\]threefold$/);
  } finally {
    names.forEach((name, i) =>
      before[i] === undefined ? Deno.env.delete(name) : Deno.env.set(name, before[i])
    );
  }
});

Deno.test("autotuneModeNamed() refuses what is no mode, naming the flag and the modes", () => {
  assert.equal(autotuneModeNamed("force", "--autotune"), "force");
  assert.throws(() => autotuneModeNamed("yes", "--autotune"), {
    name: "InputError",
    message: "Cannot use --autotune yes: expected on, off, force",
  });
});
