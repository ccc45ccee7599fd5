import { disk, FROM_START, type OpenFile } from "../host.ts";
import { InputError } from "../input_error.ts";
import { parseJsonObject } from "./json.ts";

/** A file opened for reads at any position; concurrent reads wait for each other. */
export class InputFile {
  readonly path: string;
  readonly byteLength: number;
  #file: OpenFile;
  // A seek and the read after it are two operations on one shared file position, so they must not interleave.
  #lastRead: Promise<unknown> = Promise.resolve();

  private constructor(path: string, file: OpenFile, byteLength: number) {
    this.path = path;
    this.#file = file;
    this.byteLength = byteLength;
  }

  /** Opens a regular file; throws InputError when it is missing, not readable or not a file. */
  static async open(path: string): Promise<InputFile> {
    const refused = () => new InputError(`Cannot read ${path}: expected a file, found a folder or a device`);
    // Asked before it is opened: opening a pipe would wait for somebody to write to it.
    if (!(await naming(path, () => disk.stat(path))).isFile) throw refused();
    const file = await naming(path, () => disk.open(path));
    const { isFile, size } = await file.stat();
    if (isFile) return new InputFile(path, file, size);
    file.close();
    throw refused();
  }

  /** Fills `target` with the bytes from `position` on; throws InputError when the file ends before that. */
  readAt(position: number, target: Uint8Array): Promise<void> {
    const read = this.#lastRead.then(() => this.#readAt(position, target));
    this.#lastRead = read.catch(() => {});
    return read;
  }

  async #readAt(position: number, target: Uint8Array): Promise<void> {
    await this.#file.seek(position, FROM_START);
    for (let filled = 0; filled < target.length;) {
      const count = await this.#file.read(target.subarray(filled));
      if (count === null) {
        throw new InputError(
          `Cannot read ${this.path}: the file ends at byte ${position + filled}, expected ${
            position + target.length
          }`,
        );
      }
      filled += count;
    }
  }

  close(): void {
    this.#file.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** All bytes of a file; throws InputError when it is missing, not readable or not a file. */
export async function readInput(path: string): Promise<Uint8Array<ArrayBuffer>> {
  using file = await InputFile.open(path);
  const bytes = new Uint8Array(file.byteLength);
  await file.readAt(0, bytes);
  return bytes;
}

/** The JSON object a file holds; throws InputError for a file that cannot be read or holds anything else. */
export async function readJsonInput(path: string): Promise<Record<string, unknown>> {
  return parseJsonObject(decodeUtf8(await readInput(path), path), path);
}

/** Whether a file or folder of this name exists; throws InputError when that cannot be found out. */
export async function inputExists(path: string): Promise<boolean> {
  try {
    await disk.stat(path);
    return true;
  } catch (error) {
    if (["NotFound", "NotADirectory"].includes((error as Error).name)) return false;
    throw new InputError(`Cannot read ${path}: ${(error as Error).message}`);
  }
}

/** File names in a folder, sorted; throws InputError when it is missing, not readable or not a folder. */
export async function listInputs(folder: string): Promise<string[]> {
  const entries = await naming(folder, () => Array.fromAsync(disk.readDir(folder)), "folder");
  return entries.map(({ name }) => name).sort();
}

/**
 * UTF-8 as a string, a byte order mark included, so that encoding the string again gives the same bytes.
 *
 * @param what The file, and the part of it, that the error names.
 * @throws InputError with the position of the first byte that is not UTF-8.
 */
export function decodeUtf8(bytes: Uint8Array, what: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    const position = firstInvalidByte(bytes);
    const value = bytes[position].toString(16).padStart(2, "0");
    throw new InputError(
      `Cannot read ${what}: expected UTF-8, but byte ${position} (0x${value}) is not part of any character`,
    );
  }
}

/**
 * A lenient decoder puts U+FFFD where the bytes are wrong; the first one that is
 * not in the file itself is the place.
 */
function firstInvalidByte(bytes: Uint8Array): number {
  const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
  let position = 0;
  for (const char of text) {
    const code = char.codePointAt(0)!;
    const genuine = bytes[position] === 0xef && bytes[position + 1] === 0xbf && bytes[position + 2] === 0xbd;
    if (code === 0xfffd && !genuine) break;
    position += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  }
  return position;
}

/** Runs a file operation and turns its error into one that names the file. */
async function naming<T>(path: string, operation: () => Promise<T>, kind = "file"): Promise<T> {
  try {
    return await operation();
  } catch (error) {
    if ((error as Error).name === "NotFound") throw new InputError(`Cannot read ${path}: no such ${kind}`);
    throw new InputError(`Cannot read ${path}: ${(error as Error).message}`);
  }
}
