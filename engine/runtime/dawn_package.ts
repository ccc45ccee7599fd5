import { cacheFolder, disk, installPackages, join, loadNative, nativeSystem } from "../host.ts";
import { InputError } from "../input_error.ts";

/** Version of the npm package `webgpu`, which is Dawn built for Node-API. */
export const DAWN_VERSION = "0.6.2";

/** What the package exports, as far as it is used here. */
interface DawnModule {
  /** @param flags `"enable-dawn-features=a,b"`, … */
  create(flags: string[]): Pick<GPU, "requestAdapter">;
}

/**
 * Where Dawn is installed, or will be.
 *
 * In a folder of its own and not among the imports of `deno.json`: Deno downloads whatever the lock file
 * names before it runs anything, and this package has the libraries of all systems, 132 MB.
 */
export function dawnFolder(): string {
  return join(cacheFolder(), "dawn", DAWN_VERSION);
}

/** Whether Dawn is installed. */
export async function dawnIsInstalled(): Promise<boolean> {
  try {
    return (await disk.stat(libraryIn(dawnFolder()))).isFile;
  } catch {
    return false;
  }
}

/**
 * Installs Dawn where it is not yet, by `deno install` in a folder that appears
 * under its name only when it is complete.
 *
 * @returns The folder. @throws {InputError} where it cannot be got: without a network, or without room.
 */
export async function installDawn(): Promise<string> {
  const folder = dawnFolder();
  if (await dawnIsInstalled()) return folder;
  const partial = `${folder}.${crypto.randomUUID().slice(0, 8)}.partial`;
  try {
    await disk.mkdir(partial, { recursive: true });
    console.error(`Getting Dawn (npm package webgpu ${DAWN_VERSION}, 132 MB) into ${folder}`);
    // An empty configuration, so that none of a folder above it is found.
    await disk.writeTextFile(join(partial, "deno.json"), "{}\n");
    const dependencies = { webgpu: DAWN_VERSION };
    await disk.writeTextFile(join(partial, "package.json"), `${JSON.stringify({ dependencies })}\n`);
    await installPackages(partial);
    await disk.stat(libraryIn(partial));
    await moveInto(partial, folder);
    return folder;
  } catch (error) {
    if (error instanceof InputError) throw error;
    throw new InputError(
      `Cannot get Dawn: ${firstLine((error as Error).message)}; --gpu dawn needs the npm package webgpu ` +
        `${DAWN_VERSION} once: install it where there is a network and keep ${folder}, or use --gpu wgpu`,
    );
  } finally {
    await disk.remove(partial, { recursive: true }).catch(() => {});
  }
}

/** Renames a finished folder; one that another process has finished meanwhile is as good. */
async function moveInto(partial: string, folder: string): Promise<void> {
  // What lies there is no whole installation, or it would have been used.
  if (!await dawnIsInstalled()) await disk.remove(folder, { recursive: true }).catch(() => {});
  try {
    await disk.rename(partial, folder);
  } catch (error) {
    if (!await dawnIsInstalled()) throw error;
  }
}

/** Loads the installed library. @throws {Error} where it is broken, or its own libraries are missing. */
export function loadDawn(folder: string): DawnModule {
  return loadNative(libraryIn(folder));
}

/** The library for this system. @throws {InputError} where the package has none. */
function libraryIn(folder: string): string {
  const { platform, architecture } = nativeSystem();
  const system = platform === "darwin" ? "darwin-universal" : `${platform}-${architecture}`;
  if (!SYSTEMS.includes(system)) {
    throw new InputError(`Cannot use Dawn on ${system}: the npm package webgpu has ${SYSTEMS.join(", ")}`);
  }
  return join(folder, "node_modules", "webgpu", "dist", system, "dawn.node");
}

const SYSTEMS = ["darwin-universal", "linux-arm64", "linux-x64", "win32-arm64", "win32-x64"];

const firstLine = (text: string) => text.trim().split("\n")[0].replace(/^error:\s*/i, "");
