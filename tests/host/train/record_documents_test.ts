import assert from "node:assert/strict";
import type { DataRecord } from "../../../engine/formats/data_record.ts";
import { readRecords } from "../../../engine/formats/records.ts";
import { byteTokenizer, gpt2Tokenizer, tokenizerFromFolder } from "../../../engine/formats/tokenizer.ts";
import type { Tokenizer } from "../../../engine/formats/tokenizer.ts";
import {
  type DocumentSettings,
  markedDocuments,
  nextTokenDocumentsOf,
  RECORD_FIELDS,
  unreadFields,
} from "../../../engine/train/record_documents.ts";
import { documentLayout } from "../../../engine/train/documents.ts";
import { emptyBatch } from "../../../engine/train/layout.ts";
import { type SpecialTokens, specialTokens, withSpareTokens } from "../../../engine/train/special_tokens.ts";
import { assertInputError } from "../formats/temporary_folder.ts";

const DOCUMENTS = `${import.meta.dirname}/../../fixtures/documents/`;
const NO_TOKENS: SpecialTokens = {
  classify: null,
  separate: null,
  separatesTwice: false,
  mask: null,
  begin: null,
  end: null,
};

function settingsOf(
  tokenizer: Tokenizer,
  options: Partial<DocumentSettings["options"]> = {},
  special: SpecialTokens = specialTokens(tokenizer),
): DocumentSettings {
  return {
    tokenizer,
    special,
    vocabularySize: tokenizer.vocabularySize,
    options: { sequenceLength: 256, ...options },
    tokenTypes: true,
  };
}

function withTemplate(chat_template: string, tokenizer: Tokenizer = byteTokenizer()): Tokenizer {
  const files = () => ({ ...tokenizer.files(), config: { ...tokenizer.files().config, chat_template } });
  return new Proxy(tokenizer, {
    get: (target, name) => {
      if (name === "files") return files;
      const value = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

const BYTES = settingsOf(byteTokenizer());
const record = (fields: Record<string, unknown>, line = 1): DataRecord => ({
  place: `a.jsonl:${line}`,
  fields,
});
const text = (value: string, settings: DocumentSettings) =>
  nextTokenDocumentsOf([record({ text: value })], settings);
const decode = (tokens: Uint32Array) => byteTokenizer().decode(tokens);

for (const name of ["chatml", "llama"] as const) {
  Deno.test(`conversations by a template of the kind of ${name} have transformers' tokens and mask`, async () => {
    const tokenizer = await tokenizerFromFolder(`${DOCUMENTS}${name}`);
    const cases = JSON.parse(await Deno.readTextFile(`${DOCUMENTS}conversations.json`));
    for (const { messages, [name]: expected } of cases) {
      const [{ tokens, trained }] = nextTokenDocumentsOf([record({ messages })], settingsOf(tokenizer));
      assert.deepEqual([...tokens], expected.ids);
      assert.deepEqual([...trained!], expected.mask, JSON.stringify(messages));
    }
  });
}

Deno.test("conversations with tools, documents and reasoning have transformers' text, tokens and mask", async () => {
  const tokenizer = await tokenizerFromFolder(`${DOCUMENTS}chatml`);
  const cases = JSON.parse(await Deno.readTextFile(`${DOCUMENTS}../tool_calls/conversations.json`));
  for (const { template, record: fields, text, ids, mask } of cases) {
    const settings = settingsOf(withTemplate(template, tokenizer), { sequenceLength: 2048 });
    const [{ tokens, trained }] = nextTokenDocumentsOf([record(fields)], settings);
    assert.equal(tokenizer.decode(tokens), text);
    assert.deepEqual([[...tokens], [...trained!]], [ids, mask], text);
    // As columns of Parquet files have them.
    if (fields.tools === undefined) continue;
    const asText = record({ ...fields, tools: JSON.stringify(fields.tools) });
    assert.deepEqual([...nextTokenDocumentsOf([asText], settings)[0].tokens], ids);
  }
});

const TURNS = [{ role: "user", content: "x" }, { role: "assistant", content: "y" }];
/** Writes tools, documents, the names of users and one variable, and nothing else that a record may have. */
const SOME =
  "{{ tools | tojson }}{{ documents | tojson }}{% if mood == 'loud' %}!{% endif %}{% for m in messages %}" +
  "<{{ m.role }}{% if m.role == 'user' %} {{ m.name }}{% endif %}>{{ m.content | trim }}{% endfor %}";

Deno.test("what a template leaves out is refused by the field's name, with the line", async () => {
  const settings = settingsOf(withTemplate(SOME));
  const documents = (fields: Record<string, unknown>) =>
    nextTokenDocumentsOf([record(fields, 4)], settings).map(({ tokens }) => decode(tokens)).join();
  const refused = (fields: Record<string, unknown>, ...parts: string[]) =>
    assertInputError(() => documents(fields), "a.jsonl:4", ...parts);
  const withField = (i: number, field: Record<string, unknown>) =>
    TURNS.map((turn, at) => at === i ? { ...turn, ...field } : turn);
  const tool = { name: "tide" };
  assert.equal(
    documents({
      messages: withField(0, { name: "ada" }),
      tools: [tool],
      chat_template_kwargs: { mood: "quiet" },
    }),
    '[{"name": "tide"}]null<user ada>x<assistant>y',
  );
  // The same field of another message is another matter.
  await refused(
    { messages: withField(1, { name: "ada" }) },
    "name of messages[1] (assistant)",
    "take the field out",
  );
  await refused(
    { messages: withField(1, { tool_calls: [{ function: tool }] }) },
    "tool_calls of messages[1]",
  );
  await refused({ messages: withField(0, { tool_call_id: "1" }) }, "tool_call_id of messages[0]");
  await refused(
    { messages: TURNS, chat_template_kwargs: { temper: 1 } },
    "temper of field chat_template_kwargs",
  );
  await refused({ messages: TURNS, chat_template_kwargs: { tools: [] } }, "chat_template_kwargs has tools");
  await refused({ messages: TURNS, chat_template_kwargs: 5 }, "chat_template_kwargs is 5");
  await refused({ messages: TURNS, tools: [5] }, "field tools is a list of 1, expected a list of objects");
  await refused({ messages: TURNS, tools: "[" }, "field tools of a.jsonl:4", "not valid JSON");
  await refused({ messages: TURNS, tools: { a: 1 } }, "field tools is an object");
  // Fields that say nothing are none: Parquet files have them in every row.
  const nothing = { name: null, tool_calls: [], refusal: "", audio: {} };
  assert.equal(documents({ messages: withField(1, nothing), tools: null }), "nullnull<user >x<assistant>y");

  const plain = settingsOf(byteTokenizer());
  const refusedPlainly = (fields: Record<string, unknown>, ...parts: string[]) =>
    assertInputError(() => nextTokenDocumentsOf([record(fields)], plain), "has no chat template", ...parts);
  await refusedPlainly({ messages: TURNS, tools: [tool] }, "field tools");
  await refusedPlainly({ messages: TURNS, documents: [tool] }, "field documents");
  await refusedPlainly({ prompt: "x", response: "y", tools: [tool] }, "field tools");
  await refusedPlainly({ messages: withField(0, { name: "ada" }) }, "name of messages[0] (user)");

  const silent = settingsOf(
    withTemplate("{% for m in messages if m.role != 'system' %}{{ m.content }}{% endfor %}"),
  );
  await assertInputError(
    () =>
      nextTokenDocumentsOf(
        [record({ messages: [{ role: "system", content: "Be brief." }, ...TURNS] })],
        silent,
      ),
    "content of messages[0] (system)",
  );
});

Deno.test("a reply of weight 0 is read and not learned; other weights are refused", async () => {
  const turns = (first: unknown, second: unknown, asked?: unknown) => [
    { role: "user", content: "a", ...asked === undefined ? {} : { weight: asked } },
    { role: "assistant", content: "bad", weight: first },
    { role: "user", content: "b" },
    { role: "assistant", content: "good", weight: second },
  ];
  const learned = (messages: unknown[]) => {
    const [{ tokens, trained }] = nextTokenDocumentsOf([record({ messages })], BYTES);
    assert.equal(decode(tokens), "user: a\nassistant: bad\nuser: b\nassistant: good");
    return decode(tokens.filter((_, t) => trained![t]));
  };
  assert.equal(learned(turns(0, 1)), " good");
  assert.equal(learned(turns(1n, 0n)), " bad"); // whole numbers of Parquet
  assert.equal(learned(turns(null, undefined)), " bad good");
  assert.equal(learned(turns(0, 1, 0)), " good");
  const refused = (messages: unknown[], ...parts: string[]) =>
    assertInputError(() => nextTokenDocumentsOf([record({ messages })], BYTES), "a.jsonl:1", ...parts);
  await refused(turns(0, 0), "every message of the assistant has weight 0");
  await refused(turns(0.5, 1), "messages[1] has weight 0.5, expected 0 (not learned) or 1");
  await refused(turns(1, true), "messages[3] has weight true");
  await refused(turns(1, 1, 1), "messages[0] has weight 1", "only the assistant's");
});

Deno.test("fields that are not read are found, whatever the kind of the examples", () => {
  const of = (
    objective: "next-token" | "masked-token" | "sequence-label",
    rows: Record<string, unknown>[],
    textField?: string,
  ) => unreadFields(rows.map((row) => record(row)), { objective, labelField: "label" }, { textField });
  const labelled = [{ text: "x", text_pair: "y", label: 1 }, { text: "x", id: 5 }];
  assert.deepEqual(of("next-token", labelled), ["text_pair", "label", "id"]);
  assert.deepEqual(of("masked-token", labelled), ["label", "id"]);
  assert.deepEqual(of("sequence-label", labelled), ["id"]);
  assert.deepEqual(of("next-token", [{ body: "x", text: "y" }], "body"), ["text"]);
  assert.deepEqual(of("next-token", [{ messages: TURNS, tools: [], system: "z" }]), ["system"]);
  assert.deepEqual(of("next-token", [{ prompt: "x", completion: "y", response: "z" }]), ["completion"]);
  assert.deepEqual(of("next-token", [{ prompt: "x", completion: "y" }]), []);
});

Deno.test("an example without any field that is known is refused with those that are", async () => {
  await assertInputError(
    () => nextTokenDocumentsOf([record({ instruction: "x", input: "", output: "y" })], BYTES),
    "a.jsonl:1: field text is missing, the fields are instruction, input, output",
    "prompt with response",
  );
});

Deno.test("a prompt and its response are a conversation of two, from JSON Lines and Parquet alike", async () => {
  const tokenizer = await tokenizerFromFolder(`${DOCUMENTS}chatml`);
  const settings = settingsOf(tokenizer);
  const { records } = await readRecords(`${DOCUMENTS}pairs.parquet`, RECORD_FIELDS);
  const [{ tokens, trained }] = nextTokenDocumentsOf(records, settings);
  const [expected] = JSON.parse(await Deno.readTextFile(`${DOCUMENTS}conversations.json`));
  assert.deepEqual([[...tokens], [...trained!]], [expected.chatml.ids, expected.chatml.mask]);
  const { prompt, response } = records[0].fields;
  assert.deepEqual(
    nextTokenDocumentsOf([record({ prompt, completion: response })], settings)[0].tokens,
    tokens,
  );
});

Deno.test("a model without a template reads roles and lines, and learns the replies and their end", async () => {
  const messages = [
    { role: "user", content: "a" },
    { role: "assistant", content: "b" },
    { role: "user", content: "c" },
    { role: "assistant", content: "d" },
  ];
  const [{ tokens, trained }] = nextTokenDocumentsOf([record({ messages })], BYTES);
  assert.equal(decode(tokens), "user: a\nassistant: b\nuser: c\nassistant: d");
  assert.equal(decode(tokens.filter((_, t) => trained![t])), " b d");
  const gpt2 = await gpt2Tokenizer();
  const [ended] = nextTokenDocumentsOf([record({ messages })], settingsOf(gpt2));
  assert.equal(
    gpt2.decode(ended.tokens.filter((_, t) => ended.trained![t])),
    " b<|endoftext|> d<|endoftext|>",
  );
});

Deno.test("a text ends with the token for it, and begins with one where the model was trained so", async () => {
  const gpt2 = await gpt2Tokenizer();
  const [{ tokens, trained }] = text("one two", settingsOf(gpt2));
  assert.deepEqual([gpt2.decode(tokens), trained], ["one two<|endoftext|>", null]);
  const llama = await tokenizerFromFolder(`${DOCUMENTS}llama`);
  assert.equal(specialTokens(llama).begin, null);
  const beginning: Tokenizer = {
    ...llama,
    files: () => ({ ...llama.files(), config: { ...llama.files().config, add_bos_token: true } }),
  };
  const [own] = text("moon", settingsOf(beginning));
  assert.deepEqual([own.tokens[0], own.tokens.at(-1)], [1, 2]);
});

Deno.test("BERT's texts stand between its special tokens, or the spare ids of a small vocabulary", () => {
  const special = withSpareTokens(NO_TOKENS, { tokenCount: 256, vocabularySize: 259 });
  const settings = { ...settingsOf(byteTokenizer(), {}, special), vocabularySize: 259 };
  const [{ tokens }] = markedDocuments([record({ text: "hi" })], settings, { whole: true });
  assert.deepEqual([...tokens], [256, 104, 105, 257]);
  assert.deepEqual(withSpareTokens(NO_TOKENS, { tokenCount: 257, vocabularySize: 259 }), NO_TOKENS);
});

Deno.test("BERT's own tokenizer gives transformers' tokens, with those around a text and the one for hidden ones", async () => {
  const tokenizer = await tokenizerFromFolder(`${DOCUMENTS}wordpiece`);
  const settings = settingsOf(tokenizer);
  const cases = JSON.parse(await Deno.readTextFile(`${DOCUMENTS}wordpiece.json`));
  for (const { text, ids } of cases) {
    assert.deepEqual(
      [...markedDocuments([record({ text })], settings, { whole: true })[0].tokens],
      ids,
      text,
    );
  }
  const expected = { ...NO_TOKENS, classify: 2, separate: 3, mask: 4 };
  assert.deepEqual(settings.special, expected);
});

Deno.test("one text and two have RoBERTa's tokens, whose names stand in no configuration, and no types", async () => {
  const families = `${import.meta.dirname}/../../fixtures/families/`;
  const tokenizer = await tokenizerFromFolder(`${families}roberta_tokenizer`);
  const settings = { ...settingsOf(tokenizer), tokenTypes: false };
  const cases = JSON.parse(await Deno.readTextFile(`${families}roberta_pairs.json`));
  for (const { text, text_pair, ids, alone, mask } of cases) {
    assert.equal(settings.special.mask, mask);
    const [one] = markedDocuments([record({ text })], settings, { whole: true });
    assert.deepEqual([...one.tokens], alone);
    const [two] = markedDocuments([record({ text, text_pair })], settings, { whole: true });
    assert.deepEqual([[...two.tokens], two.secondText], [ids, undefined]);
  }
});

Deno.test("two texts have transformers' tokens and token types, whole and cut off", async () => {
  const tokenizer = await tokenizerFromFolder(`${DOCUMENTS}wordpiece`);
  const cases = JSON.parse(await Deno.readTextFile(`${DOCUMENTS}wordpiece_pairs.json`));
  for (const { text, text_pair, length, ids, types } of cases) {
    const settings = settingsOf(tokenizer, { sequenceLength: length, overlong: "truncate" });
    const documents = markedDocuments([record({ text, text_pair })], settings, { whole: true });
    const into = emptyBatch(1, length);
    documentLayout([documents], length).place(0, 0, into);
    assert.deepEqual([...into.tokens.subarray(0, ids.length)], ids, `${text} | ${text_pair} to ${length}`);
    assert.deepEqual([...into.tokenTypes.subarray(0, ids.length)], types);
    assert.equal(documents[0].tokens.length, ids.length);
  }
  const refused = (length: number, overlong: "refuse" | "truncate" | "split", ...parts: string[]) =>
    assertInputError(
      () =>
        markedDocuments(
          [record({ text: "a b c", text_pair: "d e" })],
          settingsOf(tokenizer, { sequenceLength: length, overlong }),
          { whole: true },
        ),
      "a.jsonl:1",
      ...parts,
    );
  await refused(7, "refuse", "5 tokens", "at most 4", "truncate");
  await refused(7, "split", "at most 4");
  await refused(4, "truncate", "at most 1");
});

Deno.test("texts longer than a sequence are refused, cut off or split, as asked", async () => {
  const long = "abcdefgh";
  const with3 = (overlong?: "refuse" | "truncate" | "split") =>
    settingsOf(byteTokenizer(), { sequenceLength: 3, overlong });
  const pieces = (overlong: "truncate" | "split") =>
    text(long, with3(overlong)).map(({ tokens }) => decode(tokens));
  assert.deepEqual(pieces("truncate"), ["abc"]);
  assert.deepEqual(pieces("split"), ["abc", "def", "gh"]);
  await assertInputError(
    () => text(long, with3()),
    "a.jsonl:1",
    "8 tokens",
    "at most 3",
    "truncate or split",
  );
  // A last piece of one token predicts nothing.
  assert.deepEqual(text("abcd", with3("split")).map(({ tokens }) => decode(tokens)), ["abc"]);
  const special = { ...NO_TOKENS, classify: 256, separate: 257 };
  const marked = (overlong: "truncate" | "split", whole: boolean) =>
    markedDocuments([record({ text: long })], {
      ...settingsOf(byteTokenizer(), { sequenceLength: 6, overlong }, special),
      vocabularySize: 258,
    }, { whole }).map(({ tokens }) =>
      [...tokens].map((id) => id > 255 ? "|" : String.fromCharCode(id)).join("")
    );
  assert.deepEqual(marked("truncate", true), ["|abcd|"]);
  assert.deepEqual(marked("split", false), ["|abcd|", "|efgh|"]);
  await assertInputError(() => marked("split", true), "a.jsonl:1", "label");
});

Deno.test("documents with nothing to learn are refused with file and line", async () => {
  const refused = (fields: Record<string, unknown>, settings: DocumentSettings, ...parts: string[]) =>
    assertInputError(() => nextTokenDocumentsOf([record({ ...fields }, 7)], settings), "a.jsonl:7", ...parts);
  await refused({ text: "x" }, BYTES, "single token");
  await refused({ text: "" }, BYTES, "empty");
  await refused({ prompt: "x", response: "" }, BYTES, "response", "empty");
  await refused({ prompt: "x" }, BYTES, "response", "missing");
  await refused({ messages: "x" }, BYTES, "messages", "expected a list");
  await refused({ messages: [] }, BYTES, "no message is the assistant's");
  await refused({ messages: [{ role: "user", content: "x" }] }, BYTES, "no message is the assistant's");
  await refused({ messages: [{ role: "user" }] }, BYTES, "messages[0]", "content nothing");
  await refused({ messages: [null] }, BYTES, "messages[0]");
  const long = { prompt: "a prompt that fills the whole sequence", response: "yes" };
  const cut = settingsOf(byteTokenizer(), { sequenceLength: 20, overlong: "truncate" });
  await refused(long, cut, "nothing is left to learn", "sequence length is 20");
  await refused(long, settingsOf(byteTokenizer(), { sequenceLength: 20 }), "at most 20");
  await refused(
    long,
    settingsOf(byteTokenizer(), { sequenceLength: 20, overlong: "split" }),
    "cannot be split",
  );
});

Deno.test("a conversation is cut off where asked, as long as some of a reply is left", () => {
  const settings = settingsOf(byteTokenizer(), { sequenceLength: 22, overlong: "truncate" });
  const [{ tokens, trained }] = nextTokenDocumentsOf([record({ prompt: "a", response: "bcdef" })], settings);
  assert.equal(decode(tokens), "user: a\nassistant: bcd");
  assert.equal(decode(tokens.filter((_, t) => trained![t])), " bcd");
});

Deno.test("a template that fails or rewrites what came before is refused with the line", async () => {
  const withTemplate = (chat_template: string): DocumentSettings =>
    settingsOf({
      ...byteTokenizer(),
      files: () => ({ ...byteTokenizer().files(), config: { chat_template } }),
    });
  const refused = (template: string, ...parts: string[]) => {
    const pair = record({ prompt: "x", response: "y" }, 9);
    return assertInputError(() => nextTokenDocumentsOf([pair], withTemplate(template)), ...parts);
  };
  await refused("{{ raise_exception('no') }}", "a.jsonl:9", "no");
  await refused(
    "{% for m in messages %}{{ m.content }}{% endfor %}{{ messages | length }}",
    "a.jsonl:9",
    "differently",
  );
  await refused("{% if %}", "chat template");
});
