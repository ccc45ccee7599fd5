import assert from "node:assert/strict";
import { join } from "node:path";
import { workTree } from "../../../suites/work_tree.ts";

async function git(folder: string, ...args: string[]): Promise<string> {
  const identity = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"];
  const { success, stdout, stderr } = await new Deno.Command("git", {
    args: ["-C", folder, ...identity, ...args],
  }).output();
  assert.ok(success, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout).trim();
}

/** A repository with one commit, given to a test. */
async function inRepository(
  test: (folder: string, write: (path: string, text: string) => Promise<void>) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "threefold-" });
  const write = async (path: string, text: string) => {
    await Deno.mkdir(join(folder, path, ".."), { recursive: true });
    await Deno.writeTextFile(join(folder, path), text);
  };
  try {
    await git(folder, "init", "-q");
    await write(".gitignore", "/bench/\n");
    await write("a.ts", "one\n");
    await write("part/b.ts", "two\n");
    await git(folder, "add", "-A");
    await git(folder, "commit", "-qm", "first");
    await test(folder, write);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const headTree = (folder: string, path = "") => git(folder, "rev-parse", `HEAD^{tree}${path}`);

/** Every file below a folder with what it holds. */
async function contents(folder: string): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    const path = join(folder, name);
    if (isDirectory) { for (const [file, text] of await contents(path)) found.set(file, text); }
    else found.set(path, (await Deno.readFile(path)).toBase64());
  }
  return found;
}

Deno.test("workTree() of a clean checkout is its commit and that commit's tree", () =>
  inRepository(async (folder) => {
    const head = await git(folder, "rev-parse", "HEAD");
    assert.deepEqual(await workTree(folder), { commit: head, tree: await headTree(folder) });
  }));

Deno.test("workTree() has changed, new and deleted files, and none that git ignores, as the next commit would", () =>
  inRepository(async (folder, write) => {
    const head = await git(folder, "rev-parse", "HEAD");
    await write("bench/run.json", "{}");
    assert.equal((await workTree(folder)).tree, await headTree(folder));
    await write("a.ts", "uno\n"); // of the same length, within the same second
    await write("new.ts", "three\n");
    await Deno.remove(join(folder, "part/b.ts"));
    const dirty = await workTree(folder);
    assert.equal(dirty.commit, `${head}+`);
    assert.notEqual(dirty.tree, await headTree(folder));
    await git(folder, "add", "-A");
    await git(folder, "commit", "-qm", "second");
    assert.equal(dirty.tree, await headTree(folder));
  }));

Deno.test("workTree() of a commit's files beside an older HEAD is that commit's tree", () =>
  inRepository(async (folder, write) => {
    await write("a.ts", "newer\n");
    await write("more.ts", "more\n");
    await git(folder, "add", "-A");
    await git(folder, "commit", "-qm", "second");
    const tree = await headTree(folder);
    await git(folder, "reset", "-q", "--soft", "HEAD~1");
    await git(folder, "reset", "-q");
    const { commit, tree: found } = await workTree(folder);
    assert.match(commit!, /\+$/);
    assert.equal(found, tree);
  }));

Deno.test("workTree() leaves out the folder it is told to, wherever the run writes", () =>
  inRepository(async (folder, write) => {
    const out = join(folder, "results/mine");
    await write("results/mine/run.json", "{}");
    assert.equal((await workTree(folder, out)).tree, await headTree(folder));
    assert.notEqual((await workTree(folder)).tree, await headTree(folder));
    // Ignored, elsewhere, or not there: nothing to leave out.
    await write("bench/x/run.json", "{}");
    for (
      const other of [join(folder, "bench/x"), join(folder, ".."), "/nowhere", join(folder, "not/there")]
    ) {
      assert.equal((await workTree(folder, other)).tree, (await workTree(folder)).tree, other);
    }
  }));

Deno.test("workTree() of a folder within a repository is the tree of that folder", () =>
  inRepository(async (folder, write) => {
    await write("elsewhere.ts", "not of the part\n");
    assert.equal((await workTree(join(folder, "part"))).tree, await git(folder, "rev-parse", "HEAD:part"));
  }));

Deno.test("workTree() of a second work tree of a repository is its own", () =>
  inRepository(async (folder) => {
    const second = join(folder, "bench/second");
    await git(folder, "worktree", "add", "-q", "-b", "other", second);
    await Deno.writeTextFile(join(second, "a.ts"), "other\n");
    const { tree } = await workTree(second);
    await git(second, "commit", "-qam", "other");
    assert.equal(tree, await headTree(second));
  }));

Deno.test("workTree() leaves the repository as it was", () =>
  inRepository(async (folder, write) => {
    await write("new.ts", "not added\n");
    await git(folder, "status"); // which refreshes the index by itself
    const before = await contents(folder);
    await workTree(folder);
    assert.deepEqual(await contents(folder), before);
  }));

Deno.test("workTree() outside a repository knows nothing", async () => {
  const folder = await Deno.makeTempDir({ prefix: "threefold-" });
  try {
    assert.deepEqual(await workTree(folder), { commit: null, tree: null });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
