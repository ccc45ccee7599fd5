/** A run folder as one tar file, to be taken from a machine that is about to be gone. */
import { createTar } from "nanotar";
import { basename, dirname, join, resolve } from "node:path";
import { InputError } from "../engine/input_error.ts";

/** A tar header without extensions has room for so many bytes of a file's name. */
const NAME_BYTES = 100;

/** Weights, which are trained again, and what belongs to the runner of this moment. */
const LEFT_OUT: readonly RegExp[] = [/^models$/, /^lock.*\.json$/, /^\.writable-/, /\.tmp$/];

/**
 * Writes a run folder as a tar file, whole or not at all. Unpacked it is the folder again, which `--resume`
 * goes on with on a machine of the same kind and from the same commit.
 *
 * @throws {InputError} where the folder's name leaves too little room for those of its files.
 */
export async function archiveRun(folder: string, file: string): Promise<void> {
  const root = basename(resolve(folder));
  const names = await filesIn(folder);
  const longest = names.reduce((a, b) => b.length > a.length ? b : a, "");
  const room = NAME_BYTES - new TextEncoder().encode(`/${longest}`).length;
  if (new TextEncoder().encode(root).length > room) {
    throw new InputError(
      `Cannot archive ${folder} (--archive): expected a name of its folder of at most ${room} bytes`,
    );
  }
  const entries = await Promise.all(
    names.map(async (name) => ({ name: `${root}/${name}`, data: await Deno.readFile(join(folder, name)) })),
  );
  const temporary = `${file}.${Deno.pid}.tmp`;
  try {
    await Deno.mkdir(dirname(file), { recursive: true });
    await Deno.writeFile(temporary, createTar(entries, { attrs: { uid: 0, gid: 0 } }));
    await Deno.rename(temporary, file);
  } catch (error) {
    await Deno.remove(temporary).catch(() => {});
    throw new InputError(`Cannot write ${file} (--archive): ${(error as Error).message}`);
  }
}

/** Files of a folder and of those in it, by their paths from it, in the order of their names. */
async function filesIn(folder: string, below = ""): Promise<string[]> {
  const found: string[] = [];
  const entries = (await Array.fromAsync(Deno.readDir(join(folder, below)))).sort((a, b) =>
    a.name < b.name ? -1 : 1
  );
  for (const { name, isFile, isDirectory } of entries) {
    if (LEFT_OUT.some((pattern) => pattern.test(name))) continue;
    const path = below === "" ? name : `${below}/${name}`;
    if (isFile) found.push(path);
    if (isDirectory) found.push(...await filesIn(folder, path));
  }
  return found;
}
