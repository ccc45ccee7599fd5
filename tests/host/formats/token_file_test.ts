import assert from "node:assert/strict";
import { isTokenFile, parseTokens, readTokenFile } from "../../../engine/formats/token_file.ts";
import { assertInputError, fixture, TemporaryFolder } from "./temporary_folder.ts";

const IDS = [0, 1, 255, 50256, 2 ** 31 - 1];

/** An npy file with a given header text. */
function npy(header: string, data: Uint8Array, version = [1, 0]): Uint8Array<ArrayBuffer> {
  const lengthBytes = version[0] === 1 ? [header.length & 255, header.length >> 8] : [header.length, 0, 0, 0];
  return Uint8Array.of(
    0x93,
    ...new TextEncoder().encode("NUMPY"),
    ...version,
    ...lengthBytes,
    ...new TextEncoder().encode(header),
    ...data,
  );
}

function header(dtype: string, count: number, order = "False"): string {
  return `{'descr': '${dtype}', 'fortran_order': ${order}, 'shape': (${count},), }\n`;
}

Deno.test("npy files that NumPy wrote are read", async () => {
  for (
    const [name, count] of [["u1", 3], ["u2", 4], ["u4", 5], ["i4", 5], ["i8", 5], ["version2", 5]] as const
  ) {
    assert.deepEqual([...await readTokenFile(fixture(`${name}.npy`))], IDS.slice(0, count), name);
  }
});

Deno.test("raw files are read as little-endian integers", async () => {
  using folder = new TemporaryFolder();
  const bytes = Uint8Array.of(1, 0, 0x50, 0xc4, 0xff, 0xff, 0xff, 0xff);
  assert.deepEqual([...await readTokenFile(folder.file("a.u16", bytes))], [1, 50256, 65535, 65535]);
  assert.deepEqual([...await readTokenFile(folder.file("a.u32", bytes))], [0xc4500001, 0xffffffff]);
});

Deno.test("npy data that does not start at a multiple of the element size is read", () => {
  for (let padding = 0; padding < 8; padding++) {
    const file = npy(header("<u4", 1) + " ".repeat(padding), Uint8Array.of(1, 2, 0, 0));
    assert.deepEqual([...parseTokens(file, "x.npy")], [513]);
  }
});

Deno.test("broken raw files are refused", async () => {
  using folder = new TemporaryFolder();
  await assertInputError(() => parseTokens(new Uint8Array(3), "x.u16"), "x.u16", "3 bytes", "multiple of 2");
  await assertInputError(() => parseTokens(new Uint8Array(6), "x.u32"), "x.u32", "6 bytes", "multiple of 4");
  await assertInputError(() => parseTokens(new Uint8Array(0), "x.u16"), "x.u16", "no tokens");
  await assertInputError(() => parseTokens(new Uint8Array(4), "x.u64"), "x.u64", ".u16, .u32, .npy");
  await assertInputError(() => readTokenFile(folder.file("none.u16")), "none.u16", "no such file");
});

Deno.test("broken npy files are refused", async () => {
  const refused = (bytes: Uint8Array<ArrayBuffer>, ...parts: string[]) =>
    assertInputError(() => parseTokens(bytes, "x.npy"), "x.npy", ...parts);
  const two = Uint8Array.of(1, 0, 2, 0);
  await refused(new Uint8Array(0), "magic");
  await refused(Uint8Array.from(two), "magic");
  await refused(npy(header("<u2", 2), two, [3, 0]), "version 3.0");
  await refused(npy(header("<u2", 2), two).slice(0, 9), "cut off after 9 bytes");
  await refused(npy(header("<u2", 2), two).slice(0, 40), "the npy header ends at byte", "40 bytes");
  await refused(npy(header("<u2", 3), two), "4 bytes of data, but shape (3,) of <u2 has 6");
  await refused(npy(header("<u2", 1), two), "4 bytes of data, but shape (1,) of <u2 has 2");
  await refused(npy(header("<u2", 0), new Uint8Array(0)), "no tokens");
  await refused(npy(header(">u2", 2), two), "dtype is >u2", "<u2");
  await refused(npy(header("<f4", 1), two), "dtype is <f4");
  await refused(npy(header("<u2", 2, "True"), two), "fortran_order");
  await refused(npy("{'descr': '<u2', 'fortran_order': False, 'shape': (2, 1), }", two), "shape is (2, 1)");
  await refused(npy("{'descr': '<u2', 'fortran_order': False, 'shape': (), }", two), "shape is ()");
  await refused(npy("garbage", two), "not in the npy header");
  await refused(npy(header("<i4", 2), Uint8Array.of(0, 0, 0, 0, 255, 255, 255, 255)), "token 1 is -1");
  await refused(npy(header("<i8", 1), Uint8Array.of(0, 0, 0, 0, 1, 0, 0, 0)), "token 0 is 4294967296");
  await refused(npy(header("<i8", 1), new Uint8Array(8).fill(255)), "token 0 is -1");
});

Deno.test("isTokenFile() goes by the ending of the name", () => {
  assert.deepEqual(["a.u16", "b.x.u32", "c.npy"].map(isTokenFile), [true, true, true]);
  assert.deepEqual(["u16", "a.txt", "a.npy.txt", "a.u8"].map(isTokenFile), [false, false, false, false]);
});
