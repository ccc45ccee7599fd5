import { type Dtype, DTYPE_BYTES } from "../engine/graph/types.ts";

/** Elements that a kernel takes at once. */
export type StorageWidth = 1 | 4 | 8;

/**
 * How elements of a type lie in a buffer, and how kernels, which compute in f32, get at them. The one place
 * that a new form of storage is declared in: products, flash attention, row and
 * elementwise kernels take it from here.
 */
export interface StorageForm {
  /** Bytes of an element. */
  bytes: number;
  /** WGSL type of what `width` elements are bound as. @throws {TypeError} where so few cannot be bound. */
  element(width: StorageWidth): string;
  /** WGSL of one element as `f32`, or four as `vec4<f32>`, from an expression of their binding. */
  load(stored: string, width: 1 | 4): string;
  /** WGSL of what is stored of an `f32` or a `vec4<f32>`. */
  store(value: string, width: 1 | 4): string;
  /**
   * WGSL of four elements from a `vec4<u32>`, or of two bytes each from a `vec2<u32>`: as copies have them.
   */
  ofWords(words: string): string;
  /** WGSL of functions that these texts call; it goes into a kernel once. */
  wgsl: string;
}

const UNPACK_HALVES = `fn unpackHalves(words: vec2<u32>) -> vec4<f32> {
  return vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y));
}
`;

const vector = (width: StorageWidth, type: string) => width === 1 ? type : `vec4<${type}>`;

const F32: StorageForm = {
  bytes: 4,
  element: (width) => vector(width, "f32"),
  load: (stored) => stored,
  store: (value) => value,
  ofWords: (words) => `bitcast<vec4<f32>>(${words})`,
  wgsl: "",
};

const F16: StorageForm = {
  bytes: 2,
  element: (width) => vector(width, "f16"),
  load: (stored, width) => `${vector(width, "f32")}(${stored})`,
  store: (value, width) => `${vector(width, "f16")}(${value})`,
  ofWords: (words) => `unpackHalves(${words})`,
  wgsl: UNPACK_HALVES,
};

/**
 * f16 bound as words and taken apart in registers, where they are read in fours: NVIDIA's compiler loads the
 * halves of a vector one by one.
 */
export const HALF_WORDS: StorageForm = {
  ...F16,
  element: (width) => width === 1 ? "f16" : `vec${width / 2}<u32>`,
  load: (stored, width) => width === 1 ? `f32(${stored})` : `unpackHalves(${stored})`,
};

const STORAGES = new Map<string, StorageForm>([["f32", F32], ["f16", F16]]);

/** How a type is stored. @throws {TypeError} for one that kernels do not compute with. */
export function storageFormOf(dtype: string): StorageForm {
  const storage = STORAGES.get(dtype);
  if (storage) return storage;
  throw new TypeError(`Cannot compute with ${dtype}: expected ${[...STORAGES.keys()].join(" or ")}`);
}

/** Whether kernels compute with values of a type. */
export function isStored(dtype: string): boolean {
  return STORAGES.has(dtype);
}

/** Adds a form of storage under the name of its type. */
export function declareStorage(dtype: string, storage: StorageForm): void {
  STORAGES.set(dtype, storage);
  (DTYPE_BYTES as Record<string, number>)[dtype as Dtype] = storage.bytes;
}

/** WGSL of the functions that some storages call, each once. */
export function storageWgsl(storages: Iterable<StorageForm>): string {
  return [...new Set([...storages].map(({ wgsl }) => wgsl))].join("");
}
