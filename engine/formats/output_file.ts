import { disk, type OpenFile } from "../host.ts";

/** Appends bytes to the file being written. */
export type Append = (bytes: Uint8Array) => Promise<void>;

/**
 * Writes a file that appears under its name only when it is complete: the bytes go to a temporary file beside
 * it, which is renamed at the end and removed when `write` throws.
 *
 * @throws Whatever `write` throws, and errors of the file system.
 */
export async function writeFileAtomically(
  path: string,
  write: (append: Append) => Promise<void>,
): Promise<void> {
  const temporaryPath = `${path}.${crypto.randomUUID().slice(0, 8)}.partial`;
  try {
    {
      using file = await disk.open(temporaryPath, { write: true, createNew: true });
      await write((bytes) => writeAll(file, bytes));
      await file.sync(); // or a power cut could leave the name on an empty file
    }
    await disk.rename(temporaryPath, path);
  } catch (error) {
    await disk.remove(temporaryPath).catch(() => {});
    throw error;
  }
}

/** Writes a text file as UTF-8, complete or not at all. */
export function writeTextAtomically(path: string, text: string): Promise<void> {
  return writeFileAtomically(path, (append) => append(new TextEncoder().encode(text)));
}

/** Appends bytes to an open file, all of them. */
export async function writeAll(file: OpenFile, bytes: Uint8Array): Promise<void> {
  for (let written = 0; written < bytes.length;) {
    written += await file.write(bytes.subarray(written));
  }
}
