// Comments end at the column where `deno fmt` ends code: it leaves them as they are.
import assert from "node:assert/strict";
import { join } from "node:path";

const PROJECT = join(import.meta.dirname!, "..", "..");
const COLUMNS = 110;

/** Folders that hold code of others, or text that is compared with what a program prints. */
const LEFT_OUT = /(^|\/)(fixtures|__snapshots__|node_modules|\.[^/]+)$/;

/** Paths of sources below a folder, from the project's. */
async function* sources(folder: string): AsyncGenerator<string> {
  for await (const { name, isDirectory } of Deno.readDir(join(PROJECT, folder))) {
    const path = folder ? `${folder}/${name}` : name;
    if (LEFT_OUT.test(path)) continue;
    if (isDirectory) yield* sources(path);
    else if (name.endsWith(".wgsl") || name.endsWith(".ts")) yield path;
  }
}

/** Numbers of the lines that are longer for a comment which could have been broken at a space. */
function longComments(source: string): number[] {
  return source.split("\n").flatMap((line, index) => {
    if ([...line].length <= COLUMNS) return [];
    const comment = /^\s*(?:\/\/|\/?\*+)\s*(.*)$|\s\/\/\s+([^"'`]*)$/.exec(line);
    const isBreakable = comment !== null && /\S\s/.test(comment[1] ?? comment[2]);
    return isBreakable || comment?.[2] !== undefined ? [index + 1] : [];
  });
}

Deno.test("comments end at column 110", async () => {
  const long: string[] = [];
  for await (const path of sources("")) {
    const lines = longComments(await Deno.readTextFile(join(PROJECT, path)));
    long.push(...lines.map((line) => `${path}:${line}`));
  }
  assert.deepEqual(long, []);
});

Deno.test("longComments() finds comments of their own and behind code, not code, strings or addresses", () => {
  const words = (columns: number) => "word ".repeat(40).slice(0, columns);
  assert.deepEqual(longComments(`// ${words(107)}`), []);
  assert.deepEqual(longComments(`// ${words(106)}.\n// ${words(107)}.`), [2]);
  assert.deepEqual(longComments(` * ${words(108)}`), [1]);
  assert.deepEqual(longComments(`/** ${words(108)}`), [1]);
  assert.deepEqual(longComments(`const a = 1; // ${words(100)}`), [1]);
  assert.deepEqual(longComments(`const a = "${words(110)}";`), []);
  assert.deepEqual(longComments(`fetch("https://example.org // ${words(110)}");`), []);
  assert.deepEqual(longComments(`// https://example.org/${"x".repeat(100)}`), []);
});
