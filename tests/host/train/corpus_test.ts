import assert from "node:assert/strict";
import { CORPUS_NAMES, loadData, type TextData, type TokenData } from "../../../engine/train/corpus.ts";
import { assertInputError, TemporaryFolder } from "../formats/temporary_folder.ts";

Deno.test("the named corpora are these texts: their hashes must never change", async () => {
  assert.deepEqual(CORPUS_NAMES, ["moby-dick", "sotu", "sotu-party", "random"]);
  const [moby, sotu] = await Promise.all(CORPUS_NAMES.map((name) => loadData(name))) as TextData[];
  assert.deepEqual([moby.name, moby.sha256], [
    "moby-dick",
    "0af9935b7dafb3ff9372c56280169829e57de675829b6697f902d9331a136114",
  ]);
  assert.deepEqual([sotu.name, sotu.sha256], [
    "sotu",
    "8e921654c8b7ca3aac1c511fc3b14e09920d3383c2a1f99256c0c0e68dabe01d",
  ]);
  assert.ok(moby.text.includes("\n\nCall me Ishmael. Some years ago—never mind how long precisely"));
});

Deno.test("a text file is taken as it is, a byte order mark and all line ends included", async () => {
  using folder = new TemporaryFolder();
  const data = await loadData(folder.file("a.txt", "\ufeffone\r\ntwo\n")) as TextData;
  assert.deepEqual([data.kind, data.name, data.text], ["text", "a.txt", "\ufeffone\r\ntwo\n"]);
  assert.equal(
    (await loadData(folder.file("b", "abc")) as TextData).sha256,
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
  );
});

Deno.test("a token file is loaded as tokens, with the hash of the file", async () => {
  using folder = new TemporaryFolder();
  const data = await loadData(folder.file("a.u16", Uint8Array.of(0x61, 0x62, 0x63, 0))) as TokenData;
  assert.deepEqual([data.kind, data.name], ["tokens", "a.u16"]);
  assert.deepEqual([...data.tokens], [0x6261, 0x63]);
  assert.equal(data.sha256, "dc1114cd074914bd872cc1f9a23ec910ea2203bc79779ab2e17da25782a624fc");
});

Deno.test("bytes that are not UTF-8 are refused with their position", async () => {
  using folder = new TemporaryFolder();
  const refused = (bytes: number[], ...parts: string[]) =>
    assertInputError(() => loadData(folder.file("a.txt", Uint8Array.from(bytes))), "a.txt", ...parts);
  await refused([0xff], "byte 0 (0xff)");
  await refused([97, 0xc3, 0xa9, 0x80], "byte 3 (0x80)");
  // a genuine U+FFFD and a whale first
  await refused([0xef, 0xbf, 0xbd, 0xf0, 0x9f, 0x90, 0x8b, 0xc3], "byte 7 (0xc3)");
  await refused([97, 0xed, 0xa0, 0x80], "byte 1 (0xed)"); // half a surrogate pair
  await refused([0xef, 0xbb, 0xbf, 0xc0, 0xaf], "byte 3 (0xc0)"); // an overlong form after a byte order mark
});

Deno.test("files of other formats are refused by their names, with what to do", async () => {
  using folder = new TemporaryFolder();
  const refused = (name: string, ...parts: string[]) =>
    assertInputError(() => loadData(folder.file(name, "id,text\n1,one\n")), name, ...parts);
  await refused("a.csv", ".jsonl or .parquet");
  await refused("a.TSV", ".jsonl or .parquet");
  await refused("train.bin", "rename it to .u16", "nanoGPT");
  await refused("a.arrow", ".parquet");
  for (const ending of ["zip", "gz", "tgz", "bz2", "xz", "zst", "7z", "tar", "txt.gz", "jsonl.zst"]) {
    await refused(`a.${ending}`, "unpack it first");
  }
  for (const ending of ["pkl", "pt", "npz", "xlsx", "sqlite", "pdf", "safetensors"]) {
    await refused(`a.${ending}`);
  }
  // Any other ending is a text's, and none.
  for (const name of ["a.md", "a.py", "a.html", "csv", "a.csv.txt"]) {
    assert.equal((await loadData(folder.file(name, "id,text\n"))).kind, "text", name);
  }
  assert.equal((await loadData(folder.file("a.U16", Uint8Array.of(1, 0)))).kind, "tokens");
});

Deno.test("control characters that no text has are refused with their position", async () => {
  using folder = new TemporaryFolder();
  const load = (text: string) => loadData(folder.file("a.txt", text));
  for (let code = 0; code < 0x20; code++) {
    const text = `é\t\n\f\r${String.fromCharCode(code)}\x7f\x80`;
    if ("\t\n\f\r".includes(text[5])) {
      assert.equal((await load(text) as TextData).text, text);
    } else {
      const value = code.toString(16).padStart(2, "0");
      await assertInputError(() => load(text), "a.txt", `byte 6 is 0x${value}`, ".u16", "iconv");
    }
  }
  await assertInputError(() => load("a\0b\0"), "a.txt", "byte 1 is 0x00");
});

Deno.test("data that does not exist or is empty is refused with the names there are", async () => {
  using folder = new TemporaryFolder();
  await assertInputError(() => loadData("moby-duck"), "moby-duck", "moby-dick, sotu, sotu-party, random");
  await assertInputError(() => loadData("toString"), "toString", "moby-dick, sotu, sotu-party, random");
  await assertInputError(() => loadData(folder.file("a.txt", "")), "a.txt", "empty");
  await assertInputError(() => loadData(folder.file("a.u32", "")), "a.u32", "no tokens");
  await assertInputError(() => loadData(folder.path), folder.path);
});
