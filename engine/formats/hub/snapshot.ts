import { disk, freeBytes, join } from "../../host.ts";
import { InputError } from "../../input_error.ts";
import { readJsonInput } from "../input_file.ts";
import { FOREIGN_WEIGHTS, INDEX_NAME, shardNames } from "../safetensors.ts";
import { exists, RepositoryCache } from "./cache.ts";
import { askForFile, downloadFile, type RemoteFile } from "./download.ts";
import { COMMIT, type HubReference, hubReferenceText } from "./reference.ts";
import { refusal } from "./refusal.ts";
import type { HubSettings } from "./settings.ts";
import { persistently, request, UnreachableError } from "./transport.ts";

/** How a download goes on. */
export interface DownloadProgress {
  /** The file that is being fetched. */
  readonly file: string;
  /** Bytes there, of all files and of earlier attempts. */
  readonly doneBytes: number;
  /** Bytes there will be; null where the server does not say. */
  readonly totalBytes: number | null;
  /** Bytes that this process fetched: what its speed is reckoned from. */
  readonly fetchedBytes: number;
}

/** What `fetchModel` is to fetch, and from where. */
export interface FetchOptions {
  /** `config`: config.json alone, which is enough to plan. */
  readonly what: "config" | "model";
  readonly settings: HubSettings;
  readonly onProgress?: (progress: DownloadProgress) => void;
  /** One line on what a person may want to know. */
  readonly onNote?: (text: string) => void;
}

/** A repository in the cache. */
export interface FetchedModel {
  /** At the commit that its revision stands for. */
  readonly reference: HubReference;
  /** A model folder as any other. */
  readonly folder: string;
}

const CONFIG = "config.json";
const SINGLE = "model.safetensors";
/** Small files that a model folder may have, and that are kept when a trained model is saved. */
export const COMPANIONS = [
  "generation_config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "chat_template.jinja",
  "vocab.json",
  "merges.txt",
  "vocab.txt",
  "tokenizer.model",
] as const;

/**
 * Finds a model in the cache, or downloads what is missing of it: configuration, tokenizer, safetensors
 * weights. A revision that is a commit is not asked for again once its files are there.
 *
 * @throws {InputError} when there is no such model, no access, no weights in safetensors; when a file is not
 * what its checksum says; and offline, naming what is missing.
 */
export async function fetchModel(reference: HubReference, options: FetchOptions): Promise<FetchedModel> {
  const { settings, onNote } = options;
  const cache = new RepositoryCache(settings.cacheFolder, reference.repository);
  if (settings.offline) return await fromCache(reference, cache, options);
  const pinned = COMMIT.test(reference.revision);
  if (pinned && await missingFile(cache, reference.revision, options) === null) {
    return fetched(reference, cache, reference.revision);
  }
  let listing: Listing;
  try {
    listing = await askForListing(reference, settings);
  } catch (error) {
    if (!(error instanceof UnreachableError)) throw error;
    const commit = await cache.commitOf(reference.revision);
    if (commit === null || await missingFile(cache, commit, options) !== null) throw error;
    onNote?.(`${error.message}; using ${reference.repository}@${commit} from the cache`);
    return fetched(reference, cache, commit);
  }
  const at = { ...reference, revision: listing.commit };
  await download(at, listing.files, cache, options);
  if (!pinned) await cache.remember(reference.revision, listing.commit);
  return fetched(reference, cache, listing.commit);
}

function fetched({ repository }: HubReference, cache: RepositoryCache, commit: string): FetchedModel {
  return { reference: { repository, revision: commit }, folder: cache.snapshotFolder(commit) };
}

async function fromCache(
  reference: HubReference,
  cache: RepositoryCache,
  options: FetchOptions,
): Promise<FetchedModel> {
  const commit = await cache.commitOf(reference.revision);
  const missing = commit === null
    ? `revision ${reference.revision}`
    : await missingFile(cache, commit, options);
  if (commit !== null && missing === null) return fetched(reference, cache, commit);
  throw new InputError(
    `Cannot use ${hubReferenceText(reference)} offline: ${missing} is not in the cache ${cache.folder}; ` +
      "run once without --offline and HF_HUB_OFFLINE",
  );
}

/** The first file of a model that a snapshot lacks, or null. */
async function missingFile(
  cache: RepositoryCache,
  commit: string,
  { what, settings }: FetchOptions,
): Promise<string | null> {
  if (!await cache.has(commit, CONFIG)) return CONFIG;
  if (what === "config") return null;
  if (!await cache.has(commit, SINGLE)) {
    const index = await cache.has(commit, INDEX_NAME);
    if (!index) {
      const other = await onlyOther(cache.snapshotFolder(commit));
      if (other === null || !await cache.has(commit, other)) return `${SINGLE} (or ${INDEX_NAME})`;
    } else {
      for (const shard of await shardsOf(join(cache.snapshotFolder(commit), INDEX_NAME))) {
        if (!await cache.has(commit, shard)) return shard;
      }
    }
  }
  // Python fetches a tokenizer when it is first used. Offline the model may do without, on tokens.
  const knownTokenizer = await cache.has(commit, "tokenizer.json") ||
    await cache.isAbsent(commit, "tokenizer.json");
  return settings.offline || knownTokenizer ? null : "tokenizer.json";
}

async function onlyOther(folder: string): Promise<string | null> {
  const names = (await Array.fromAsync(disk.readDir(folder))).map(({ name }) => name);
  return otherWeights(names);
}

/** The one safetensors file of a repository without the usual names. */
function otherWeights(names: readonly string[]): string | null {
  const found = names.filter((name) => name.endsWith(".safetensors") && !name.startsWith("adapter_"));
  return found.length === 1 && !/-\d+-of-\d+\./.test(found[0]) ? found[0] : null;
}

async function shardsOf(indexPath: string): Promise<string[]> {
  return shardNames(await readJsonInput(indexPath), indexPath);
}

/** What the hub has at a revision. */
interface Listing {
  commit: string;
  files: string[];
}

async function askForListing(reference: HubReference, settings: HubSettings): Promise<Listing> {
  const { modelInfo } = await import("@huggingface/hub");
  const { repository, revision } = reference;
  const found = await persistently(`ask for ${repository}`, settings, () =>
    modelInfo({
      name: repository,
      revision,
      hubUrl: settings.endpoint,
      additionalFields: ["sha", "filePaths"],
      // Ours: it keeps the token at home, does not wait forever, and says what a refusal means.
      fetch: async (url) => {
        const { response } = await request(String(url), settings);
        if (!response.ok) throw await refusal(response, reference, settings);
        return response;
      },
    }));
  const commit: unknown = found.sha;
  const files: unknown[] = found.filePaths;
  const refuse = (problem: string) =>
    new InputError(`Cannot download ${hubReferenceText(reference)}: ${problem}`);
  if (typeof commit !== "string" || !COMMIT.test(commit)) {
    throw refuse(`its commit is ${JSON.stringify(commit)}, expected 40 hexadecimal digits`);
  }
  for (const file of files) {
    if (!isInside(file)) throw refuse(`it has a file ${JSON.stringify(file)}, which leaves the folder`);
  }
  return { commit, files: files as string[] };
}

/** Whether a file of a repository stays in it. */
function isInside(name: unknown): boolean {
  return typeof name === "string" && name !== "" && !/[\\:\0]/.test(name) &&
    name.split("/").every((part) => part !== "" && part !== "." && part !== "..");
}

async function download(
  reference: HubReference,
  listed: readonly string[],
  cache: RepositoryCache,
  { what, settings, onProgress }: FetchOptions,
): Promise<void> {
  const refuse = (problem: string) => new InputError(`Cannot use ${hubReferenceText(reference)}: ${problem}`);
  if (!listed.includes(CONFIG)) throw refuse("it has no config.json, expected a model of transformers");
  const weights = what === "config" ? null : weightsOf(listed, refuse);
  const transfer = new Transfer(reference, cache, settings, onProgress);
  // Small files first: a folder with weights has everything else.
  const companions = COMPANIONS.filter((name) => listed.includes(name));
  await transfer.get([CONFIG, ...(weights === null ? [] : companions)]);
  if (weights === null) return;
  if (!listed.includes("tokenizer.json")) await cache.rememberAbsent(reference.revision, "tokenizer.json");
  if (weights !== INDEX_NAME) return await transfer.get([weights]);
  await transfer.get([INDEX_NAME]);
  const index = join(cache.snapshotFolder(reference.revision), INDEX_NAME);
  const shards = await shardsOf(index);
  const absent = shards.find((shard) => !listed.includes(shard));
  if (absent !== undefined) throw refuse(`${INDEX_NAME} names ${absent}, which the repository does not have`);
  await transfer.get(shards);
}

/** The file that holds the weights, or the index of those that do. */
function weightsOf(listed: readonly string[], refuse: (problem: string) => InputError): string {
  if (listed.includes(SINGLE)) return SINGLE;
  if (listed.includes(INDEX_NAME)) return INDEX_NAME;
  const root = listed.filter((name) => !name.includes("/"));
  const other = otherWeights(root);
  if (other !== null) return other;
  const foreign = root.find((name) => FOREIGN_WEIGHTS.test(name));
  throw refuse(
    foreign === undefined
      ? `it has no weights, expected ${SINGLE} or ${INDEX_NAME}`
      : `its weights are in ${foreign} only, expected safetensors; take a revision that has them (many repositories have ` +
        "one as refs/pr/N), or convert them in Python: " +
        "AutoModelForCausalLM.from_pretrained(…).save_pretrained(folder)",
  );
}

/** Fetches files of one snapshot and adds up what it fetched. */
class Transfer {
  readonly #reference: HubReference;
  readonly #cache: RepositoryCache;
  readonly #settings: HubSettings;
  readonly #onProgress: ((progress: DownloadProgress) => void) | undefined;
  #doneBytes = 0;
  #totalBytes: number | null = 0;
  #fetchedBytes = 0;

  constructor(
    reference: HubReference,
    cache: RepositoryCache,
    settings: HubSettings,
    onProgress: ((progress: DownloadProgress) => void) | undefined,
  ) {
    this.#reference = reference;
    this.#cache = cache;
    this.#settings = settings;
    this.#onProgress = onProgress;
  }

  /** Those of `names` that the snapshot lacks, one after the other. */
  async get(names: readonly string[]): Promise<void> {
    const missing: RemoteFile[] = [];
    for (const name of names) {
      if (await this.#cache.has(this.#reference.revision, name)) continue;
      missing.push(await askForFile(this.#reference, name, this.#settings));
    }
    await this.#requireRoom(missing);
    for (const { byteLength } of missing) {
      this.#totalBytes = byteLength === null || this.#totalBytes === null
        ? null
        : this.#totalBytes + byteLength;
    }
    for (const file of missing) await this.#getOne(file);
  }

  async #getOne(file: RemoteFile): Promise<void> {
    const { revision } = this.#reference;
    if (await exists(this.#cache.blobPath(file.etag))) { // the same in another revision
      this.#doneBytes += file.byteLength ?? 0;
      return await this.#cache.link(revision, file.name, file.etag);
    }
    let first = true;
    await downloadFile(file, this.#reference, this.#cache, this.#settings, (bytes) => {
      this.#doneBytes += bytes;
      // What an earlier run has left was not fetched now.
      if (!first) this.#fetchedBytes += bytes;
      first = false;
      this.#onProgress?.({
        file: file.name,
        doneBytes: this.#doneBytes,
        totalBytes: this.#totalBytes,
        fetchedBytes: Math.max(0, this.#fetchedBytes),
      });
    });
  }

  /** @throws {InputError} where the disk is too small, before hours of downloading show it. */
  async #requireRoom(files: readonly RemoteFile[]): Promise<void> {
    let needed = 0;
    for (const { etag, byteLength } of files) {
      const blob = this.#cache.blobPath(etag);
      if (byteLength === null || await exists(blob)) continue;
      const begun = await disk.stat(`${blob}.incomplete`).then(({ size }) => size, () => 0);
      needed += Math.max(0, byteLength - begun);
    }
    const free = await roomIn(this.#settings.cacheFolder);
    if (free === null || needed <= free) return;
    throw new InputError(
      `Cannot download ${hubReferenceText(this.#reference)}: it needs ${needed} bytes, and ` +
        `${this.#settings.cacheFolder} has room for ${free}; HF_HOME says where the cache is`,
    );
  }
}

async function roomIn(folder: string): Promise<number | null> {
  try {
    await disk.mkdir(folder, { recursive: true });
    return await freeBytes(folder);
  } catch {
    return null; // writing will say what is wrong
  }
}
