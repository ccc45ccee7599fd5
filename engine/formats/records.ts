import { decodeUtf8, readInput } from "./input_file.ts";
import type { DataRecord } from "./data_record.ts";
import { describeJson, isJsonObject, parseJson, parseJsonObject } from "./json.ts";
import { InputError } from "../input_error.ts";
import { readParquet } from "./parquet.ts";

const NEWLINE = 10;

/**
 * The objects of a JSON Lines file, one a line; empty lines do not count.
 *
 * @param path The file, for messages.
 * @throws {InputError} naming file and line: not UTF-8, not JSON, not an object; and for a file without any.
 */
export function parseJsonLines(bytes: Uint8Array, path: string): DataRecord[] {
  const records: DataRecord[] = [];
  // Line by line, because a string cannot be as long as a file can.
  for (let start = 0, number = 1; start < bytes.length; number++) {
    const newline = bytes.indexOf(NEWLINE, start);
    const end = newline < 0 ? bytes.length : newline;
    const place = `${path}:${number}`;
    const line = decodeUtf8(bytes.subarray(start, end), place).replace(/^\ufeff/, "");
    if (line.trim() !== "") records.push({ place, fields: parseJsonObject(line, place) });
    start = end + 1;
  }
  if (records.length > 0) return records;
  throw new InputError(`Cannot read ${path}: it has no lines, expected a JSON object in each`);
}

/**
 * The objects of a JSON file: those of a list, or one a line, as some tools name JSON Lines.
 *
 * @param path The file, for messages.
 * @throws {InputError} naming the file and the item or line: not UTF-8, not JSON,
 * not a list of objects, none.
 */
export function parseJsonRecords(bytes: Uint8Array, path: string): DataRecord[] {
  if (bytes.length > LONGEST_STRING) {
    throw new InputError(
      `Cannot read ${path}: it has ${bytes.length} bytes, more than a JSON text may have here; write a line an object, as .jsonl`,
    );
  }
  const text = decodeUtf8(bytes, path).replace(/^\ufeff/, "");
  if (isJsonLines(text)) return parseJsonLines(bytes, path);
  const list = parseJson(text, path);
  const advice = "to train on JSON as text, rename it to .txt";
  if (!Array.isArray(list)) {
    throw new InputError(
      `Cannot read ${path}: expected a list of objects, got ${describeJson(list)}; ${advice}`,
    );
  }
  if (list.length === 0) throw new InputError(`Cannot read ${path}: the list is empty, expected objects`);
  return list.map((fields: unknown, i) => {
    const place = `${path}:record ${i + 1}`;
    if (isJsonObject(fields)) return { place, fields };
    throw new InputError(`${place}: expected an object, got ${describeJson(fields)}; ${advice}`);
  });
}

/** V8's longest string, in characters; a byte of UTF-8 is at most one. */
const LONGEST_STRING = 2 ** 29 - 24;

/** Whether there is an object on the first line, and more than that. */
function isJsonLines(text: string): boolean {
  const start = text.search(/\S/);
  const end = text.indexOf("\n", start);
  try {
    return end >= 0 && text.slice(end).trim() !== "" && isJsonObject(JSON.parse(text.slice(start, end)));
  } catch {
    return false;
  }
}

/** Whether a file name is that of a file of records. */
export function isRecordFile(path: string): boolean {
  return /\.(jsonl|ndjson|json|parquet)$/i.test(path);
}

/**
 * The records of a JSON Lines, JSON or Parquet file, with the file's bytes.
 *
 * @param wanted Fields that may be asked for; of a Parquet file no others are read.
 * @throws {InputError}
 */
export async function readRecords(
  path: string,
  wanted: readonly string[],
): Promise<{ records: DataRecord[]; bytes: Uint8Array }> {
  const bytes = await readInput(path);
  if (/\.parquet$/i.test(path)) return { records: await readParquet(bytes, path, wanted), bytes };
  return {
    records: /\.json$/i.test(path) ? parseJsonRecords(bytes, path) : parseJsonLines(bytes, path),
    bytes,
  };
}

/**
 * A field that must be a text with something in it.
 *
 * @throws {InputError} naming file, line, field and what is there instead.
 */
export function textField(record: DataRecord, name: string): string {
  const { place } = record;
  const value = record.fields[name];
  if (value === undefined || value === null) throw missingField(record, name);
  if (typeof value !== "string") {
    throw new InputError(`${place}: field ${name} is ${describeValue(value)}, expected a text`);
  }
  if (value.trim() === "") throw new InputError(`${place}: field ${name} is empty, expected a text`);
  return value;
}

/** The error for a record without a field, with the fields that it has. */
export function missingField({ place, fields, fieldNames }: DataRecord, name: string): InputError {
  const known = fieldNames ?? Object.keys(fields);
  return new InputError(
    `${place}: field ${name} is ${fields[name] === null ? "null" : "missing"}, the fields are ${
      known.join(", ") || "none"
    }`,
  );
}

/** A value as one short phrase for an error message. */
export function describeValue(value: unknown): string {
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === "object" && value !== null) return `an object`;
  const text = typeof value === "bigint" ? String(value) : JSON.stringify(value) ?? "nothing";
  return text.length <= 60 ? text : `${text.slice(0, 57)}...`;
}
