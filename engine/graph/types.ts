/**
 * Element types a value can have. `u8` is stored four to a `u32` word, so its
 * bytes are padded to a multiple of four.
 */
export type Dtype = "f32" | "f16" | "u32" | "i32" | "u8";

/** Bytes of one element. */
export const DTYPE_BYTES: Readonly<Record<Dtype, number>> = { f32: 4, f16: 2, u32: 4, i32: 4, u8: 1 };

/** Row-major extents. A scalar has the shape `[1]`. */
export type Shape = readonly number[];

/** What a byte of device memory is for. Every buffer, or range of one, is booked to exactly one role. */
export const ROLES = [
  "weights",
  "masterWeights",
  "gradients",
  "optimizer",
  "activations",
  "workspace",
  "inputs",
] as const;
/** One of `ROLES`. */
export type Role = typeof ROLES[number];

/** Bytes by role; every role is present. */
export type BytesByRole = Record<Role, number>;

/** A `BytesByRole` of zeros. */
export function zeroBytesByRole(): BytesByRole {
  return Object.fromEntries(ROLES.map((role) => [role, 0])) as BytesByRole;
}

/** Shape and element type; what shape inference computes. */
export interface TensorType {
  readonly shape: Shape;
  readonly dtype: Dtype;
}

/**
 * One tensor of a step. Persistent values live across steps and are shared
 * between graphs; transient ones live inside one.
 */
export interface Value extends TensorType {
  readonly id: number;
  /**
   * Unique for persistent values (`"transformer.h.0.ln_1.weight"`); for transient ones a hint for readers.
   */
  readonly name: string;
  readonly role: Role;
  readonly persistent: boolean;
  /**
   * The value whose storage this one reuses: an op that works in place returns its input under a new name.
   */
  readonly aliasOf?: Value;
}

/** Number of elements. */
export function elementCount({ shape }: { shape: Shape }): number {
  return shape.reduce((product, extent) => product * extent, 1);
}

/** Bytes of storage: whole words, so that every dtype can be bound as `array<u32>`. */
export function byteLength(type: TensorType): number {
  return Math.ceil((elementCount(type) * DTYPE_BYTES[type.dtype]) / 4) * 4;
}

/** The value that owns the storage of `value`. */
export function storageOf(value: Value): Value {
  while (value.aliasOf) value = value.aliasOf;
  return value;
}

/** `f32[4, 128]` */
export function typeText({ dtype, shape }: TensorType): string {
  return `${dtype}[${shape.join(", ")}]`;
}
