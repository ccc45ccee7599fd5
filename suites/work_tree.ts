import { join, relative, resolve } from "node:path";
import { output } from "./command_output.ts";

/** The code that runs, as git knows it. */
export interface WorkTree {
  /** HEAD, with `+` when tracked files have changed; null outside a repository. */
  commit: string | null;
  /**
   * Hash of the folder's tree as `git add -A` and `git write-tree` would have it; null where git cannot tell.
   */
  tree: string | null;
}

/**
 * Commit and tree of a folder in a git repository. The repository is not written to: index and objects lie in
 * a temporary folder that is gone afterwards. Files that git ignores do not count.
 *
 * The tree says more than the commit: a copy of the files beside an older HEAD has the tree of the commit
 * that they are from.
 *
 * @param without A folder whose files do not count, such as that of the run that is being recorded.
 */
export async function workTree(folder: string, without?: string): Promise<WorkTree> {
  const git = (args: string[], env: Record<string, string> = {}) =>
    output("git", ["-C", folder, ...args], env);
  const head = await git(["rev-parse", "HEAD"]);
  if (head === null) return { commit: null, tree: null };
  const changes = await git(["status", "--porcelain", "--untracked-files=no"]);
  return { commit: changes ? `${head}+` : head, tree: await treeOf(folder, without, git) };
}

type Git = (args: string[], env?: Record<string, string>) => Promise<string | null>;

async function treeOf(folder: string, without: string | undefined, git: Git): Promise<string | null> {
  const [index, objects, prefix] = await Promise.all([
    git(["rev-parse", "--path-format=absolute", "--git-path", "index"]),
    git(["rev-parse", "--path-format=absolute", "--git-path", "objects"]),
    git(["rev-parse", "--show-prefix"]),
  ]);
  if (index === null || objects === null || prefix === null) return null;
  const temporary = await Deno.makeTempDir({ prefix: "threefold-tree-" });
  try {
    const env = {
      GIT_INDEX_FILE: join(temporary, "index"),
      GIT_OBJECT_DIRECTORY: join(temporary, "objects"),
      GIT_ALTERNATE_OBJECT_DIRECTORIES: JSON.stringify(objects), // in quotes: a path may have colons
    };
    await Deno.mkdir(env.GIT_OBJECT_DIRECTORY);
    await copyIndex(index, env.GIT_INDEX_FILE);
    const path = without === undefined ? null : inside(folder, without);
    // git fails where it is told to leave out what it ignores anyhow, as all that lies in bench/.
    const ignored = path !== null && await git(["check-ignore", "--quiet", "--", path]) !== null;
    const left = ignored ? null : path;
    const added = await git(
      [
        // Objects are written for their hashes alone, and no monitor of the repository is to be asked.
        ...["-c", "core.looseCompression=0", "-c", "core.fsmonitor=false"],
        ...["add", "--all", "--", ".", ...left === null ? [] : [`:(exclude,literal)${left}`]],
      ],
      env,
    );
    if (added === null) return null;
    return await git(["write-tree", ...prefix === "" ? [] : [`--prefix=${prefix}`]], env);
  } finally {
    await Deno.remove(temporary, { recursive: true });
  }
}

/**
 * With the index git need not read what has not changed since. What was changed as it was written is found by
 * the time of the index itself, which the copy must therefore not be younger than.
 */
async function copyIndex(from: string, to: string): Promise<void> {
  try {
    const { mtime } = await Deno.stat(from);
    await Deno.copyFile(from, to);
    const seconds = Math.floor((mtime?.getTime() ?? 0) / 1000);
    await Deno.utime(to, seconds, seconds);
  } catch (error) {
    // Nothing was ever added: git begins with an empty one.
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** Path of a folder within another one as git writes it; null where it lies elsewhere. */
function inside(folder: string, path: string): string | null {
  const within = relative(realPath(folder), realPath(path)).replaceAll("\\", "/");
  return within === "" || /^\.\.(\/|$)|^\/|^\w:/.test(within) ? null : within;
}

function realPath(path: string): string {
  try {
    return Deno.realPathSync(path);
  } catch {
    return resolve(path); // not there yet
  }
}
