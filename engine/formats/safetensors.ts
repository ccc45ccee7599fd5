// safetensors files, https://github.com/huggingface/safetensors#format:
//
//   8 bytes   length of the header, u64 little-endian
//   header    JSON: {"<name>": {"dtype", "shape", "data_offsets": [begin, end]},
//             ..., "__metadata__": {string: string}}
//   data      the tensors, row-major and little-endian, without holes; offsets
//             count from the start of this part
//
// Typed arrays have the byte order of the machine. Every machine that Deno runs
// on is little-endian, as the file is.

import { dirname, join } from "../host.ts";
import { InputError } from "../input_error.ts";
import { widenBfloat16, widenFloat16 } from "./float16.ts";
import { decodeUtf8, inputExists, InputFile, listInputs, readJsonInput } from "./input_file.ts";
import { describeJson, isJsonObject, parseJsonObject } from "./json.ts";
import { writeFileAtomically } from "./output_file.ts";

const BYTES_PER_ELEMENT = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
  U16: 2,
  I16: 2,
  F16: 2,
  BF16: 2,
  U32: 4,
  I32: 4,
  F32: 4,
  U64: 8,
  I64: 8,
  F64: 8,
} as const;

/** Element type of a stored tensor, spelled as in the file. */
export type StoredDtype = keyof typeof BYTES_PER_ELEMENT;

/**
 * The same limit as the reference implementation: a header is read into memory
 * before anything in it is known.
 */
const MAX_HEADER_BYTES = 100_000_000;

/** Bytes of a tensor that are in memory besides its destination while it is read. */
const CHUNK_BYTES = 4 * 1024 * 1024;

/** What a file says about one tensor. */
export interface TensorInfo {
  readonly name: string;
  readonly dtype: StoredDtype;
  /** Row-major; `[]` is a scalar. */
  readonly shape: readonly number[];
  readonly elementCount: number;
  /** The file that holds the tensor: for a sharded checkpoint, the shard. */
  readonly path: string;
  /** Position of the first byte in that file. */
  readonly byteOffset: number;
  readonly byteLength: number;
}

/** Part of a tensor along its first dimension. */
export interface RowRange {
  readonly firstRow: number;
  readonly rowCount: number;
}

/** Consecutive elements of a tensor; `values` is only valid until the next chunk is asked for. */
export interface TensorChunk {
  /** Index of `values[0]` in the tensor, or in the rows that were asked for. */
  readonly firstElement: number;
  readonly values: Float32Array<ArrayBuffer>;
}

/**
 * Named tensors in one file or in many. Nothing is read before it is asked for.
 * All methods that take a name throw InputError when there is no such tensor, and
 * those that convert to f32 throw it for integers and 8-bit floats.
 */
export interface TensorSource extends Disposable {
  /** The file or the index that was opened. */
  readonly path: string;
  /** Text that the writer of the file left in it, such as `format: "pt"`. */
  readonly metadata: Readonly<Record<string, string>>;
  names(): string[];
  has(name: string): boolean;
  info(name: string): TensorInfo;
  /** Converts a tensor, or some rows of it, to f32 in a new array. */
  read(name: string, rows?: RowRange): Promise<Float32Array<ArrayBuffer>>;
  /**
   * Converts a tensor, or some rows of it, to f32 into `target`, whose length
   * must be theirs (else RangeError).
   */
  readInto(name: string, target: Float32Array, rows?: RowRange): Promise<void>;
  /**
   * Converts a tensor, or some rows of it, to f32 piece by piece: never more than
   * `chunkBytes` of f32 in memory.
   */
  chunks(name: string, options?: { chunkBytes?: number; rows?: RowRange }): AsyncGenerator<TensorChunk>;
  /** A tensor of any dtype, or some rows of it, as the bytes in the file. */
  readBytes(name: string, rows?: RowRange): Promise<Uint8Array<ArrayBuffer>>;
  close(): void;
}

/**
 * A tensor to be written. `data` is called when its turn comes, so that only one tensor need be in memory.
 */
export interface TensorToWrite {
  readonly name: string;
  readonly dtype: StoredDtype;
  readonly shape: readonly number[];
  /**
   * The elements in the stored dtype, row-major: a `Float32Array` for F32, a `Uint16Array` of bits for F16.
   */
  readonly data: () => ArrayBufferView | Promise<ArrayBufferView>;
}

/**
 * Opens the weights of a model folder: `model.safetensors`, else the shards of
 * `model.safetensors.index.json`, else the only other safetensors file in it.
 * Null when the folder has no weights at all.
 *
 * @throws InputError when the folder or its files cannot be read, when it is not
 * clear which files are the weights, and when the weights are in a format other
 * than safetensors, rather than to let a model start from random ones.
 */
export async function openWeights(folder: string): Promise<TensorSource | null> {
  const names = await listInputs(folder);
  if (names.includes("model.safetensors")) return openSafetensors(join(folder, "model.safetensors"));
  if (names.includes(INDEX_NAME)) return openSharded(join(folder, INDEX_NAME));
  const candidates = names.filter((name) =>
    name.endsWith(".safetensors") && name !== "adapter_model.safetensors"
  );
  const shard = candidates.find((name) => /-\d+-of-\d+\.safetensors$/.test(name));
  if (candidates.length > 1 || shard !== undefined) {
    throw new InputError(
      `Cannot read the weights in ${folder}: expected model.safetensors or ${INDEX_NAME} beside ${
        candidates.join(", ")
      }`,
    );
  }
  if (candidates.length === 1) return openSafetensors(join(folder, candidates[0]));
  const foreign = names.find((name) => FOREIGN_WEIGHTS.test(name));
  if (foreign === undefined) return null;
  throw new InputError(
    `Cannot read the weights in ${join(folder, foreign)}: expected safetensors; convert them first`,
  );
}

/** Says which shard holds which tensor. */
export const INDEX_NAME = "model.safetensors.index.json";

/** Weights in formats other than safetensors. */
export const FOREIGN_WEIGHTS =
  /^pytorch_model.*\.bin|^consolidated.*\.pth$|\.gguf$|^tf_model\.h5$|^flax_model\.msgpack$/;

/** Opens one safetensors file and checks its header; throws InputError when the file is broken. */
export async function openSafetensors(path: string): Promise<TensorSource> {
  const file = await InputFile.open(path);
  try {
    const { tensors, metadata } = await readHeader(file);
    return new SafetensorsFile(file, tensors, metadata);
  } catch (error) {
    file.close();
    throw error;
  }
}

/**
 * Opens the shards that a `model.safetensors.index.json` names as if they were one file. The index decides: a
 * tensor that is in a shard but not in the index does not exist.
 *
 * @throws InputError when the index or a shard is broken, a shard is missing or lies outside the folder of
 * the index, or a shard lacks a tensor that the index places in it.
 */
export async function openSharded(indexPath: string): Promise<TensorSource> {
  const index = await readJsonInput(indexPath);
  const shardOfTensor = parseWeightMap(index.weight_map, indexPath);
  const shards = new Map<string, TensorSource>();
  try {
    for (const [name, shardName] of shardOfTensor) {
      if (!shards.has(shardName)) shards.set(shardName, await openShard(indexPath, shardName, name));
      if (!shards.get(shardName)!.has(name)) {
        throw new InputError(
          `Cannot read ${indexPath}: tensor "${name}" is not in ${shardName}, where the index places it`,
        );
      }
    }
  } catch (error) {
    for (const shard of shards.values()) shard.close();
    throw error;
  }
  const sources = new Map([...shardOfTensor].map(([name, shardName]) => [name, shards.get(shardName)!]));
  return new ShardedSafetensors(indexPath, sources);
}

async function openShard(indexPath: string, shardName: string, tensorName: string): Promise<TensorSource> {
  const path = join(dirname(indexPath), shardName);
  if (await inputExists(path)) return openSafetensors(path);
  throw new InputError(
    `Cannot read ${indexPath}: shard ${shardName}, which holds tensor "${tensorName}", does not exist`,
  );
}

/** The files that the object of an index names. @throws {InputError} for one that is no plain file name. */
export function shardNames(index: Readonly<Record<string, unknown>>, indexPath: string): string[] {
  return [...new Set(parseWeightMap(index.weight_map, indexPath).values())];
}

function parseWeightMap(weightMap: unknown, indexPath: string): Map<string, string> {
  if (!isJsonObject(weightMap)) {
    throw new InputError(
      `Cannot read ${indexPath}: expected an object in weight_map, got ${describeJson(weightMap)}`,
    );
  }
  const shardOfTensor = new Map<string, string>();
  for (const [name, shardName] of Object.entries(weightMap)) {
    // Only a plain file name cannot leave the folder; the backslash is a
    // separator on Windows, the colon names a drive.
    if (typeof shardName !== "string" || !/^[^/\\:\0]+$/.test(shardName) || /^\.+$/.test(shardName)) {
      throw new InputError(
        `Cannot read ${indexPath}: tensor "${name}" is in ${describeJson(shardName)}, ` +
          "expected the name of a file in the same folder",
      );
    }
    shardOfTensor.set(name, shardName);
  }
  if (shardOfTensor.size === 0) throw new InputError(`Cannot read ${indexPath}: weight_map names no tensors`);
  return shardOfTensor;
}

/**
 * Writes a safetensors file, complete or not at all. Wider dtypes come first, so that every tensor is aligned
 * to its elements as readers that map the file expect; otherwise the order is the one given.
 *
 * @throws RangeError when two tensors have one name or data has other bytes than its dtype and shape say.
 */
export async function writeSafetensors(
  path: string,
  tensors: readonly TensorToWrite[],
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  const ordered = tensors.toSorted((a, b) => BYTES_PER_ELEMENT[b.dtype] - BYTES_PER_ELEMENT[a.dtype]);
  const header = encodeHeader(ordered, metadata);
  await writeFileAtomically(path, async (append) => {
    await append(header);
    for (const tensor of ordered) {
      const { buffer, byteOffset, byteLength } = await tensor.data();
      const expectedBytes = storedBytes(tensor.dtype, tensor.shape);
      if (byteLength !== expectedBytes) {
        throw new RangeError(
          `Cannot write ${path}: tensor "${tensor.name}" has ${byteLength} bytes of data, ` +
            `but shape [${tensor.shape}] of ${tensor.dtype} has ${expectedBytes}`,
        );
      }
      await append(new Uint8Array(buffer, byteOffset, byteLength));
    }
  });
}

/** The length field and the header, padded with spaces so that the data starts at a multiple of 8 bytes. */
function encodeHeader(
  tensors: readonly TensorToWrite[],
  metadata: Readonly<Record<string, string>>,
): Uint8Array {
  const entries: [string, unknown][] = Object.keys(metadata).length > 0 ? [["__metadata__", metadata]] : [];
  const seen = new Set(["__metadata__"]);
  let begin = 0;
  for (const { name, dtype, shape } of tensors) {
    if (seen.has(name)) throw new RangeError(`Cannot write two tensors named "${name}" to one file`);
    seen.add(name);
    const end = begin + storedBytes(dtype, shape);
    entries.push([name, { dtype, shape, data_offsets: [begin, end] }]);
    begin = end;
  }
  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries(entries)));
  const paddedLength = Math.ceil(json.length / 8) * 8;
  const header = new Uint8Array(8 + paddedLength).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(paddedLength), true);
  header.set(json, 8);
  return header;
}

function storedBytes(dtype: StoredDtype, shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, BYTES_PER_ELEMENT[dtype]);
}

interface Header {
  tensors: Map<string, TensorInfo>;
  metadata: Record<string, string>;
}

async function readHeader(file: InputFile): Promise<Header> {
  const { path, byteLength } = file;
  if (byteLength < 8) {
    throw new InputError(
      `Cannot read ${path}: ${byteLength} bytes are too few for a safetensors file, expected at least 8`,
    );
  }
  const lengthField = new Uint8Array(8);
  await file.readAt(0, lengthField);
  const headerBytes = new DataView(lengthField.buffer).getBigUint64(0, true);
  if (headerBytes > MAX_HEADER_BYTES) {
    throw new InputError(
      `Cannot read ${path}: the header length is ${headerBytes} bytes, expected at most ${MAX_HEADER_BYTES}; ` +
        "this is probably not a safetensors file",
    );
  }
  const dataStart = 8 + Number(headerBytes);
  if (dataStart > byteLength) {
    throw new InputError(
      `Cannot read ${path}: the header ends at byte ${dataStart}, but the file has ${byteLength} bytes; it is truncated`,
    );
  }
  const header = new Uint8Array(Number(headerBytes));
  await file.readAt(8, header);
  return parseHeader(decodeUtf8(header, `the header of ${path}`), path, dataStart, byteLength - dataStart);
}

function parseHeader(text: string, path: string, dataStart: number, dataBytes: number): Header {
  const { __metadata__: metadata = {}, ...entries } = parseJsonObject(text, `the header of ${path}`);
  if (!isJsonObject(metadata) || !Object.values(metadata).every((value) => typeof value === "string")) {
    throw new InputError(
      `Cannot read ${path}: expected only strings in __metadata__, got ${describeJson(metadata)}`,
    );
  }
  const infos = Object.entries(entries).map(([name, entry]) => parseTensorInfo(name, entry, path, dataStart));
  checkCoverage(infos, path, dataStart, dataBytes);
  return {
    tensors: new Map(infos.map((info) => [info.name, info])),
    metadata: metadata as Record<string, string>,
  };
}

function parseTensorInfo(name: string, entry: unknown, path: string, dataStart: number): TensorInfo {
  const refuse = (problem: string) => new InputError(`Cannot read ${path}: tensor "${name}" ${problem}`);
  if (!isJsonObject(entry)) {
    throw refuse(
      `is described by ${describeJson(entry)}, expected an object with dtype, shape and data_offsets`,
    );
  }
  const { dtype, shape, data_offsets: offsets } = entry;
  if (typeof dtype !== "string" || !Object.hasOwn(BYTES_PER_ELEMENT, dtype)) {
    throw refuse(
      `has dtype ${describeJson(dtype)}, expected one of ${Object.keys(BYTES_PER_ELEMENT).join(", ")}`,
    );
  }
  if (!isCounts(shape)) throw refuse(`has shape ${describeJson(shape)}, expected a list of whole numbers`);
  if (!isCounts(offsets) || offsets.length !== 2 || offsets[0] > offsets[1]) {
    throw refuse(
      `has data_offsets ${describeJson(offsets)}, expected [begin, end] with begin no larger than end`,
    );
  }
  const [begin, end] = offsets;
  const expectedBytes = storedBytes(dtype as StoredDtype, shape);
  if (end - begin !== expectedBytes) {
    throw refuse(`has ${end - begin} bytes of data, but shape [${shape}] of ${dtype} has ${expectedBytes}`);
  }
  return {
    name,
    dtype: dtype as StoredDtype,
    shape,
    elementCount: shape.reduce((product, size) => product * size, 1),
    path,
    byteOffset: dataStart + begin,
    byteLength: end - begin,
  };
}

function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && item >= 0);
}

/** Tensors must fill the data part of the file without holes and without sharing a byte. */
function checkCoverage(
  infos: readonly TensorInfo[],
  path: string,
  dataStart: number,
  dataBytes: number,
): void {
  // Empty tensors sort before the tensor that starts where they lie.
  const inOrder = infos.toSorted((a, b) => a.byteOffset - b.byteOffset || a.byteLength - b.byteLength);
  let covered = dataStart;
  for (const { name, byteOffset, byteLength } of inOrder) {
    if (byteOffset + byteLength > dataStart + dataBytes) {
      throw new InputError(
        `Cannot read ${path}: tensor "${name}" ends at byte ${byteOffset + byteLength}, ` +
          `but the file has ${dataStart + dataBytes} bytes; it is truncated`,
      );
    }
    if (byteOffset < covered) {
      throw new InputError(
        `Cannot read ${path}: tensor "${name}" overlaps the tensor before it by ${
          covered - byteOffset
        } bytes`,
      );
    }
    if (byteOffset > covered) {
      throw new InputError(
        `Cannot read ${path}: ${byteOffset - covered} bytes before tensor "${name}" belong to no tensor`,
      );
    }
    covered += byteLength;
  }
  if (covered < dataStart + dataBytes) {
    throw new InputError(
      `Cannot read ${path}: the last ${dataStart + dataBytes - covered} bytes belong to no tensor`,
    );
  }
}

/**
 * Buffers that one tensor after the other is read into: left to the garbage
 * collector, hundreds of megabytes would pile up.
 */
class BufferPool {
  readonly #free: ArrayBuffer[] = [];

  take(byteLength: number): ArrayBuffer {
    const found = this.#free.findIndex((buffer) => buffer.byteLength === byteLength);
    return found === -1 ? new ArrayBuffer(byteLength) : this.#free.splice(found, 1)[0];
  }

  give(buffer: ArrayBuffer): void {
    // Small ones differ from tensor to tensor; a few of the usual size are enough.
    if (buffer.byteLength >= CHUNK_BYTES / 2 && this.#free.length < 3) this.#free.push(buffer);
  }
}

class SafetensorsFile implements TensorSource {
  readonly metadata: Readonly<Record<string, string>>;
  readonly #buffers = new BufferPool();
  #file: InputFile;
  #tensors: Map<string, TensorInfo>;

  constructor(file: InputFile, tensors: Map<string, TensorInfo>, metadata: Readonly<Record<string, string>>) {
    this.#file = file;
    this.#tensors = tensors;
    this.metadata = metadata;
  }

  get path(): string {
    return this.#file.path;
  }

  names(): string[] {
    return [...this.#tensors.keys()];
  }

  has(name: string): boolean {
    return this.#tensors.has(name);
  }

  info(name: string): TensorInfo {
    return this.#tensors.get(name) ?? missing(name, this);
  }

  async read(name: string, rows?: RowRange): Promise<Float32Array<ArrayBuffer>> {
    const target = new Float32Array(selectRows(this.info(name), rows).elementCount);
    await this.readInto(name, target, rows);
    return target;
  }

  async readInto(name: string, target: Float32Array, rows?: RowRange): Promise<void> {
    const info = this.info(name);
    const { byteOffset, elementCount } = selectRows(info, rows);
    if (target.length !== elementCount) {
      throw new RangeError(
        `Cannot read tensor "${name}" into ${target.length} elements: it has ${elementCount}`,
      );
    }
    await this.#convert(info, byteOffset, target);
  }

  async *chunks(
    name: string,
    options: { chunkBytes?: number; rows?: RowRange } = {},
  ): AsyncGenerator<TensorChunk> {
    const { chunkBytes = CHUNK_BYTES, rows } = options;
    const info = this.info(name);
    const { byteOffset, elementCount } = selectRows(info, rows);
    const widen = this.#widener(info);
    const elementBytes = BYTES_PER_ELEMENT[info.dtype];
    const perChunk = Math.min(elementCount, Math.max(1, Math.floor(chunkBytes / 4)));
    // Two buffers: the next piece is read while the caller is busy with this one.
    const buffers = [0, 1].map(() => this.#buffers.take(perChunk * elementBytes));
    const widened = widen && this.#buffers.take(perChunk * 4);
    const readPiece = (firstElement: number, buffer: ArrayBuffer) => {
      const count = Math.min(perChunk, elementCount - firstElement);
      const read = this.#file.readAt(
        byteOffset + firstElement * elementBytes,
        new Uint8Array(buffer, 0, count * elementBytes),
      );
      read.catch(() => {}); // thrown where it is awaited, if it ever is
      return read;
    };
    let reading = elementCount > 0 ? readPiece(0, buffers[0]) : Promise.resolve();
    try {
      for (let first = 0, turn = 0; first < elementCount; first += perChunk, turn = 1 - turn) {
        await reading;
        const next = first + perChunk;
        if (next < elementCount) reading = readPiece(next, buffers[1 - turn]);
        const values = new Float32Array(
          widened ?? buffers[turn],
          0,
          Math.min(perChunk, elementCount - first),
        );
        widen?.(buffers[turn], values);
        yield { firstElement: first, values };
      }
    } finally {
      await reading.catch(() => {}); // it still writes into a buffer
      for (const buffer of [...buffers, ...widened ? [widened] : []]) this.#buffers.give(buffer);
    }
  }

  async readBytes(name: string, rows?: RowRange): Promise<Uint8Array<ArrayBuffer>> {
    const { byteOffset, byteLength } = selectRows(this.info(name), rows);
    const bytes = new Uint8Array(byteLength);
    await this.#file.readAt(byteOffset, bytes);
    return bytes;
  }

  close(): void {
    this.#file.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Reads `target.length` elements of a tensor, from a byte of the file on, as f32. */
  async #convert(info: TensorInfo, byteOffset: number, target: Float32Array): Promise<void> {
    const targetBytes = new Uint8Array(target.buffer, target.byteOffset, target.byteLength);
    const widen = this.#widener(info);
    if (widen === null) return await this.#file.readAt(byteOffset, targetBytes);
    const elementBytes = BYTES_PER_ELEMENT[info.dtype];
    const stored = new Uint8Array(Math.min(CHUNK_BYTES, target.length * elementBytes));
    for (let done = 0; done < target.length;) {
      const count = Math.min(target.length - done, stored.length / elementBytes);
      await this.#file.readAt(byteOffset + done * elementBytes, stored.subarray(0, count * elementBytes));
      widen(stored.buffer, target.subarray(done, done + count));
      done += count;
    }
  }

  /** How elements become f32; null where they are. */
  #widener({ name, dtype }: TensorInfo): Widen | null {
    const widen = dtype === "F32" ? null : WIDEN[dtype];
    if (widen !== undefined) return widen;
    throw new InputError(
      `Cannot read ${this.path}: tensor "${name}" is ${dtype}, expected F32, F16, BF16 or F64`,
    );
  }
}

type Widen = (stored: ArrayBuffer, target: Float32Array) => void;

/** Conversions to f32, from the start of a buffer, of as many elements as the target has. */
const WIDEN: Partial<Record<StoredDtype, Widen>> = {
  F16: (stored, target) => widenFloat16(new Uint16Array(stored, 0, target.length), bitsOf(target)),
  BF16: (stored, target) => widenBfloat16(new Uint16Array(stored, 0, target.length), bitsOf(target)),
  F64: (stored, target) => target.set(new Float64Array(stored, 0, target.length)),
};

function bitsOf({ buffer, byteOffset, length }: Float32Array): Uint32Array {
  return new Uint32Array(buffer, byteOffset, length);
}

/**
 * Where some rows of a tensor are in its file; all of it when `rows` is
 * undefined. Throws RangeError outside of it.
 */
function selectRows(
  info: TensorInfo,
  rows?: RowRange,
): { byteOffset: number; byteLength: number; elementCount: number } {
  if (rows === undefined) return info;
  const { firstRow, rowCount } = rows;
  const [rowTotal = 1, ...rest] = info.shape; // a scalar is one row
  if (!isCounts([firstRow, rowCount]) || firstRow + rowCount > rowTotal) {
    throw new RangeError(
      `Cannot read ${rowCount} rows from row ${firstRow} on of tensor "${info.name}": it has ${rowTotal} rows`,
    );
  }
  const rowElements = rest.reduce((product, size) => product * size, 1);
  const rowBytes = rowElements * BYTES_PER_ELEMENT[info.dtype];
  return {
    byteOffset: info.byteOffset + firstRow * rowBytes,
    byteLength: rowCount * rowBytes,
    elementCount: rowCount * rowElements,
  };
}

function missing(name: string, source: TensorSource): never {
  throw new InputError(
    `Cannot read ${source.path}: it has no tensor "${name}" among its ${source.names().length} tensors`,
  );
}

class ShardedSafetensors implements TensorSource {
  readonly path: string;
  readonly metadata: Readonly<Record<string, string>>;
  #sources: Map<string, TensorSource>;

  constructor(path: string, sources: Map<string, TensorSource>) {
    this.path = path;
    this.#sources = sources;
    this.metadata = [...sources.values()][0].metadata; // writers put the same text in every shard
  }

  names(): string[] {
    return [...this.#sources.keys()];
  }

  has(name: string): boolean {
    return this.#sources.has(name);
  }

  info(name: string): TensorInfo {
    return this.#source(name).info(name);
  }

  async read(name: string, rows?: RowRange): Promise<Float32Array<ArrayBuffer>> {
    return await this.#source(name).read(name, rows);
  }

  async readInto(name: string, target: Float32Array, rows?: RowRange): Promise<void> {
    await this.#source(name).readInto(name, target, rows);
  }

  async *chunks(
    name: string,
    options?: { chunkBytes?: number; rows?: RowRange },
  ): AsyncGenerator<TensorChunk> {
    yield* this.#source(name).chunks(name, options);
  }

  async readBytes(name: string, rows?: RowRange): Promise<Uint8Array<ArrayBuffer>> {
    return await this.#source(name).readBytes(name, rows);
  }

  close(): void {
    for (const source of new Set(this.#sources.values())) source.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #source(name: string): TensorSource {
    return this.#sources.get(name) ?? missing(name, this);
  }
}
