import { COMMIT, type HubReference, hubReferenceText, parseHubReference } from "../formats/hub/reference.ts";
import { hubSettings } from "../formats/hub/settings.ts";
import { type DownloadProgress, type FetchedModel, fetchModel } from "../formats/hub/snapshot.ts";
import { inputExists } from "../formats/input_file.ts";
import { createHash, disk, join } from "../host.ts";
import { InputError } from "../input_error.ts";
import { type ModelConfig, readModelConfig } from "../model/config.ts";
import { PRESETS } from "../model/presets.ts";

export type { DownloadProgress };

/** What `pinModel` is to fetch. */
export interface PinOptions {
  /** `config`: enough to plan. */
  what: "config" | "model";
  /** Uses what the cache has, or says what it lacks. Also where the environment says so. */
  offline?: boolean;
  /** Told about every file that is downloaded. */
  onProgress?: (progress: DownloadProgress) => void;
  /** Told what else the user should know. */
  onNote?: (text: string) => void;
}

/**
 * The name under which a model can be found again: `owner/name@commit` for a repository of the hub, which is
 * in the cache from then on; presets and folders are called what they are called.
 *
 * @throws {InputError} for a repository that does not exist or cannot be used.
 */
export async function pinModel(model: string, options: PinOptions): Promise<string> {
  if (Object.hasOwn(PRESETS, model) || await inputExists(model)) return model;
  const reference = parseHubReference(model);
  if (reference === null) return model; // what is wrong with it is said where it is opened
  return hubReferenceText((await fetchNamed(model, reference, options)).reference);
}

/** A slip in the path of a folder looks like a repository: what is wrong may be either. */
async function fetchNamed(
  model: string,
  reference: HubReference,
  { offline, ...rest }: PinOptions,
): Promise<FetchedModel> {
  const settings = hubSettings();
  try {
    return await fetchModel(reference, {
      ...rest,
      settings: { ...settings, offline: offline || settings.offline },
    });
  } catch (error) {
    if (!(error instanceof InputError) || model.includes("@")) throw error;
    throw new InputError(`${error.message} (nor is there a folder ${model})`, { cause: error });
  }
}

/** A file of a model. */
export interface ModelFile {
  /** Its path from the model's folder. */
  file: string;
  /** Its size in bytes. */
  byteLength: number;
  /** Of its bytes as they lie on the disk, hexadecimal. */
  sha256: string;
}

/** Files of a model in the hub's cache or in a folder, by name, each read as a whole; a preset has none. */
export async function modelFiles(model: string): Promise<ModelFile[]> {
  const { folder } = await resolveModel(model, "config");
  if (folder === null) return [];
  const names = (await Array.fromAsync(disk.readDir(folder))).filter(({ isDirectory }) => !isDirectory);
  return await Promise.all(
    names.map(({ name }) => name).sort().map(async (file) => {
      const hash = createHash("sha256");
      let byteLength = 0;
      using open = await disk.open(join(folder, file));
      for await (const part of open.readable) {
        hash.update(part);
        byteLength += part.byteLength;
      }
      return { file, byteLength, sha256: hash.digest("hex") };
    }),
  );
}

/** How a name of a model on the hub says what it is: by a commit, or by a branch or tag that may move. */
export type HubName = "pinned" | "moving";

/**
 * Whether `model` has the form of a repository of the hub, pinned to a commit or
 * not; null for presets and paths.
 */
export function hubNameKind(model: string): HubName | null {
  const reference = Object.hasOwn(PRESETS, model) ? null : parseHubReference(model);
  return reference && (COMMIT.test(reference.revision) ? "pinned" : "moving");
}

/**
 * Configuration and folder of a preset, a folder or a repository of the hub. Without `pinModel` before it, a
 * repository is downloaded here, as the environment says.
 *
 * @param what `config` where weights and tokenizer are not needed.
 * @throws {InputError} listing the presets where `model` is none of these.
 */
export async function resolveModel(
  model: string,
  what: "config" | "model" = "model",
): Promise<{ config: ModelConfig; folder: string | null }> {
  if (Object.hasOwn(PRESETS, model)) return { config: PRESETS[model], folder: null };
  if (await inputExists(`${model}/config.json`)) {
    return { config: await readModelConfig(model), folder: model };
  }
  if (await inputExists(model)) {
    throw new InputError(`${model}/config.json: not found; a model folder has a config.json`);
  }
  const reference = parseHubReference(model);
  if (reference !== null) {
    const { folder } = await fetchNamed(model, reference, { what });
    return { config: await readModelConfig(folder), folder };
  }
  throw new InputError(
    `Cannot find the model ${model}: expected a folder with config.json, owner/name on the hub, or one of ${
      Object.keys(PRESETS).join(", ")
    }`,
  );
}
