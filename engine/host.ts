// All that the engine asks of the program it runs in: files, paths, environment, hashes, workers. The one
// file that names Deno or Node. It goes by what is there, so that the engine also runs in a page, which has
// only hashes.

import { sha256 as portableSha256 } from "@noble/hashes/sha2.js";

const deno = (globalThis as { Deno?: typeof Deno }).Deno ?? null;
const { process } = globalThis as { process?: typeof import("node:process") };
const node = process?.getBuiltinModule ?? (() => null);
// An import would keep a page from loading the engine at all.
const nodeCrypto = node("node:crypto") as typeof import("node:crypto") | null;
const nodePath = node("node:path") as typeof import("node:path") | null;

const NO_FILES = Object.assign(new Error("a page has no files"), { name: "NotFound" });

/** A file that is open. */
export type OpenFile = Deno.FsFile;

/**
 * What the engine reads and writes files by. In a page every call fails, by an error of the name `NotFound`.
 */
export const disk: Pick<
  typeof Deno,
  | "link"
  | "makeTempFile"
  | "mkdir"
  | "open"
  | "readDir"
  | "readTextFile"
  | "remove"
  | "rename"
  | "stat"
  | "statSync"
  | "symlink"
  | "writeTextFile"
> = deno ?? new Proxy({} as typeof disk, { get: () => () => Promise.reject(NO_FILES) });

/** Where `OpenFile.seek` counts from: the start of the file. */
export const FROM_START = 0 as Deno.SeekMode.Start;

/** Parts of paths, as the system writes them; with slashes in a page, where they lead nowhere. */
export const { basename, dirname, extname, join }: Pick<
  typeof import("node:path"),
  "basename" | "dirname" | "extname" | "join"
> = nodePath ?? {
  basename: (path) => path.replace(/.*\//, ""),
  dirname: (path) => path.replace(/\/[^/]*$/, ""),
  extname: (path) => path.match(/[^/](\.[^./]*)$/)?.[1] ?? "",
  join: (...parts) => parts.join("/"),
};

/** The folder that is the user's own. */
export function homeFolder(): string {
  return (node("node:os") as typeof import("node:os") | null)?.homedir() ?? "";
}

/** Bytes that the disk of a folder has room for. */
export async function freeBytes(folder: string): Promise<number> {
  const { statfs } = node("node:fs/promises") as typeof import("node:fs/promises");
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}

/** An environment variable; undefined where it is not set, and in a page. */
export function environmentVariable(name: string): string | undefined {
  return deno?.env.get(name);
}

/**
 * Where the engine keeps what it can make again: `THREEFOLD_CACHE`, else `threefold` in `XDG_CACHE_HOME` or
 * `~/.cache`. The folder need not exist.
 */
export function cacheFolder(): string {
  const set = (name: string) => environmentVariable(name) || undefined; // one that is empty is not set
  return set("THREEFOLD_CACHE") ?? join(set("XDG_CACHE_HOME") ?? join(homeFolder(), ".cache"), "threefold");
}

/** Environment variables that may be written. */
export type Environment = Pick<typeof Deno.env, "get" | "set">;

/** The environment; null where there is none, or a variable of these may not be read and written. */
export function writableEnvironment(variables: readonly string[]): Environment | null {
  const granted = variables.every((variable) =>
    deno?.permissions.querySync({ name: "env", variable }).state === "granted"
  );
  return granted && deno ? deno.env : null;
}

/** Deno's name of the operating system; `browser` in a page. */
export const OPERATING_SYSTEM: string = deno?.build.os ?? "browser";

/** What runs the engine, with its version. */
export const RUNTIME: string = deno ? `Deno ${deno.version.deno}` : navigator.userAgent;

/** Whether this is a page, or a worker of one. */
export const IS_PAGE = deno === null;

/** Node's name of the system that native modules are built for: `linux-x64`. */
export function nativeSystem(): { platform: string; architecture: string } {
  return { platform: process?.platform ?? "browser", architecture: process?.arch ?? "none" };
}

/** Loads a module of Node's native interface. @throws {Error} where it is broken, or lacks libraries. */
export function loadNative<Module>(path: string): Module {
  const { createRequire } = node("node:module") as typeof import("node:module");
  return createRequire(import.meta.url)(path);
}

/** Installs the packages that a folder's `package.json` names. @throws {Error} with the installer's words. */
export async function installPackages(folder: string): Promise<void> {
  if (!deno) throw new Error("a page cannot install packages");
  const install = new deno.Command(deno.execPath(), { args: ["install", "--quiet"], cwd: folder });
  const { success, stderr } = await install.output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
}

/** SHA-256 of parts, one after the other: text in UTF-8, arrays as the bytes they lie in. */
export function sha256(...parts: readonly (string | ArrayBufferView)[]): Uint8Array {
  const hash = nodeCrypto?.createHash("sha256") ?? portableSha256.create();
  for (const part of parts) {
    hash.update(
      typeof part === "string"
        ? new TextEncoder().encode(part)
        : new Uint8Array(part.buffer, part.byteOffset, part.byteLength),
    );
  }
  return hash.digest();
}

/** A hash of what is read piece by piece: of files, which a page has none of. */
export function createHash(algorithm: "sha1" | "sha256"): import("node:crypto").Hash {
  return nodeCrypto!.createHash(algorithm);
}

/**
 * Whether workers can be started from a module of the engine. Not in a page: a bundle has no file of its
 * own for it. Asked first, as Deno would ask the user, or print an error besides the one that it throws.
 */
export async function mayStartWorker(module: URL): Promise<boolean> {
  if (!deno) return false;
  if (module.protocol !== "file:") return true;
  return (await deno.permissions.query({ name: "read", path: module })).state === "granted";
}

let collector: (() => void) | null | undefined;

/**
 * `gc()`, which contexts have that were made after V8 was told to; null where they have not. Deno's gives the
 * pages that are left empty back to the system, so that it makes room for the garbage until the next.
 */
export function garbageCollector(): (() => void) | null {
  if (collector !== undefined) return collector;
  try {
    (node("node:v8") as typeof import("node:v8")).setFlagsFromString("--expose-gc");
    const gc: unknown = (node("node:vm") as typeof import("node:vm")).runInNewContext("gc");
    collector = typeof gc === "function" ? () => void gc() : null;
  } catch {
    collector = null;
  }
  return collector;
}
