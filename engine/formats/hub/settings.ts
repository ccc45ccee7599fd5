import { environmentVariable, homeFolder, join } from "../../host.ts";
import { InputError } from "../../input_error.ts";

/** Where models come from and where they are kept. */
export interface HubSettings {
  /** Address of the hub, without a slash at its end. */
  readonly endpoint: string;
  /** The cache that Python's `huggingface_hub` has as well. */
  readonly cacheFolder: string;
  readonly token: string | null;
  /** Never asks the hub. */
  readonly offline: boolean;
  /** How long the hub may stay silent. */
  readonly timeoutMs: number;
  /** The first wait before a request is repeated; each next one is twice as long. */
  readonly retryMs: number;
}

/** Attempts without a byte of progress before a download is given up. */
export const ATTEMPTS = 5;

/**
 * The settings in the environment, under the names that `huggingface_hub` reads: `HF_ENDPOINT`,
 * `HF_HUB_CACHE`, `HF_HOME`, `HF_TOKEN`, `HF_HUB_OFFLINE`, `HF_HUB_DOWNLOAD_TIMEOUT` (seconds).
 *
 * @throws {InputError} naming the variable.
 */
export function hubSettings(read: (name: string) => string | undefined = environmentVariable): HubSettings {
  const value = (name: string) => read(name)?.trim() || undefined;
  return {
    endpoint: endpointOf(value("HF_ENDPOINT")),
    cacheFolder: cacheFolderOf(value),
    token: tokenOf(value("HF_TOKEN")),
    offline: /^(1|on|yes|true)$/i.test(value("HF_HUB_OFFLINE") ?? ""),
    timeoutMs: timeoutOf(value("HF_HUB_DOWNLOAD_TIMEOUT")),
    retryMs: 500,
  };
}

function endpointOf(text = "https://huggingface.co"): string {
  const url = URL.parse(text);
  if (url && /^https?:$/.test(url.protocol)) return text.replace(/\/+$/, "");
  throw new InputError(`Cannot use HF_ENDPOINT ${text}: expected an address as https://huggingface.co`);
}

function cacheFolderOf(value: (name: string) => string | undefined): string {
  const explicit = value("HF_HUB_CACHE") ?? value("HUGGINGFACE_HUB_CACHE");
  if (explicit !== undefined) return withHome(explicit);
  const home = value("HF_HOME");
  if (home !== undefined) return join(withHome(home), "hub");
  return join(value("XDG_CACHE_HOME") ?? join(homeFolder(), ".cache"), "huggingface", "hub");
}

function withHome(path: string): string {
  return path === "~" || path.startsWith("~/") ? join(homeFolder(), path.slice(1)) : path;
}

/** Never shown in a message: not even a wrong one. */
function tokenOf(text: string | undefined): string | null {
  if (text === undefined || /^[\x21-\x7e]+$/.test(text)) return text ?? null;
  throw new InputError("Cannot use HF_TOKEN: it has spaces or characters that no token has");
}

function timeoutOf(text = "30"): number {
  const seconds = Number(text);
  if (Number.isFinite(seconds) && seconds > 0) return seconds * 1000;
  throw new InputError(`Cannot use HF_HUB_DOWNLOAD_TIMEOUT ${text}: expected seconds above 0`);
}
