import { decodeUtf8, readInput } from "./input_file.ts";
import { parseJsonObject } from "./json.ts";
import { InputError } from "../input_error.ts";

/** One example of a file of examples. */
export interface DataRecord {
  /** Where it comes from, as errors name it: `notes.jsonl:17`. */
  readonly place: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/**
 * The objects of a JSON Lines file, one a line; empty lines do not count.
 *
 * @param path The file, for messages.
 * @throws {InputError} naming file and line: not UTF-8, not JSON, not an object; and for a file without any.
 */
export function parseJsonLines(bytes: Uint8Array, path: string): DataRecord[] {
  const records: DataRecord[] = [];
  const text = decodeUtf8(bytes, path).replace(/^\ufeff/, "");
  for (const [i, line] of text.split("\n").entries()) {
    if (line.trim() === "") continue;
    const place = `${path}:${i + 1}`;
    records.push({ place, fields: parseJsonObject(line, place) });
  }
  if (records.length > 0) return records;
  throw new InputError(`Cannot read ${path}: it has no lines, expected a JSON object in each`);
}

/** Whether a file name is that of a file of records. */
export function isRecordFile(path: string): boolean {
  return /\.(jsonl|ndjson)$/i.test(path);
}

/** The records of a file, with the file's bytes. @throws {InputError} */
export async function readRecords(path: string): Promise<{ records: DataRecord[]; bytes: Uint8Array }> {
  const bytes = await readInput(path);
  return { records: parseJsonLines(bytes, path), bytes };
}

/**
 * A field that must be a text with something in it.
 *
 * @throws {InputError} naming file, line, field and what is there instead.
 */
export function textField({ place, fields }: DataRecord, name: string): string {
  const value = fields[name];
  if (value === undefined || value === null) throw missingField({ place, fields }, name);
  if (typeof value !== "string") {
    throw new InputError(`${place}: field ${name} is ${describeValue(value)}, expected a text`);
  }
  if (value.trim() === "") throw new InputError(`${place}: field ${name} is empty, expected a text`);
  return value;
}

/** The error for a record without a field, with the fields that it has. */
export function missingField({ place, fields }: DataRecord, name: string): InputError {
  const known = Object.keys(fields);
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
