// Prose is read in editors: no line of a page is wider than a screen.
import assert from "node:assert/strict";
import { join } from "node:path";

const PROJECT = join(import.meta.dirname!, "..", "..");
const COLUMNS = 160;

Deno.test("lines of Markdown end at column 160", async () => {
  const { success, stdout } = await new Deno.Command("git", {
    args: ["ls-files", "-z", "*.md"],
    cwd: PROJECT,
  }).output();
  const paths = new TextDecoder().decode(stdout).split("\0").filter((path) => path !== "");
  assert.ok(success && paths.includes("README.md"));
  const wide = await Promise.all(paths.map(async (path) => {
    const lines = (await Deno.readTextFile(join(PROJECT, path))).split("\n");
    return lines.flatMap((line, i) => [...line].length > COLUMNS ? [`${path}:${i + 1}`] : []);
  }));
  assert.deepEqual(wide.flat(), []);
});
