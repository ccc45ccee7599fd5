// Keeps the documents true where a program can tell: links, commands, and what the README says trains.
import assert from "node:assert/strict";
import { dirname, join } from "node:path";
import { IMPLEMENTED_METHODS, IMPLEMENTED_OPTIMIZERS } from "../../mod.ts";
import { METHOD_IDS, OPTIMIZER_IDS } from "../../results/methods.ts";

const PROJECT = join(import.meta.dirname!, "..", "..");

async function* documents(folder: string): AsyncGenerator<string> {
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    const path = join(folder, name);
    if (isDirectory && (folder !== PROJECT || name === "docs")) yield* documents(path);
    else if (name.endsWith(".md")) yield path;
  }
}

Deno.test("links between documents lead somewhere", async () => {
  const broken: string[] = [];
  let seen = 0;
  for await (const path of documents(PROJECT)) {
    for (const [, target] of (await Deno.readTextFile(path)).matchAll(/\]\(([^)#\s]+)[^)]*\)/g)) {
      if (/^[a-z]+:/.test(target)) continue;
      seen++;
      const found = await Deno.stat(join(dirname(path), target)).catch(() => null);
      if (!found) broken.push(`${path.slice(PROJECT.length + 1)}: ${target}`);
    }
  }
  assert.ok(seen > 10, `only ${seen} links found`);
  assert.deepEqual(broken, []);
});

Deno.test("commands in the documents are tasks", async () => {
  const { tasks } = JSON.parse(await Deno.readTextFile(join(PROJECT, "deno.json")));
  const unknown = new Set<string>();
  for await (const path of documents(PROJECT)) {
    for (
      const [, task] of (await Deno.readTextFile(path)).matchAll(/(?:deno task|sh setup\.sh) ([a-z][\w:-]*)/g)
    ) {
      if (!Object.hasOwn(tasks, task)) unknown.add(`${path.slice(PROJECT.length + 1)}: ${task}`);
    }
  }
  assert.deepEqual([...unknown], []);
});

Deno.test("the README's status table says what trains", async () => {
  const readme = await Deno.readTextFile(join(PROJECT, "README.md"));
  const stated = new Map(
    [...readme.matchAll(/^\| `([\w-]+)` \|.*\| (trains|not yet) \|$/gm)].map((
      [, id, status],
    ) => [id, status]),
  );
  const actual = new Map([
    ...METHOD_IDS.map((id) => [id, IMPLEMENTED_METHODS.includes(id) ? "trains" : "not yet"] as const),
    ...OPTIMIZER_IDS.map((id) => [id, IMPLEMENTED_OPTIMIZERS.includes(id) ? "trains" : "not yet"] as const),
  ]);
  const sorted = (map: Map<string, string>) => [...map].sort();
  assert.deepEqual(sorted(stated), sorted(actual));
});
