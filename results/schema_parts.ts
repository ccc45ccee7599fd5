import { type Static, type TSchema, Type } from "typebox";

// Titles say what is expected in the words of messages, where the rule itself does not read well.

/** Id of a cell. */
export const cellId = (description?: string) =>
  Type.String({ pattern: "^[0-9a-f]{12}$", title: "twelve hex digits", description });

/** A schema or null. */
export function orNull<T extends TSchema>(schema: T, description?: string) {
  return Type.Union([schema, Type.Null()], { description });
}

/** An object of any keys with values of one kind. */
export function mapOf<T extends TSchema>(values: T, description?: string) {
  return Type.Unsafe<Record<string, Static<T>>>({
    type: "object",
    additionalProperties: values,
    description,
  });
}

/** A whole number from `minimum` to `maximum`. */
export const whole = (minimum: number, maximum?: number) => Type.Integer({ minimum, maximum });
/** A number from `minimum` to `maximum`. */
export const number = (minimum: number, maximum?: number) => Type.Number({ minimum, maximum });
/** A number above `exclusiveMinimum`. */
export const above = (exclusiveMinimum: number) => Type.Number({ exclusiveMinimum });

/** What of a schema of one value says which are taken. */
export interface ValueRule {
  readonly type?: string | readonly string[];
  readonly minimum?: number;
  readonly exclusiveMinimum?: number;
  readonly maximum?: number;
  readonly enum?: readonly unknown[];
  readonly pattern?: string;
  readonly title?: string;
  /** Values that may have been meant. */
  readonly examples?: readonly string[];
}

/** `a whole number of at least 1` */
export function numberWords({ type, minimum, exclusiveMinimum: below, maximum }: ValueRule): string {
  const kind = [type].flat().includes("integer") ? "a whole number" : "a number";
  if (below !== undefined && maximum === undefined) return `${kind} above ${below}`;
  const least = minimum ?? below;
  if (least === undefined) return maximum === undefined ? kind : `${kind} of at most ${maximum}`;
  return maximum === undefined ? `${kind} of at least ${least}` : `${kind} from ${least} to ${maximum}`;
}
