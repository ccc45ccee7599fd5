import { describeJson, isJsonObject } from "../formats/json.ts";
import { InputError } from "../input_error.ts";

/** Ten times as many as any model has. */
const MOST_LAYERS = 4096;

/**
 * Typed access to a config.json. Every method throws `InputError` with file, field, the value given and what
 * was expected; a field that is null counts as missing, as in transformers.
 */
export class ConfigReader {
  readonly path: string;
  readonly #json: Record<string, unknown>;
  /** Path of the enclosing objects, with a dot at its end. */
  readonly #prefix: string;

  /** @param path The file, for messages. */
  constructor(json: Record<string, unknown>, path: string, prefix = "") {
    this.#json = json;
    this.path = path;
    this.#prefix = prefix;
  }

  has(field: string): boolean {
    return this.#json[field] !== undefined && this.#json[field] !== null;
  }

  /** Whether the field is there, be it null. */
  given(field: string): boolean {
    return field in this.#json;
  }

  positiveInteger(field: string, byDefault?: number): number {
    const value = this.#valueOf(field, byDefault);
    if (typeof value === "number" && Number.isSafeInteger(value) && value > 0 && value < 2 ** 31) {
      return value;
    }
    throw this.refusal(field, "a positive whole number");
  }

  /**
   * A number of layers: each is made, so that an absurd one would take all memory
   * before anything is known of it.
   */
  layerCount(field: string, byDefault?: number): number {
    const count = this.positiveInteger(field, byDefault);
    if (count <= MOST_LAYERS) return count;
    throw this.refusal(field, `at most ${MOST_LAYERS}`);
  }

  positiveNumber(field: string, byDefault?: number): number {
    const value = this.#valueOf(field, byDefault);
    if (typeof value === "number" && Number.isFinite(value) && value > 0) return value;
    throw this.refusal(field, "a positive number");
  }

  number(field: string, byDefault?: number): number {
    const value = this.#valueOf(field, byDefault);
    if (typeof value === "number" && Number.isFinite(value)) return value;
    throw this.refusal(field, "a number");
  }

  /** A list of so many positive numbers. */
  positiveNumbers(field: string, count: number): number[] {
    const value = this.#json[field];
    const fits = Array.isArray(value) && value.length === count &&
      value.every((entry) => typeof entry === "number" && Number.isFinite(entry) && entry > 0);
    if (fits) return value as number[];
    throw this.refusal(field, `${count} positive numbers`);
  }

  /** A list of at least so many entries, each one of `allowed`; the first ones. */
  list<const T>(field: string, allowed: readonly T[], count: number): T[] {
    const value = this.#json[field];
    if (Array.isArray(value) && value.length >= count && value.every((entry) => allowed.includes(entry))) {
      return value.slice(0, count) as T[];
    }
    const entries = allowed.map((one) => JSON.stringify(one)).join(" or ");
    throw this.refusal(field, `${count} entries, each ${entries}`);
  }

  oneOf<const T>(field: string, allowed: readonly T[], byDefault?: NoInfer<T>): T {
    const value = this.#valueOf(field, byDefault) as T;
    if (allowed.includes(value)) return value;
    throw this.refusal(field, allowed.map((one) => JSON.stringify(one)).join(" or "));
  }

  /** Refuses a field that would change what the model computes in a way this engine does not know. */
  absent(field: string, why: string): void {
    if (this.has(field)) throw this.refusal(field, `none: ${why}`);
  }

  /** The one entry of `architectures`; without the field, `byDefault`, unless there is no default. */
  architecture<const T extends string>(allowed: readonly T[], byDefault?: NoInfer<T>): T {
    const { architectures } = this.#json;
    if (!this.has("architectures") && byDefault !== undefined) return byDefault;
    const found = Array.isArray(architectures) && architectures.length === 1 &&
      allowed.find((name) => name === architectures[0]);
    if (found) return found;
    throw this.refusal("architectures", allowed.map((name) => JSON.stringify([name])).join(" or "));
  }

  /** An object inside this one, or null. */
  object(field: string): ConfigReader | null {
    if (!this.has(field)) return null;
    const value = this.#json[field];
    if (!isJsonObject(value)) throw this.refusal(field, "an object or null");
    return new ConfigReader(value, this.path, `${this.#prefix}${field}.`);
  }

  /** The texts of an object with keys "0", "1", …, in order; null without the field. */
  texts(field: string): string[] | null {
    if (!this.has(field)) return null;
    const value = this.#json[field];
    const entries = isJsonObject(value) ? Object.entries(value) : [];
    const fits = entries.length > 0 &&
      entries.every(([key, text], i) => key === String(i) && typeof text === "string");
    if (fits) return entries.map(([, text]) => text as string);
    throw this.refusal(field, 'an object of texts with the keys "0", "1", …');
  }

  /** Refuses fields other than these. */
  only(fields: readonly string[]): void {
    const unknown = Object.keys(this.#json).find((field) => this.has(field) && !fields.includes(field));
    if (unknown !== undefined) {
      throw this.refusal(unknown, `none: known here are ${fields.join(", ")}`);
    }
  }

  /** A whole number that divides another one. */
  divisor(field: string, of: { field: string; value: number }, byDefault?: number): number {
    const value = this.positiveInteger(field, byDefault);
    if (of.value % value === 0) return value;
    throw this.refusal(field, `a divisor of ${of.field}, which is ${of.value}`);
  }

  /** The same config.json as if it had not these fields. */
  without(fields: readonly string[]): ConfigReader {
    const rest = Object.entries(this.#json).filter(([field]) => !fields.includes(field));
    return new ConfigReader(Object.fromEntries(rest), this.path, this.#prefix);
  }

  /** What to throw for a field. */
  refusal(field: string, expected: string): InputError {
    const given = field in this.#json ? describeJson(this.#json[field]) : "missing";
    return new InputError(`${this.path}: ${this.#prefix}${field} is ${given}, expected ${expected}`);
  }

  #valueOf(field: string, byDefault: unknown): unknown {
    return this.has(field) ? this.#json[field] : byDefault;
  }
}
