import { InputError } from "../engine/input_error.ts";
import type { Field } from "./fields.ts";

/** `a whole number of at least 1` */
export function expected(range: Pick<Field, "integer" | "minimum" | "maximum" | "above">): string {
  const kind = range.integer ? "a whole number" : "a number";
  if (range.minimum === undefined) {
    return range.maximum === undefined ? kind : `${kind} of at most ${range.maximum}`;
  }
  if (range.maximum !== undefined) return `${kind} from ${range.minimum} to ${range.maximum}`;
  return range.above ? `${kind} above ${range.minimum}` : `${kind} of at least ${range.minimum}`;
}

/** Whether a number lies in the range of a field or setting. */
export function inRange(
  value: number,
  range: Pick<Field, "integer" | "minimum" | "maximum" | "above">,
): boolean {
  return Number.isFinite(value) &&
    (!range.integer || Number.isSafeInteger(value)) &&
    (range.minimum === undefined || (range.above ? value > range.minimum : value >= range.minimum)) &&
    (range.maximum === undefined || value <= range.maximum);
}

/**
 * Reads a decimal number as people write them: `12`, `0.5`, `1e3`, `-2e-4`.
 *
 * @throws {InputError} for anything else, and outside the range.
 */
export function parseNumber(
  text: string,
  name: string,
  range: Pick<Field, "integer" | "minimum" | "maximum" | "above">,
) {
  const value = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : NaN;
  if (inRange(value, range)) return value;
  throw new InputError(`Cannot use ${name} ${text === "" ? '""' : text}: expected ${expected(range)}`);
}
