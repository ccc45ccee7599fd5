import { InputError } from "../engine/input_error.ts";
import { numberWords, type ValueRule } from "../results/schema_parts.ts";
import { didYouMean } from "./did_you_mean.ts";

/** Whether a rule is one of numbers. */
export function isOfNumbers({ type }: ValueRule): boolean {
  return type === "number" || type === "integer";
}

/** Whether a number lies in a range. */
export function inRange(
  value: number,
  { type, minimum = -Infinity, exclusiveMinimum = -Infinity, maximum = Infinity }: ValueRule,
): boolean {
  return Number.isFinite(value) && (type !== "integer" || Number.isSafeInteger(value)) &&
    value >= minimum && value > exclusiveMinimum && value <= maximum;
}

/**
 * Checks a value against what a schema takes: a number, true or false, one of some words, a text of a
 * pattern. What lists and maps hold is checked by those who know it.
 *
 * @param name How the message calls it.
 * @param shown The value as it was given.
 * @throws {InputError} naming the value given and the value expected.
 */
export function checkValue(
  value: unknown,
  rule: ValueRule,
  name: string,
  shown: string = JSON.stringify(value),
): void {
  const refuse = (expected: string, known: readonly string[] = []) =>
    new InputError(`Cannot use ${name} ${shown}: expected ${expected}${didYouMean(String(value), known)}`);
  if (rule.enum) {
    const words = rule.enum.map(String);
    if (!rule.enum.includes(value)) throw refuse(words.join(" or "), words);
  } else if (isOfNumbers(rule)) {
    if (typeof value !== "number" || !inRange(value, rule)) throw refuse(numberWords(rule));
  } else if (rule.type === "boolean") {
    if (typeof value !== "boolean") throw refuse("true or false");
  } else if (rule.pattern !== undefined && !new RegExp(rule.pattern).test(String(value))) {
    throw refuse(rule.title ?? rule.pattern, rule.examples);
  }
}

/**
 * Reads the value of a flag.
 *
 * @throws {InputError} as `checkValue`.
 */
export function parseValue(text: string, rule: ValueRule, name: string): unknown {
  const value = isOfNumbers(rule)
    ? numberOf(text)
    : rule.type === "boolean" && (text === "true" || text === "false")
    ? text === "true"
    : text;
  checkValue(value, rule, name, text === "" ? '""' : text);
  return value;
}

/**
 * Reads a decimal number as people write them: `12`, `0.5`, `1e3`, `-2e-4`.
 *
 * @throws {InputError} for anything else, and outside the range.
 */
export function parseNumber(text: string, name: string, range: ValueRule): number {
  return parseValue(text, { type: "number", ...range }, name) as number;
}

/** NaN for what is none. */
function numberOf(text: string): number {
  return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : NaN;
}
