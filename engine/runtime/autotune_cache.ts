import { writeTextAtomically } from "../formats/output_file.ts";
import { cacheFolder, disk, join } from "../host.ts";
import type { AdapterDescription } from "./gpu.ts";

/** A choice that is kept. */
export interface KeptChoice {
  /** Name of the kernel. */
  kernel: string;
  /** Hash of the text of all kernels there were to choose from: a choice among others is none. */
  code: string;
}

/**
 * Version of the format; files of another are not read. Those of 1 hold choices for want of time, and others
 * timed on zeros.
 */
const FORMAT = 2;

/** Choices of kernels on one adapter, in one file. What is wrong with the file costs time, never a run. */
export class ChoiceCache {
  readonly path: string;
  readonly #adapter: Record<string, unknown>;

  /** @param folder Default: `kernels` in the cache folder. */
  constructor(adapter: AdapterDescription, folder = join(cacheFolder(), "kernels")) {
    const { name, vendor, architecture, driver, provider, providerVersion, limits, subgroupSize } = adapter;
    this.#adapter = { name, vendor, architecture, driver, provider, providerVersion, limits, subgroupSize };
    const stem = name.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 48);
    this.path = join(folder, `${provider}-${stem}-${hashOf(JSON.stringify(this.#adapter))}.json`);
  }

  /** The kept choices by key; none where the file is missing, unreadable, not whole, or another adapter's. */
  async read(): Promise<Map<string, KeptChoice>> {
    try {
      const { format, adapter, choices } = JSON.parse(await disk.readTextFile(this.path));
      if (format !== FORMAT || JSON.stringify(adapter) !== JSON.stringify(this.#adapter)) return new Map();
      return new Map(
        Object.entries(choices).filter((entry): entry is [string, KeptChoice] => isKept(entry[1])),
      );
    } catch {
      return new Map();
    }
  }

  /**
   * Adds choices to the file, beside those that other processes have added since.
   *
   * @returns Whether they were kept: a cache that cannot be written is no reason not to train.
   */
  async add(choices: ReadonlyMap<string, KeptChoice>): Promise<boolean> {
    if (choices.size === 0) return true;
    const all = new Map([...await this.read(), ...choices]);
    const sorted = Object.fromEntries([...all].sort(([a], [b]) => (a < b ? -1 : 1)));
    const text = JSON.stringify({ format: FORMAT, adapter: this.#adapter, choices: sorted }, null, 1);
    try {
      await disk.mkdir(join(this.path, ".."), { recursive: true });
      await writeTextAtomically(this.path, `${text}\n`);
      return true;
    } catch {
      return false;
    }
  }
}

function isKept(value: unknown): value is KeptChoice {
  const { kernel, code } = (value ?? {}) as Record<string, unknown>;
  return typeof kernel === "string" && typeof code === "string";
}

/** 32 bits of FNV-1a, as eight hex digits: tells texts apart, guards nothing. */
export function hashOf(text: string): string {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return (hash >>> 0).toString(16).padStart(8, "0");
}
