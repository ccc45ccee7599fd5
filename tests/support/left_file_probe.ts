// A test that leaves a file, or none, in the tree: `tests/ci/ci_test.ts` runs it to see that a run that
// leaves one fails.
const [path, removes] = Deno.args;

Deno.test("writes a file", async () => {
  await Deno.mkdir(new URL(".", new URL(path, import.meta.url)), { recursive: true });
  await Deno.writeTextFile(new URL(path, import.meta.url), "left\n");
  if (removes) await Deno.remove(new URL(path, import.meta.url));
});
