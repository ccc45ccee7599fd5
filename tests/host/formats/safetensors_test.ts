import assert from "node:assert/strict";
import {
  openSafetensors,
  openSharded,
  openWeights,
  type TensorSource,
  type TensorToWrite,
  writeSafetensors,
} from "../../../engine/formats/safetensors.ts";
import { assertInputError, fixture, TemporaryFolder } from "./temporary_folder.ts";

/** A file with a given header, as JSON text or as a value, and so many bytes of data. */
function encode(header: unknown, dataBytes: number, headerLength?: number): Uint8Array {
  const text = new TextEncoder().encode(typeof header === "string" ? header : JSON.stringify(header));
  const bytes = new Uint8Array(8 + text.length + dataBytes);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(headerLength ?? text.length), true);
  bytes.set(text, 8);
  return bytes;
}

function entry(begin: number, end: number, shape: unknown = [(end - begin) / 4], dtype: unknown = "F32") {
  return { dtype, shape, data_offsets: [begin, end] };
}

function floats(name: string, values: number[], shape = [values.length]): TensorToWrite {
  return { name, dtype: "F32", shape, data: () => Float32Array.from(values) };
}

async function assertRefused(bytes: Uint8Array, ...parts: string[]): Promise<void> {
  using folder = new TemporaryFolder();
  const path = folder.file("broken.safetensors", bytes);
  await assertInputError(() => openSafetensors(path), path, ...parts);
}

Deno.test("a file that safetensors wrote is read with the values torch converts it to", async () => {
  using source = await openSafetensors(fixture("dtypes.safetensors"));
  assert.deepEqual({ ...source.metadata }, { format: "pt", note: "é" });
  for (const name of ["F32", "F16", "BF16", "F64", "matrix"]) {
    const values = await source.read(name);
    assert.deepEqual(values, await source.read(`${name}.f32`), name);
    assert.ok(values.length > 0);
  }
  assert.deepEqual([...await source.read("scalar")], [2.5]);
  assert.deepEqual(source.info("scalar").shape, []);
  assert.deepEqual([...await source.read("empty")], []);
  assert.deepEqual(source.info("empty").shape, [0, 3]);
});

Deno.test("integers are read as the bytes in the file", async () => {
  using source = await openSafetensors(fixture("dtypes.safetensors"));
  assert.deepEqual([...new Int32Array((await source.readBytes("I32")).buffer)], [0, 1, -1, 127, -128]);
  assert.equal(new BigInt64Array((await source.readBytes("I64")).buffer)[4], -128n * 2n ** 40n);
  assert.deepEqual([...await source.readBytes("U8")], [0, 200, 255]);
  assert.deepEqual([...await source.readBytes("BOOL")], [1, 0, 1]);
  await assertInputError(() => source.read("I32"), "I32", "expected F32, F16, BF16 or F64");
});

Deno.test("rows of a tensor are read without the others", async () => {
  using source = await openSafetensors(fixture("dtypes.safetensors"));
  const whole = await source.read("matrix.f32");
  assert.deepEqual(await source.read("matrix", { firstRow: 1, rowCount: 3 }), whole.slice(3, 12));
  assert.equal((await source.readBytes("matrix", { firstRow: 4, rowCount: 1 })).length, 6);
  assert.equal((await source.read("matrix", { firstRow: 5, rowCount: 0 })).length, 0);
  await assert.rejects(source.read("matrix", { firstRow: 4, rowCount: 2 }), RangeError);
  await assert.rejects(source.read("matrix", { firstRow: -1, rowCount: 2 }), RangeError);
});

Deno.test("chunks give all elements in order, for every dtype and chunk size", async () => {
  using source = await openSafetensors(fixture("dtypes.safetensors"));
  for (const name of ["F32", "F16", "BF16", "F64", "empty", "scalar"]) {
    const whole = await source.read(name);
    for (const chunkBytes of [4, 28, 1 << 20]) {
      const joined = new Float32Array(whole.length);
      for await (const { firstElement, values } of source.chunks(name, { chunkBytes })) {
        assert.ok(values.byteLength <= chunkBytes);
        joined.set(values, firstElement);
      }
      assert.deepEqual(joined, whole);
    }
  }
});

Deno.test("a tensor larger than the internal buffer is converted completely", async () => {
  using folder = new TemporaryFolder();
  // 6 MB, buffer 4 MiB; finite and positive
  const bits = Uint16Array.from({ length: 3_000_001 }, (_, i) => i % 0x7c00);
  const path = folder.file("large.safetensors");
  await writeSafetensors(path, [{ name: "x", dtype: "F16", shape: [bits.length], data: () => bits }]);
  using source = await openSafetensors(path);
  assert.deepEqual(await source.read("x"), Float32Array.from(new Float16Array(bits.buffer)));
});

Deno.test("reads that run at the same time do not disturb each other", async () => {
  using source = await openSafetensors(fixture("dtypes.safetensors"));
  const names = ["F32", "F16.f32", "F64", "BF16.f32", "matrix"];
  const alone = [];
  for (const name of names) alone.push(await source.read(name));
  assert.deepEqual(await Promise.all(names.map((name) => source.read(name))), alone);
});

Deno.test("reading into an array of the wrong length is a RangeError", async () => {
  using source = await openSafetensors(fixture("dtypes.safetensors"));
  await assert.rejects(source.readInto("F32", new Float32Array(6)), RangeError);
});

Deno.test("what is written is read back, aligned and with its metadata", async () => {
  using folder = new TemporaryFolder();
  const path = folder.file("model.safetensors");
  await writeSafetensors(path, [
    { name: "bytes", dtype: "U8", shape: [3], data: () => Uint8Array.of(1, 2, 3) },
    floats("a", [1, -2, 3.5, NaN, Infinity, -0], [2, 3]),
    { name: "wide", dtype: "F64", shape: [], data: () => Promise.resolve(Float64Array.of(0.5)) },
    floats('odd "name"\n\u0000', []),
  ], { format: "pt" });
  using source = await openSafetensors(path);
  assert.deepEqual(source.metadata, { format: "pt" });
  assert.deepEqual(source.names(), ["wide", "a", 'odd "name"\n\u0000', "bytes"]);
  assert.deepEqual(await source.read("a"), Float32Array.of(1, -2, 3.5, NaN, Infinity, -0));
  assert.deepEqual(await source.read("wide"), Float32Array.of(0.5));
  assert.deepEqual([...await source.readBytes("bytes")], [1, 2, 3]);
  for (const name of source.names()) assert.equal(source.info(name).byteOffset % 4, 0);
});

Deno.test("only one tensor at a time is asked for while writing", async () => {
  using folder = new TemporaryFolder();
  const events: string[] = [];
  const tensors = ["a", "b"].map((name): TensorToWrite => ({
    ...floats(name, [1]),
    data: async () => {
      events.push(`${name} asked`);
      await Promise.resolve();
      events.push(`${name} given`);
      return Float32Array.of(1);
    },
  }));
  await writeSafetensors(folder.file("x.safetensors"), tensors);
  assert.deepEqual(events, ["a asked", "a given", "b asked", "b given"]);
});

Deno.test("a write that fails leaves the old file and no other", async () => {
  using folder = new TemporaryFolder();
  const path = folder.file("x.safetensors", "old");
  const failing: TensorToWrite = {
    ...floats("b", [1]),
    data: () => Promise.reject(new Error("device lost")),
  };
  await assert.rejects(writeSafetensors(path, [floats("a", [1]), failing]), /device lost/);
  await assert.rejects(writeSafetensors(path, [{ ...floats("a", [1]), shape: [2] }]), RangeError);
  await assert.rejects(writeSafetensors(path, [floats("a", [1]), floats("a", [2])]), RangeError);
  assert.deepEqual([...Deno.readDirSync(folder.path)].map(({ name }) => name), ["x.safetensors"]);
  assert.equal(Deno.readTextFileSync(path), "old");
});

Deno.test("files that are not safetensors are refused by name", async () => {
  await assertRefused(new Uint8Array(0), "0 bytes", "at least 8");
  await assertRefused(new Uint8Array(7), "7 bytes");
  await assertRefused(encode("{}", 0, 3), "truncated");
  await assertRefused(encode("{}", 0, 100_000_001), "100000001 bytes", "at most 100000000");
  await assertRefused(encode("{}", 0, Number.MAX_SAFE_INTEGER), "at most 100000000");
  await assertRefused(encode("not json", 0), "not valid JSON");
  await assertRefused(encode("[]", 0), "expected a JSON object, got []");
  await assertRefused(encode("\ufeff{}", 0), "not valid JSON");
  const bytes = encode('{"a":1}', 0);
  bytes[9 + 1] = 0xff;
  await assertRefused(bytes, "byte 2 (0xff)", "UTF-8");
});

Deno.test("a key that appears twice is refused, also when it is spelled differently", async () => {
  const [a, b] = [JSON.stringify(entry(0, 4)), JSON.stringify(entry(4, 8))];
  await assertRefused(encode(`{"x":${a}, "x" :${b}}`, 8), 'the key "x" appears twice');
  await assertRefused(encode(`{"x":${a},"\\u0078":${b}}`, 8), 'the key "x" appears twice');
  await assertRefused(
    encode(`{"x":{"dtype":"F32","shape":[1],"shape":[1],"data_offsets":[0,4]}}`, 4),
    '"shape" appears twice',
  );
  // The same key in two objects, and text that looks like a key, are no repetition.
  using folder = new TemporaryFolder();
  const path = folder.file(
    "x.safetensors",
    encode(`{"__metadata__":{"x":"\\"x\\":{"},"x":${a},"y":${b}}`, 8),
  );
  using source = await openSafetensors(path);
  assert.deepEqual(source.names(), ["x", "y"]);
});

Deno.test("offsets that overlap, leave a hole or leave the file are refused with the tensor's name", async () => {
  await assertRefused(encode({ a: entry(0, 8), b: entry(4, 12) }, 12), '"b" overlaps', "by 4 bytes");
  await assertRefused(
    encode({ a: entry(0, 4), b: entry(8, 12) }, 12),
    '4 bytes before tensor "b" belong to no tensor',
  );
  await assertRefused(encode({ a: entry(4, 8) }, 8), '4 bytes before tensor "a"');
  await assertRefused(encode({ a: entry(0, 4) }, 8), "the last 4 bytes belong to no tensor");
  await assertRefused(encode({ a: entry(0, 4), b: entry(4, 12) }, 11), '"b" ends at byte', "truncated");
  await assertRefused(encode({ a: entry(8, 4, [1]) }, 8), '"a" has data_offsets [8,4]');
  await assertRefused(encode({ a: { ...entry(0, 4), data_offsets: [0] } }, 4), '"a" has data_offsets [0]');
  await assertRefused(
    encode({ a: { ...entry(0, 4), data_offsets: [-4, 0] } }, 4),
    '"a" has data_offsets [-4,0]',
  );
  await assertRefused(
    encode({ a: { ...entry(0, 4), data_offsets: [0, 2 ** 60] } }, 4),
    '"a" has data_offsets',
  );
});

Deno.test("tensors that do not fit their own description are refused", async () => {
  await assertRefused(
    encode({ a: entry(0, 8, [3]) }, 8),
    '"a" has 8 bytes of data, but shape [3] of F32 has 12',
  );
  await assertRefused(encode({ a: entry(0, 4, [2 ** 52, 2 ** 52]) }, 4), '"a" has 4 bytes of data');
  await assertRefused(encode({ a: entry(0, 4, [1], "F31") }, 4), '"a" has dtype "F31", expected one of BOOL');
  await assertRefused(encode({ a: entry(0, 4, [1], "toString") }, 4), '"a" has dtype "toString"');
  await assertRefused(encode({ a: entry(0, 4, [-1]) }, 4), '"a" has shape [-1]');
  await assertRefused(encode({ a: entry(0, 4, [1.5]) }, 4), '"a" has shape [1.5]');
  await assertRefused(encode({ a: entry(0, 4, "1") }, 4), '"a" has shape "1"');
  await assertRefused(encode({ a: 5 }, 0), '"a" is described by 5');
  await assertRefused(encode({ __metadata__: { a: 1 } }, 0), "expected only strings in __metadata__");
});

Deno.test("a file that is cut short, at any byte, is refused", async () => {
  const whole = encode({ a: entry(0, 8), b: entry(8, 12) }, 12);
  for (let length = 0; length < whole.length; length++) await assertRefused(whole.subarray(0, length));
});

Deno.test("a file that shrinks after it was opened is noticed when it is read", async () => {
  using folder = new TemporaryFolder();
  const path = folder.file("x.safetensors");
  await writeSafetensors(path, [floats("a", [1, 2, 3])]);
  using source = await openSafetensors(path);
  Deno.truncateSync(path, Deno.statSync(path).size - 4);
  await assertInputError(() => source.read("a"), path, "the file ends at byte");
});

Deno.test("a missing tensor, a missing file and a folder are refused by name", async () => {
  using folder = new TemporaryFolder();
  using source = await openSafetensors(fixture("dtypes.safetensors"));
  await assertInputError(() => source.read("nobody"), "dtypes.safetensors", '"nobody"');
  assert.equal(source.has("toString"), false);
  await assertInputError(() => openSafetensors(folder.file("none")), "none", "no such file");
  await assertInputError(() => openSafetensors(folder.path), folder.path);
});

Deno.test("a pipe in the place of a file is refused, not waited for", async () => {
  if (Deno.build.os === "windows") return;
  using folder = new TemporaryFolder();
  const path = folder.file("model.safetensors");
  assert.ok((await new Deno.Command("mkfifo", { args: [path] }).output()).success);
  await assertInputError(() => openSafetensors(path), path, "expected a file");
});

Deno.test("headers nested as deeply as they are long are refused like any other", async () => {
  await assertRefused(encode("[".repeat(1_000_000), 0), "not valid JSON");
  await assertRefused(encode(`${'{"a":'.repeat(100_000)}1${"}".repeat(100_000)}`, 0), '"a" has dtype');
  await assertRefused(encode(`{"a":${"[".repeat(100_000)}${"]".repeat(100_000)}}`, 0), '"a" is described by');
});

Deno.test("tensors named like properties of objects are ordinary tensors", async () => {
  using folder = new TemporaryFolder();
  const path = folder.file("x.safetensors", encode(`{"__proto__":${JSON.stringify(entry(0, 4))}}`, 4));
  using source = await openSafetensors(path);
  assert.deepEqual([...await source.read("__proto__")], [0]);
});

async function writeShards(folder: TemporaryFolder, weightMap: unknown): Promise<string> {
  await writeSafetensors(folder.file("one.safetensors"), [floats("a", [1, 2]), floats("hidden", [9])], {
    format: "pt",
  });
  await writeSafetensors(folder.file("two.safetensors"), [floats("b", [3, 4, 5, 6], [2, 2])]);
  return folder.file("model.safetensors.index.json", JSON.stringify({ metadata: {}, weight_map: weightMap }));
}

Deno.test("shards are one source, with the tensors of the index", async () => {
  using folder = new TemporaryFolder();
  const path = await writeShards(folder, { b: "two.safetensors", a: "one.safetensors" });
  using source: TensorSource = await openSharded(path);
  assert.deepEqual(source.names(), ["b", "a"]);
  assert.deepEqual([...await source.read("a")], [1, 2]);
  assert.deepEqual([...await source.read("b", { firstRow: 1, rowCount: 1 })], [5, 6]);
  const target = new Float32Array(4);
  await source.readInto("b", target);
  assert.deepEqual([...target], [3, 4, 5, 6]);
  assert.equal((await Array.fromAsync(source.chunks("b", { chunkBytes: 8 }))).length, 2);
  assert.equal(source.info("b").path, folder.file("two.safetensors"));
  await assertInputError(() => source.read("hidden"), "index.json", '"hidden"');
});

Deno.test("an index that does not fit its shards is refused", async () => {
  const assertIndexRefused = async (weightMap: unknown, ...parts: string[]) => {
    using folder = new TemporaryFolder();
    const path = await writeShards(folder, weightMap);
    await assertInputError(() => openSharded(path), path, ...parts);
  };
  await assertIndexRefused(
    { a: "one.safetensors", b: "three.safetensors" },
    "three.safetensors",
    '"b"',
    "does not exist",
  );
  await assertIndexRefused({ a: "one.safetensors", c: "two.safetensors" }, '"c" is not in two.safetensors');
  for (
    const outside of [
      "../one.safetensors",
      "/etc/passwd",
      "..",
      "sub/one.safetensors",
      "..\\one",
      "C:one",
      "",
      5,
    ]
  ) {
    await assertIndexRefused({ a: outside }, '"a"', JSON.stringify(outside), "in the same folder");
  }
  await assertIndexRefused({}, "names no tensors");
  await assertIndexRefused(undefined, "weight_map");
  await assertIndexRefused(["one.safetensors"], "weight_map");
});

Deno.test("openWeights() takes one file, shards, or the only file there is", async () => {
  using folder = new TemporaryFolder();
  assert.equal(await openWeights(folder.path), null);
  folder.file("config.json", "{}");
  assert.equal(await openWeights(folder.path), null);
  await writeSafetensors(folder.file("adapter_model.safetensors"), [floats("lora", [1])]);
  assert.equal(await openWeights(folder.path), null);

  const openedPath = async () => {
    using source = (await openWeights(folder.path))!;
    return source.path;
  };
  await writeSafetensors(folder.file("weights.safetensors"), [floats("a", [1])]);
  assert.equal(await openedPath(), folder.file("weights.safetensors"));
  await writeShards(folder, { a: "one.safetensors" });
  assert.equal(await openedPath(), folder.file("model.safetensors.index.json"));
  await writeSafetensors(folder.file("model.safetensors"), [floats("a", [1])]);
  assert.equal(await openedPath(), folder.file("model.safetensors"));
});

Deno.test("openWeights() refuses what it would have to guess or cannot read", async () => {
  const assertFolderRefused = async (names: string[], ...parts: string[]) => {
    using folder = new TemporaryFolder();
    for (const name of names) folder.file(name, "");
    await assertInputError(() => openWeights(folder.path), folder.path, ...parts);
  };
  await assertFolderRefused(
    ["a.safetensors", "b.safetensors"],
    "expected model.safetensors",
    "a.safetensors, b.safetensors",
  );
  await assertFolderRefused(["model-00001-of-00002.safetensors"], "model.safetensors.index.json");
  await assertFolderRefused(["pytorch_model.bin"], "pytorch_model.bin", "expected safetensors");
  await assertFolderRefused(["pytorch_model.bin.index.json"], "expected safetensors");
  await assertFolderRefused(["model.gguf"], "model.gguf");
  await assertInputError(() => openWeights("/nowhere/at/all"), "/nowhere/at/all", "no such folder");
});
