// The cache of Hugging Face's own library, so that what one has downloaded the other need not:
//
//   models--OWNER--NAME/
//     refs/REVISION            text: the commit a branch or tag stood at when it was last asked for
//     snapshots/COMMIT/FILE    a link to ../../blobs/ETAG
//     blobs/ETAG               contents, once per version of a file; the sha256
//                              of large files, git's id of small ones
//     blobs/ETAG.incomplete    a download that has begun
//     .no_exist/COMMIT/FILE    empty: the repository has no such file
//   .locks/models--OWNER--NAME/ETAG.lock
//
// Source: https://huggingface.co/docs/huggingface_hub/guides/manage-cache.

import { dirname, disk, join } from "../../host.ts";
import { InputError } from "../../input_error.ts";
import { COMMIT } from "./reference.ts";

/** The part of the cache that belongs to one repository. */
export class RepositoryCache {
  readonly #cacheFolder: string;
  readonly #name: string;

  /** @param repository `owner/name`. */
  constructor(cacheFolder: string, repository: string) {
    this.#cacheFolder = cacheFolder;
    this.#name = `models--${repository.replace("/", "--")}`;
  }

  get folder(): string {
    return join(this.#cacheFolder, this.#name);
  }

  snapshotFolder(commit: string): string {
    return join(this.folder, "snapshots", commit);
  }

  /** The commit that a branch or tag was at when it was last asked for; null when it never was. */
  async commitOf(revision: string): Promise<string | null> {
    if (COMMIT.test(revision)) return revision;
    const text = await readTextOrNull(join(this.folder, "refs", revision));
    return text !== null && COMMIT.test(text.trim()) ? text.trim() : null;
  }

  async remember(revision: string, commit: string): Promise<void> {
    if (revision === commit || await this.commitOf(revision) === commit) return;
    const path = join(this.folder, "refs", revision);
    await writing(path, async () => {
      await disk.mkdir(dirname(path), { recursive: true });
      const temporary = `${path}.${crypto.randomUUID().slice(0, 8)}.partial`;
      await disk.writeTextFile(temporary, commit);
      await disk.rename(temporary, path);
    });
  }

  /** Whether the snapshot has the file, with all its bytes. */
  async has(commit: string, file: string): Promise<boolean> {
    return await exists(join(this.snapshotFolder(commit), file));
  }

  /** Whether the repository is known to have no such file. */
  async isAbsent(commit: string, file: string): Promise<boolean> {
    return await exists(join(this.folder, ".no_exist", commit, file));
  }

  async rememberAbsent(commit: string, file: string): Promise<void> {
    const path = join(this.folder, ".no_exist", commit, file);
    await writing(path, async () => {
      await disk.mkdir(dirname(path), { recursive: true });
      await disk.writeTextFile(path, "");
    });
  }

  blobPath(etag: string): string {
    return join(this.folder, "blobs", etag);
  }

  /** Puts a downloaded blob under its name in a snapshot. */
  async link(commit: string, file: string, etag: string): Promise<void> {
    const path = join(this.snapshotFolder(commit), file);
    await writing(path, async () => {
      await disk.mkdir(dirname(path), { recursive: true });
      await disk.remove(path).catch(() => {}); // a link to a blob that is gone
      try {
        await disk.symlink(join("..", "..", "blobs", etag), path);
      } catch (error) {
        if ((error as Error).name === "AlreadyExists") return;
        // Windows gives links to administrators only; a second name of the same file needs no leave.
        await disk.link(this.blobPath(etag), path);
      }
    });
  }

  /** Runs `body` while no other process downloads the same blob; Python's library waits for the same lock. */
  async locked<T>(etag: string, body: () => Promise<T>): Promise<T> {
    const path = join(this.#cacheFolder, ".locks", this.#name, `${etag}.lock`);
    const file = await writing(path, async () => {
      await disk.mkdir(dirname(path), { recursive: true });
      await disk.mkdir(join(this.folder, "blobs"), { recursive: true });
      return await disk.open(path, { create: true, write: true });
    });
    try {
      await file.lock(true); // the system lets go of it when the process ends, however it does
      return await body();
    } finally {
      file.close();
    }
  }
}

/** Follows links: one whose target is gone does not exist. */
export async function exists(path: string): Promise<boolean> {
  return await disk.stat(path).then(() => true, () => false);
}

async function readTextOrNull(path: string): Promise<string | null> {
  return await disk.readTextFile(path).catch(() => null);
}

/** @throws {InputError} naming the path in the cache that could not be written. */
export async function writing<T>(path: string, operation: () => Promise<T>): Promise<T> {
  try {
    return await operation();
  } catch (error) {
    throw new InputError(`Cannot write ${path}: ${(error as Error).message}`);
  }
}
