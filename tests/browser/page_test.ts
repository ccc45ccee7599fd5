// The engine in a page: bundled, served from this machine, trained in headless Chromium on the adapter it
// brings.
import assert from "node:assert/strict";
import { join } from "node:path";
import { train } from "../../mod.ts";
import type { TrainOptions } from "../../mod.ts";
import { Chromium, findChromium } from "../ci/chromium.ts";
import { tinyOptions } from "../support/tiny_options.ts";

const PROJECT = join(import.meta.dirname!, "..", "..");

/** Chromium's own software adapter, wherever it runs. */
const FLAGS = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"];

/** How long a page may train, milliseconds: seconds on an idle machine, most of them to compile kernels. */
const PATIENCE_MS = 300_000;

/** Between the two adapters: sums in other orders, other functions of drivers; measured 2e-7. */
const ALLOWED = 1e-5;

const OPTIONS = tinyOptions({ model: "gpt2-nano", data: "moby-dick" }, {
  steps: 2,
  heldOutFraction: 0.1,
  heldOutWindows: 8,
});

const PAGE = `<!doctype html><title>threefold</title><link rel="icon" href="data:,">`;

/** The engine as README bundles it, in a folder of its own that is removed in the end. */
async function bundled<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = await Deno.makeTempDir({ prefix: "threefold-page-" });
  try {
    const { success, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["bundle", "--quiet", "--platform", "browser", "--code-splitting", "--outdir", folder, "mod.ts"],
      cwd: PROJECT,
    }).output();
    assert.ok(success, new TextDecoder().decode(stderr));
    return await work(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Serves the files of a folder, and an empty page as `/`. @returns The address, with a slash at its end. */
function serve(folder: string): { address: string; server: Deno.HttpServer<Deno.NetAddr> } {
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async ({ url }) => {
    const { pathname } = new URL(url);
    if (pathname === "/") return new Response(PAGE, { headers: { "content-type": "text/html" } });
    const text = await Deno.readTextFile(join(folder, pathname)).catch(() => null);
    return text === null
      ? new Response(null, { status: 404 })
      : new Response(text, { headers: { "content-type": "text/javascript" } });
  });
  return { address: `http://127.0.0.1:${server.addr.port}/`, server };
}

/** What a run in the page tells. */
interface PageRun {
  adapter: string;
  losses: number[];
  heldOut: number[];
}

/** Trains in the page that is open. */
function trainInPage(browser: Chromium, options: TrainOptions): Promise<PageRun> {
  const script = `(async () => {
    const { train } = await import("./mod.js");
    const told = { adapter: "", losses: [], heldOut: [] };
    await train(${JSON.stringify(options)}, {
      onDevice: ({ name, provider }) => told.adapter = provider + ": " + name,
      onStep: ({ loss }) => told.losses.push(loss),
      onHeldOut: ({ loss }) => told.heldOut.push(loss),
    });
    return told;
  })()`;
  return browser.evaluate<PageRun>(script, PATIENCE_MS);
}

/** Why no page can train here, or null. */
async function whyNot(): Promise<string | null> {
  const program = await findChromium().catch(() => null);
  if (program === null) return "no Chromium";
  const { address, server } = serve(PROJECT);
  await using browser = await Chromium.start(program, FLAGS);
  await browser.open(address, { width: 800 });
  const found = await browser.evaluate<boolean>("navigator.gpu?.requestAdapter().then((found) => !!found)");
  await server.shutdown();
  return found ? null : "Chromium has no adapter";
}

Deno.test("a bundle for pages asks for no module of Node", async () => {
  await bundled(async (folder) => {
    const found: string[] = [];
    for await (const { name } of Deno.readDir(folder)) {
      const text = await Deno.readTextFile(join(folder, name));
      found.push(...text.match(/^\s*(?:import|export)\b.*?["']node:.*$/gm) ?? []);
    }
    assert.deepEqual(found, []);
    assert.match(await Deno.readTextFile(join(folder, "mod.js")), /@compute/, "kernels are not in it");
  });
});

const reason = await whyNot();
if (reason !== null) console.error(`training in a page is not tested: ${reason}`);

Deno.test({
  name: `a page trains gpt2-nano as Deno does, the same to the bit when it trains again${
    reason === null ? "" : ` (${reason})`
  }`,
  ignore: reason !== null,
  sanitizeOps: false, // devices of Deno's WebGPU
  sanitizeResources: false,
  fn: async () => {
    const here: Omit<PageRun, "adapter"> = { losses: [], heldOut: [] };
    await train(OPTIONS, {
      onStep: ({ loss }) => here.losses.push(loss),
      onHeldOut: ({ loss }) => here.heldOut.push(loss),
    });
    await bundled(async (folder) => {
      const { address, server } = serve(folder);
      await using browser = await Chromium.start(await findChromium(), FLAGS);
      const log = await browser.open(address, { width: 800 });
      const first = await trainInPage(browser, OPTIONS);
      const second = await trainInPage(browser, OPTIONS);
      await server.shutdown();
      assert.deepEqual(second, first);
      assert.match(first.adapter, /^browser: ./);
      for (const what of ["losses", "heldOut"] as const) {
        assert.equal(first[what].length, { losses: 2, heldOut: 1 }[what]);
        first[what].forEach((loss, i) => {
          const apart = Math.abs(loss / here[what][i] - 1);
          assert.ok(apart <= ALLOWED, `${what} ${first[what]} in the page, ${here[what]} in Deno`);
        });
      }
      assert.deepEqual(log.problems, []);
      assert.deepEqual(
        log.requests.filter((url) => !url.startsWith(address) && !url.startsWith("data:")),
        [],
      );
    });
  },
});
