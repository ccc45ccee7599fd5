import { InputError } from "../input_error.ts";
import { decodeUtf8 } from "./input_file.ts";

/** What to do about files that are no text, by the endings of their names. */
const OTHER_FILES: readonly (readonly [endings: readonly string[], advice: string])[] = [
  [
    ["csv", "tsv"],
    'a table: write its rows as .jsonl or .parquet, as with pandas\' to_json(orient="records", lines=True)',
  ],
  [
    ["bin"],
    "bytes of unknown meaning: rename it to .u16 if it is token ids of 16 bits, as nanoGPT's, to .u32 if of 32",
  ],
  [["arrow", "feather", "ipc"], "Arrow: write it as .parquet, as with to_parquet of pandas and datasets"],
  [["zip", "gz", "tgz", "bz2", "xz", "zst", "lz4", "br", "7z", "rar", "tar"], "packed: unpack it first"],
  [
    ["pkl", "pickle", "pt", "pth", "npz", "h5", "hdf5", "mat", "msgpack", "rds", "tfrecord", "idx", "mdb"],
    "a program's own format: write texts as .jsonl or .parquet, token ids as .npy, .u16 or .u32",
  ],
  [
    ["db", "sqlite", "sqlite3", "duckdb", "avro", "orc", "xls", "xlsx", "ods"],
    "a table: write its rows as .jsonl or .parquet",
  ],
  [["safetensors", "gguf", "ggml", "onnx"], "a model's weights, expected text or tokens to train on"],
  [["pdf", "doc", "docx", "odt", "rtf", "epub"], "a document with layout: save its text as .txt"],
];

/**
 * Refuses files that would be learned as bytes of another format.
 *
 * @throws {InputError} with what to do, by the ending of the name; nothing is read.
 */
export function refuseOtherFormats(path: string): void {
  const ending = /\.([^./\\]+)$/.exec(path)?.[1].toLowerCase() ?? "";
  for (const [endings, advice] of OTHER_FILES) {
    if (endings.includes(ending)) {
      throw new InputError(
        `Cannot read ${path}: .${ending} is ${advice} (plain text of that name: rename it to .txt)`,
      );
    }
  }
}

/** Control characters that texts have: tab, line feed, form feed, carriage return. */
const TEXT_CONTROLS: readonly number[] = [0x09, 0x0a, 0x0c, 0x0d];

/**
 * The text of a file.
 *
 * @param path The file, for messages.
 * @throws {InputError} naming the first byte that is not UTF-8 or a control character that no text has.
 */
export function parseText(bytes: Uint8Array, path: string): string {
  if (bytes.length === 0) throw new InputError(`Cannot read ${path}: the file is empty, expected text`);
  const control = bytes.findIndex((byte) => byte < 0x20 && !TEXT_CONTROLS.includes(byte));
  const advice =
    "if these are token ids, rename the file to .u16 or .u32; if it is a text of another encoding, convert it, " +
    "as with iconv -f UTF-16 -t UTF-8";
  if (control >= 0) {
    const value = bytes[control].toString(16).padStart(2, "0");
    throw new InputError(
      `Cannot read ${path}: expected text, but byte ${control} is 0x${value}, a control character; remove it, or ${advice}`,
    );
  }
  try {
    return decodeUtf8(bytes, path);
  } catch (error) {
    throw error instanceof InputError ? new InputError(`${error.message}; ${advice}`) : error;
  }
}
