import { InputError } from "../input_error.ts";

/**
 * Parses JSON as `JSON.parse` does, but refuses an object that has the same key
 * twice, of which `JSON.parse` keeps only the last.
 *
 * @param what The file, and the part of it, that the error names.
 * @throws InputError when the text is not JSON or repeats a key.
 */
export function parseJson(text: string, what: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new InputError(`Cannot read ${what}: not valid JSON: ${(error as Error).message}`);
  }
  const repeated = firstRepeatedKey(text);
  if (repeated !== undefined) {
    throw new InputError(
      `Cannot read ${what}: the key ${JSON.stringify(repeated)} appears twice in one object`,
    );
  }
  return value;
}

/**
 * Parses JSON whose outermost value is an object; throws InputError as
 * `parseJson` does, and for any other value.
 */
export function parseJsonObject(text: string, what: string): Record<string, unknown> {
  const value = parseJson(text, what);
  if (isJsonObject(value)) return value;
  throw new InputError(`Cannot read ${what}: expected a JSON object, got ${describeJson(value)}`);
}

/** Whether a parsed value is an object, not an array and not null. */
export function isJsonObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A parsed value as one short line for an error message. */
export function describeJson(value: unknown): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length <= 60 ? text : `${text.slice(0, 57)}...`;
}

/**
 * The first key that one object of `text` has twice. `text` is known to be valid
 * JSON, which makes the scan short.
 */
function firstRepeatedKey(text: string): string | undefined {
  const open: Set<string>[] = []; // the keys seen in each object around the current position
  for (let i = 0; i < text.length; i++) {
    const char = text[i];
    if (char === "{") open.push(new Set());
    else if (char === "}") open.pop();
    else if (char === '"') {
      const end = endOfString(text, i);
      if (isKey(text, end)) {
        const key = JSON.parse(text.slice(i, end)) as string; // "a" and "\u0061" are the same key
        const keys = open[open.length - 1];
        if (keys.has(key)) return key;
        keys.add(key);
      }
      i = end - 1;
    }
  }
  return undefined;
}

/** Index just past the closing quote of the string that opens at `start`. */
function endOfString(text: string, start: number): number {
  let i = start + 1;
  while (text[i] !== '"') i += text[i] === "\\" ? 2 : 1;
  return i + 1;
}

/** In valid JSON a string is a key exactly when a colon follows it. */
function isKey(text: string, end: number): boolean {
  while (text[end] === " " || text[end] === "\n" || text[end] === "\r" || text[end] === "\t") end++;
  return text[end] === ":";
}
