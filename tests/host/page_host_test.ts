import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { basename, dirname, extname, join, sha256 } from "../../engine/host.ts";

const url = (path: string) => new URL(path, import.meta.url);

/** What an expression over `host` is where there is neither Deno nor Node, as in a page. */
async function inPage(expression: string): Promise<unknown> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...["eval", "--config", fileURLToPath(url("../../deno.json"))],
      `delete globalThis.Deno;
       delete globalThis.process;
       const host = await import(${JSON.stringify(url("../../engine/host.ts").href)});
       console.log(JSON.stringify(await (async () => ${expression})()));`,
    ],
  }).output();
  assert.ok(success, new TextDecoder().decode(stderr));
  return JSON.parse(new TextDecoder().decode(stdout));
}

Deno.test("a page has the hashes and the parts of paths that Deno has", async () => {
  const text = "ä".repeat(1000);
  const words = Uint32Array.of(0, 1, 2, 3).subarray(1, 3);
  assert.equal(sha256("").toHex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  assert.deepEqual(
    await inPage(`[
      host.sha256("").toHex(),
      host.sha256(${JSON.stringify(text)}, Uint32Array.of(0, 1, 2, 3).subarray(1, 3)).toHex(),
    ]`),
    [sha256("").toHex(), sha256(text, words).toHex()],
  );
  const paths = ["data/tokens.u16", "a.b/c", "notes.tar.gz", ".hidden", "a/.hidden"];
  assert.deepEqual(
    await inPage(`${JSON.stringify(paths)}.flatMap((path) =>
      [host.basename(path), host.dirname("x/" + path), host.extname(path), host.join("a", path)])`),
    paths.flatMap((path) => [basename(path), dirname(`x/${path}`), extname(path), join("a", path)]),
  );
});

Deno.test("a page has no files, variables or workers, and says so as where a file is missing", async () => {
  assert.deepEqual(
    await inPage(`Promise.all([
      host.disk.stat("a").catch(({ name }) => name),
      host.disk.readTextFile("a").catch(({ name }) => name),
      host.disk.mkdir("a").catch(({ name }) => name),
      host.environmentVariable("PATH") ?? null,
      host.writableEnvironment(["PATH"]),
      host.writableEnvironment([]),
      host.mayStartWorker(new URL("https://example.org/mod.js")),
      host.garbageCollector(),
      host.IS_PAGE,
    ])`),
    ["NotFound", "NotFound", "NotFound", null, null, null, false, null, true],
  );
});
