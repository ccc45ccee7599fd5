// Downloads one file of a repository. npm:@huggingface/hub has a function for
// that which starts anew after a cut connection, leaves the token to the
// redirects of `fetch`, and believes the bytes it gets; hence this one.

import { createHash, disk, FROM_START } from "../../host.ts";
import { InputError } from "../../input_error.ts";
import { writeAll } from "../output_file.ts";
import { exists, type RepositoryCache, writing } from "./cache.ts";
import { type HubReference, hubReferenceText } from "./reference.ts";
import { refusal } from "./refusal.ts";
import { ATTEMPTS, type HubSettings } from "./settings.ts";
import { givenUp, pause, persistently, reasonOf, request, TransientError } from "./transport.ts";

/** What the hub says of a file before it is fetched. */
export interface RemoteFile {
  readonly name: string;
  readonly url: string;
  /** The sha256 of a large file, git's id of a small one; names the blob. */
  readonly etag: string;
  /** Null where the server does not say. */
  readonly byteLength: number | null;
}

/**
 * Told about every piece: `bytes` is how much more of the file is there now,
 * negative where some is thrown away.
 */
export type OnBytes = (bytes: number) => void;

/**
 * Asks for size and checksum of a file at a commit.
 *
 * @throws {InputError} when there is no such file, or no access to it.
 */
export async function askForFile(
  reference: HubReference,
  name: string,
  settings: HubSettings,
): Promise<RemoteFile> {
  const { repository, revision } = reference;
  const url = `${settings.endpoint}/${repository}/resolve/${encodeURIComponent(revision)}/${
    encodeURIComponent(name)
  }`;
  return await persistently(`ask for ${name} of ${repository}`, settings, async () => {
    // The hub answers for a large file with a redirect to its storage and says in it what the file is.
    const { response } = await request(url, settings, {
      method: "HEAD",
      stopAt: ({ headers }) => headers.has("X-Linked-Etag"),
    });
    await response.body?.cancel();
    if (!response.ok && !response.headers.has("X-Linked-Etag")) {
      throw await refusal(response, reference, settings, name);
    }
    const { headers } = response;
    const etag = (headers.get("X-Linked-Etag") ?? headers.get("ETag") ?? "").replace(/^W\//, "")
      .replaceAll('"', "");
    if (!/^[\w-]{1,128}$/.test(etag)) {
      throw new InputError(
        `Cannot download ${name} of ${hubReferenceText(reference)}: its ETag is ${
          JSON.stringify(etag)
        }, expected a checksum`,
      );
    }
    const size = headers.get("X-Linked-Size") ?? headers.get("Content-Length");
    const byteLength = size !== null && /^\d{1,15}$/.test(size) ? Number(size) : null;
    return { name, url, etag, byteLength };
  });
}

/**
 * Fetches a file into the cache, from where a download before it stopped, and
 * checks what it is against its checksum.
 *
 * @throws {InputError} when it is other than the hub said, cannot be written, or
 * the connection fails for good.
 */
export async function downloadFile(
  file: RemoteFile,
  reference: HubReference,
  cache: RepositoryCache,
  settings: HubSettings,
  onBytes: OnBytes,
): Promise<void> {
  await cache.locked(file.etag, async () => {
    const blob = cache.blobPath(file.etag);
    if (await exists(blob)) return onBytes(file.byteLength ?? 0); // another process was faster
    const incomplete = `${blob}.incomplete`;
    const resumed = await sizeOf(incomplete);
    onBytes(resumed);
    await fetchAll(file, incomplete, reference, settings, onBytes);
    let problem = await checksumProblem(file, incomplete);
    if (problem !== null && resumed > 0) {
      // What was there may have been of another make: once more, all of it.
      onBytes(-await sizeOf(incomplete));
      await disk.remove(incomplete);
      await fetchAll(file, incomplete, reference, settings, onBytes);
      problem = await checksumProblem(file, incomplete);
    }
    if (problem !== null) {
      await disk.remove(incomplete);
      throw new InputError(`Cannot use ${file.name} of ${hubReferenceText(reference)}: ${problem}`);
    }
    await writing(blob, () => disk.rename(incomplete, blob));
  });
  await cache.link(reference.revision, file.name, file.etag);
}

async function sizeOf(path: string): Promise<number> {
  return await disk.stat(path).then(({ size }) => size, () => 0);
}

/**
 * Appends to `path` until the file is whole. Attempts that get further than all before them are no failures.
 */
async function fetchAll(
  file: RemoteFile,
  path: string,
  reference: HubReference,
  settings: HubSettings,
  onBytes: OnBytes,
): Promise<void> {
  let furthest = await sizeOf(path);
  for (let failures = 1;; failures++) {
    try {
      return await fetchRest(file, path, reference, settings, onBytes);
    } catch (error) {
      if (!(error instanceof TransientError)) throw error;
      const reached = await sizeOf(path);
      if (reached > furthest) failures = 1;
      furthest = Math.max(furthest, reached);
      if (failures >= ATTEMPTS) throw givenUp(`download ${file.name}`, settings, error);
      await pause(settings, failures, error);
    }
  }
}

/**
 * One request for what is missing. @throws {TransientError} when the connection ends before the file does.
 */
async function fetchRest(
  file: RemoteFile,
  path: string,
  reference: HubReference,
  settings: HubSettings,
  onBytes: OnBytes,
): Promise<void> {
  using output = await writing(path, () => disk.open(path, { create: true, write: true }));
  let have = (await output.stat()).size;
  const startAnew = async () => {
    await writing(path, () => output.truncate(0));
    onBytes(-have);
    have = 0;
  };
  if (file.byteLength !== null && have > file.byteLength) await startAnew();
  if (have === file.byteLength) return;
  const abort = new AbortController();
  const headers: Record<string, string> = have > 0 ? { Range: `bytes=${have}-` } : {};
  const { response } = await request(file.url, settings, { headers, signal: abort.signal });
  if (response.status === 416) {
    await response.body?.cancel();
    await startAnew();
    throw new TransientError("the server has no more bytes than are here already");
  }
  if (!response.ok || response.body === null) {
    throw await refusal(response, reference, settings, file.name);
  }
  if (response.status !== 206 || rangeStart(response) !== have) await startAnew();
  await output.seek(have, FROM_START);
  try {
    for await (const piece of pieces(response.body, abort, settings)) {
      await writing(path, () => writeAll(output, piece));
      have += piece.length;
      onBytes(piece.length);
      if (file.byteLength !== null && have > file.byteLength) return; // the checksum will not fit
    }
  } catch (error) {
    if (!(error instanceof TransientError)) throw error;
    throw new TransientError(
      `the connection ended after ${have} of ${file.byteLength ?? "?"} bytes: ${error.message}`,
    );
  }
  if (file.byteLength !== null && have < file.byteLength) {
    throw new TransientError(`the connection ended after ${have} of ${file.byteLength} bytes`);
  }
}

function rangeStart(response: Response): number {
  return Number(/^bytes (\d+)-/.exec(response.headers.get("Content-Range") ?? "")?.[1] ?? NaN);
}

/** The pieces of a body, given up when the next one takes too long. */
async function* pieces(
  body: ReadableStream<Uint8Array>,
  abort: AbortController,
  { timeoutMs }: HubSettings,
): AsyncGenerator<Uint8Array> {
  const reader = body.getReader();
  try {
    for (;;) {
      const timer = setTimeout(() => abort.abort(new Error(`no bytes for ${timeoutMs / 1000} s`)), timeoutMs);
      let result;
      try {
        result = await reader.read();
      } catch (error) {
        throw new TransientError(reasonOf(error));
      } finally {
        clearTimeout(timer);
      }
      if (result.done) return;
      yield result.value;
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

/** What is wrong with a downloaded file, or null. */
async function checksumProblem({ etag, byteLength }: RemoteFile, path: string): Promise<string | null> {
  const size = await sizeOf(path);
  if (byteLength !== null && size !== byteLength) return `it has ${size} bytes, expected ${byteLength}`;
  // 64 digits are of sha256, 40 of git: sha1 over a header and the contents. Mirrors may have neither.
  const hash = etag.length === 64
    ? createHash("sha256")
    : etag.length === 40
    ? createHash("sha1").update(`blob ${size}\0`)
    : null;
  if (hash === null || !/^[0-9a-f]+$/.test(etag)) return null;
  using file = await disk.open(path);
  for await (const piece of file.readable) hash.update(piece);
  const found = hash.digest("hex");
  const name = etag.length === 64 ? "sha256" : "git id";
  return found === etag ? null : `its ${name} is ${found}, expected ${etag}`;
}
