import assert from "node:assert/strict";
import { dirname, join } from "node:path";
import { dawnFolder, dawnIsInstalled, installDawn, loadDawn } from "../../../engine/runtime/dawn_package.ts";
import { defaultProvider, openProvider } from "../../../engine/runtime/provider.ts";

/** What `deno install` reads: a registry that refuses connections, and no package that was got before. */
const OFFLINE = (folder: string) => ({
  NPM_CONFIG_REGISTRY: "http://127.0.0.1:9/",
  npm_config_registry: "http://127.0.0.1:9/",
  DENO_DIR: join(folder, "deno"),
});

/** Runs a test with an empty cache folder and variables of its own. */
async function inEmptyCache(
  variables: (folder: string) => Record<string, string>,
  body: (folder: string) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "dawn-" });
  const changes = Object.entries({ THREEFOLD_CACHE: folder, ...variables(folder) });
  const before = changes.map(([name]) => [name, Deno.env.get(name)] as const);
  try {
    for (const [name, value] of changes) Deno.env.set(name, value);
    await body(folder);
  } finally {
    for (const [name, value] of before) {
      value === undefined ? Deno.env.delete(name) : Deno.env.set(name, value);
    }
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("without a network, asking for Dawn says what to do and leaves nothing behind", async () => {
  await inEmptyCache(OFFLINE, async (folder) => {
    assert.equal(await dawnIsInstalled(), false);
    await assert.rejects(openProvider("dawn"), {
      name: "InputError",
      message:
        /^Cannot get Dawn: .+; --gpu dawn needs the npm package webgpu 0\.6\.2 once: .+ or use --gpu wgpu$/,
    });
    assert.deepEqual([...Deno.readDirSync(join(folder, "dawn"))], []);
  });
});

Deno.test("a cache folder that cannot be made is the user's to mend", async () => {
  await inEmptyCache(() => ({}), async (folder) => {
    const file = join(folder, "file");
    await Deno.writeTextFile(file, "");
    Deno.env.set("THREEFOLD_CACHE", file);
    await assert.rejects(installDawn(), { name: "InputError", message: /^Cannot get Dawn: / });
  });
});

Deno.test("a broken library is named, and the folder to remove", async () => {
  await inEmptyCache(OFFLINE, async () => {
    // Where the library lies is the package's business: the message of loading it says it.
    let library = "";
    try {
      loadDawn(dawnFolder());
    } catch (error) {
      library = (error as Error).message.match(/['"]?(\/[^'"\n]*dawn\.node|[A-Z]:[^'"\n]*dawn\.node)/)?.[1] ??
        "";
    }
    assert.ok(library.startsWith(dawnFolder()), library);
    await Deno.mkdir(dirname(library), { recursive: true });
    await Deno.writeTextFile(library, "no library");
    assert.equal(await dawnIsInstalled(), true);
    await assert.rejects(openProvider("dawn"), {
      name: "InputError",
      message: /^Cannot load Dawn from .+0\.6\.2: .+; remove the folder to get it anew, or use --gpu wgpu$/s,
    });
  });
});

Deno.test("THREEFOLD_GPU names the provider; without it, it is wgpu", async () => {
  await inEmptyCache(() => ({ THREEFOLD_GPU: "dawn" }), () => {
    assert.equal(defaultProvider(), "dawn");
    Deno.env.set("THREEFOLD_GPU", "");
    assert.equal(defaultProvider(), "wgpu");
    Deno.env.set("THREEFOLD_GPU", "vulkan");
    assert.throws(defaultProvider, {
      name: "InputError",
      message: "Cannot use THREEFOLD_GPU vulkan: expected wgpu or dawn",
    });
    return Promise.resolve();
  });
});
