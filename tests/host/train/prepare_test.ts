import assert from "node:assert/strict";
import { prepare } from "../../../engine/train/prepare.ts";
import { TemporaryFolder } from "../formats/temporary_folder.ts";

Deno.test("prepare() names the fields of documents that are not read, once", async () => {
  using folder = new TemporaryFolder();
  const data = folder.file(
    "notes.jsonl",
    '{"text": "one text", "id": 1}\n{"text": "another", "source": "x"}\n',
  );
  const notes: string[] = [];
  const written = console.error;
  console.error = (text: string) => void notes.push(text);
  try {
    const options = { data, sequenceLength: 16, heldOutFraction: 0, seed: 1, tokenizer: "bytes" };
    for (let i = 0; i < 2; i++) await prepare({ model: "gpt2-nano", ...options });
    const all = folder.file("all.jsonl", '{"text": "one text"}\n');
    await prepare({ model: "gpt2-nano", ...options, data: all });
  } finally {
    console.error = written;
  }
  assert.deepEqual(notes, ["notes.jsonl: fields that are not read: id, source"]);
});
