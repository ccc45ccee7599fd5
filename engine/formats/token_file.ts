import { extname } from "../host.ts";
import { InputError } from "../input_error.ts";
import { readInput } from "./input_file.ts";

/** File name endings that `parseTokens` knows. */
export const TOKEN_FILE_EXTENSIONS = [".u16", ".u32", ".npy"] as const;

/** Whether a file is a token file, by the ending of its name. */
export function isTokenFile(path: string): boolean {
  return (TOKEN_FILE_EXTENSIONS as readonly string[]).includes(extname(path).toLowerCase());
}

/** The token ids in a `.u16`, `.u32` or `.npy` file, as `parseTokens` reads them. */
export async function readTokenFile(path: string): Promise<Uint32Array<ArrayBuffer>> {
  return parseTokens(await readInput(path), path);
}

/**
 * Token ids from the bytes of a token file: raw little-endian for `.u16` and `.u32`; for `.npy` one dimension
 * of unsigned 8, 16 or 32-bit or signed 32 or 64-bit integers.
 *
 * @param path Decides the format by its ending and is named in errors.
 * @throws InputError when the file is empty, broken, of another dtype or shape,
 * or has an id that is not an u32.
 */
export function parseTokens(bytes: Uint8Array<ArrayBuffer>, path: string): Uint32Array<ArrayBuffer> {
  const tokens = readElements(bytes, path);
  if (tokens.length > 0) return tokens;
  throw new InputError(`Cannot read ${path}: it has no tokens`);
}

function readElements(bytes: Uint8Array<ArrayBuffer>, path: string): Uint32Array<ArrayBuffer> {
  switch (extname(path).toLowerCase()) {
    case ".u16":
      return convert(bytes, "<u2", path);
    case ".u32":
      return convert(bytes, "<u4", path);
    case ".npy": {
      const { dtype, elementCount, dataStart } = parseNpyHeader(bytes, path);
      const data = bytes.subarray(dataStart);
      const expectedBytes = elementCount * Number(dtype[2]);
      if (data.length === expectedBytes) return convert(data, dtype, path);
      throw new InputError(
        `Cannot read ${path}: it has ${data.length} bytes of data, but shape (${elementCount},) of ${dtype} has ${expectedBytes}`,
      );
    }
    default:
      throw new InputError(
        `Cannot read ${path} as tokens: expected a name ending in ${TOKEN_FILE_EXTENSIONS.join(", ")}`,
      );
  }
}

const NPY_DTYPES = ["|u1", "<u2", "<u4", "<i4", "<i8"] as const;
type NpyDtype = typeof NPY_DTYPES[number];

/** Widens little-endian integers of an npy dtype to u32. */
function convert(data: Uint8Array<ArrayBuffer>, dtype: NpyDtype, path: string): Uint32Array<ArrayBuffer> {
  const elementBytes = Number(dtype[2]);
  if (data.length % elementBytes !== 0) {
    throw new InputError(
      `Cannot read ${path}: its ${data.length} bytes are not a multiple of ${elementBytes}, the size of one token`,
    );
  }
  // Views must start at a multiple of the element size, which the header of an npy file need not respect.
  const { buffer, byteOffset } = data.byteOffset % elementBytes === 0 ? data : data.slice();
  const count = data.length / elementBytes;
  switch (dtype) {
    case "|u1":
      return Uint32Array.from(data);
    case "<u2":
      return new Uint32Array(new Uint16Array(buffer, byteOffset, count));
    case "<u4":
      return new Uint32Array(buffer, byteOffset, count);
    case "<i4":
      return nonNegative(new Int32Array(buffer, byteOffset, count), path);
    case "<i8":
      return lowWords(new BigInt64Array(buffer, byteOffset, count), path);
  }
  dtype satisfies never;
}

function nonNegative(ids: Int32Array<ArrayBuffer>, path: string): Uint32Array<ArrayBuffer> {
  const negative = ids.findIndex((id) => id < 0);
  if (negative >= 0) throw notATokenId(path, negative, ids[negative]);
  return new Uint32Array(ids.buffer, ids.byteOffset, ids.length);
}

/** Low halves of 64-bit integers whose high halves are zero: no BigInt per token. */
function lowWords(ids: BigInt64Array<ArrayBuffer>, path: string): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(ids.buffer, ids.byteOffset, 2 * ids.length);
  const tokens = new Uint32Array(ids.length);
  for (let i = 0; i < tokens.length; i++) {
    if (words[2 * i + 1] !== 0) throw notATokenId(path, i, ids[i]);
    tokens[i] = words[2 * i];
  }
  return tokens;
}

function notATokenId(path: string, position: number, id: number | bigint): InputError {
  return new InputError(
    `Cannot read ${path}: token ${position} is ${id}, expected a whole number from 0 to 4294967295`,
  );
}

/**
 * Source: the npy format,
 * https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html, versions 1.0 and 2.0.
 */
function parseNpyHeader(
  bytes: Uint8Array<ArrayBuffer>,
  path: string,
): { dtype: NpyDtype; elementCount: number; dataStart: number } {
  const refuse = (problem: string) => new InputError(`Cannot read ${path}: ${problem}`);
  if (String.fromCharCode(...bytes.subarray(0, 6)) !== "\x93NUMPY") {
    throw refuse("it does not start with the npy magic bytes 93 4e 55 4d 50 59");
  }
  const [major, minor] = bytes.subarray(6, 8);
  if ((major !== 1 && major !== 2) || minor !== 0) {
    throw refuse(`it is npy version ${major}.${minor}, expected 1.0 or 2.0`);
  }
  const headerStart = major === 1 ? 10 : 12;
  if (bytes.length < headerStart) throw refuse(`the npy header is cut off after ${bytes.length} bytes`);
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const dataStart = headerStart + (major === 1 ? view.getUint16(8, true) : view.getUint32(8, true));
  if (dataStart > bytes.length) {
    throw refuse(`the npy header ends at byte ${dataStart}, but the file has ${bytes.length} bytes`);
  }
  const header = new TextDecoder("latin1").decode(bytes.subarray(headerStart, dataStart)).trim();
  // A Python dictionary literal, such as {'descr': '<u2', 'fortran_order': False, 'shape': (1000,), }
  const dtype = /'descr': *'([^']*)'/.exec(header)?.[1];
  if (!(NPY_DTYPES as readonly (string | undefined)[]).includes(dtype)) {
    throw refuse(
      `its dtype is ${dtype ?? `not in the npy header ${header}`}, expected one of ${NPY_DTYPES.join(", ")}`,
    );
  }
  if (!/'fortran_order': *False/.test(header)) {
    throw refuse(`expected 'fortran_order': False in the npy header ${header}`);
  }
  const shape = /'shape': *\(([^)]*)\)/.exec(header)?.[1];
  const elementCount = /^ *(\d+) *, *$/.exec(shape ?? "")?.[1];
  if (elementCount === undefined) {
    throw refuse(`its shape is (${shape ?? "missing"}), expected one dimension`);
  }
  return { dtype: dtype as NpyDtype, elementCount: Number(elementCount), dataStart };
}
