import {
  type ChatExtras,
  type ChatMessage,
  type ChatTemplate,
  chatTemplateOf,
} from "../formats/chat_template.ts";
import { isJsonObject, parseJson } from "../formats/json.ts";
import type { DataRecord } from "../formats/data_record.ts";
import { describeValue, missingField, textField } from "../formats/records.ts";
import type { Tokenizer } from "../formats/tokenizer.ts";
import { InputError } from "../input_error.ts";
import type { Model } from "../model/config.ts";
import { type Document, targetCount } from "./documents.ts";
import type { TrainOptions } from "./options.ts";
import type { SpecialTokens } from "./special_tokens.ts";
import { requireTokensBelow } from "./tokens.ts";

/** What the template of a conversation is given beside messages. */
const EXTRA_FIELDS = ["tools", "documents", "chat_template_kwargs"] as const;

/** Fields that examples may have besides those that options name. */
export const RECORD_FIELDS = [
  "text_pair",
  "messages",
  "prompt",
  "response",
  "completion",
  ...EXTRA_FIELDS,
] as const;

/** What examples hold: a text, or a conversation whose replies are to be learned. */
type RecordKind = "text" | "messages" | "pair";

/** Which it is, by the fields of the first example; a named text field decides. */
export function recordKind(
  [first]: readonly DataRecord[],
  options: Pick<TrainOptions, "textField">,
): RecordKind {
  if (options.textField !== undefined) return "text";
  if (first.fields.messages !== undefined) return "messages";
  return first.fields.prompt !== undefined && first.fields.text === undefined ? "pair" : "text";
}

/** All text of examples, as a tokenizer is trained on it. @throws {InputError} */
export function recordTexts(
  records: readonly DataRecord[],
  options: Pick<TrainOptions, "textField">,
): string {
  const kind = recordKind(records, options);
  const textOf = (record: DataRecord) =>
    kind === "text"
      ? ownText(record, options)
      : conversationOf(record, kind).messages.map(({ role, content = "" }) => `${role}: ${content}`).join(
        "\n",
      );
  return records.map(textOf).join("\n");
}

/**
 * The text of an example that is one. @throws {InputError} with the fields that
 * examples may have, where it has none of them.
 */
function ownText(record: DataRecord, { textField: field }: Pick<TrainOptions, "textField">): string {
  if (field === undefined && (record.fields.text ?? null) === null) {
    throw new InputError(
      `${
        missingField(record, "text").message
      }; expected text, or the field that --text-field names, or messages, or prompt ` +
        "with response",
    );
  }
  return textField(record, field ?? "text");
}

/**
 * Fields of examples that are not read, in the order they are met.
 *
 * @param labelField Of a model that predicts labels.
 */
export function unreadFields(
  records: readonly DataRecord[],
  { objective, labelField }: { objective: Model["objective"]; labelField: string },
  options: Pick<TrainOptions, "textField">,
): string[] {
  // Only next tokens are predicted in conversations.
  const kind = objective === "next-token" ? recordKind(records, options) : "text";
  const text = options.textField ?? "text";
  const read: readonly string[] = kind === "messages"
    ? ["messages", ...EXTRA_FIELDS]
    : kind === "pair"
    ? ["prompt", answerField(records[0]), ...EXTRA_FIELDS]
    : objective === "next-token"
    ? [text]
    : [text, "text_pair", ...objective === "sequence-label" ? [labelField] : []];
  const names = new Set(records.flatMap(({ fields, fieldNames }) => fieldNames ?? Object.keys(fields)));
  return [...names].filter((name) => !read.includes(name));
}

/** What making documents depends on. */
export interface DocumentSettings {
  tokenizer: Tokenizer;
  special: SpecialTokens;
  vocabularySize: number;
  options: Pick<TrainOptions, "sequenceLength" | "textField" | "overlong">;
  /** Whether the model tells the tokens of two texts apart by their type. */
  tokenTypes: boolean;
}

/**
 * Documents in which next tokens are to be predicted: texts up to the token that ends them, or conversations
 * of which only what the assistant says counts.
 *
 * @throws {InputError} naming file and line.
 */
export function nextTokenDocumentsOf(records: readonly DataRecord[], settings: DocumentSettings): Document[] {
  const kind = recordKind(records, settings.options);
  if (kind === "text") return records.flatMap((record) => textDocuments(record, settings));
  const template = chatTemplateOf(settings.tokenizer);
  return records.map((record) => conversation(record, conversationOf(record, kind), template, settings));
}

/**
 * Texts between the tokens that BERT wants around them.
 *
 * @param whole Whether a text that is too long may not be split, because something is said of all of it.
 * @throws {InputError} naming file and line.
 */
export function markedDocuments(
  records: readonly DataRecord[],
  settings: DocumentSettings,
  { whole }: { whole: boolean },
): Document[] {
  const { start, end } = aroundText(settings.special);
  const room = settings.options.sequenceLength - start.length - end.length;
  return records.flatMap((record): Document[] => {
    const own = encoded(record, settings);
    if (record.fields.text_pair !== undefined && record.fields.text_pair !== null) {
      return [pairOfTexts(record, own, encoded(record, settings, "text_pair"), settings)];
    }
    const pieces = fitted(record, own, room, settings, { whole });
    return pieces.map((own) => ({
      tokens: between(start, own, end),
      trained: null,
      place: record.place,
    }));
  });
}

/**
 * `[CLS] first [SEP] second [SEP]`, with another `[SEP]` in the middle where the tokenizer says so; cut off
 * where asked as transformers does: from the end of the longer text.
 */
function pairOfTexts(
  { place }: DataRecord,
  first: Uint32Array,
  second: Uint32Array,
  { special, tokenTypes, options: { sequenceLength, overlong = "refuse" } }: DocumentSettings,
): Document {
  const { start, end } = aroundText(special);
  const middle = special.separatesTwice ? [...end, ...end] : end;
  const room = sequenceLength - start.length - middle.length - end.length;
  const count = first.length + second.length;
  if (count > room && (overlong !== "truncate" || room < 2)) {
    throw new InputError(
      `${place}: the two texts have ${count} tokens, expected at most ${
        Math.max(room, 0)
      } at sequence length ` +
        `${sequenceLength}` + (room < 2 ? "" : "; set overlong to truncate to cut them"),
    );
  }
  const [firstCount, secondCount] = shares(first.length, second.length, room);
  const head = between(start, first.subarray(0, firstCount), middle);
  const tokens = between([...head], second.subarray(0, secondCount), end);
  return { tokens, trained: null, ...tokenTypes && { secondText: head.length }, place };
}

/** How many tokens of two texts fit: all of the shorter if there is room, else half each. */
function shares(first: number, second: number, room: number): [number, number] {
  if (first + second <= room) return [first, second];
  if (first > second) return shares(second, first, room).reverse() as [number, number];
  const half = Math.floor(room / 2);
  return first <= half ? [first, room - first] : [half, room - half];
}

/** Tokens that stand before and after a text, where the model has any. */
export function aroundText({ classify, separate }: SpecialTokens): { start: number[]; end: number[] } {
  return { start: classify === null ? [] : [classify], end: separate === null ? [] : [separate] };
}

function between(start: readonly number[], own: Uint32Array, end: readonly number[]): Uint32Array {
  const tokens = new Uint32Array(start.length + own.length + end.length);
  tokens.set(start);
  tokens.set(own, start.length);
  tokens.set(end, start.length + own.length);
  return tokens;
}

function textDocuments(record: DataRecord, settings: DocumentSettings): Document[] {
  const { special: { begin, end } } = settings;
  const own = encoded(record, settings);
  const tokens = between(begin === null ? [] : [begin], own, end === null ? [] : [end]);
  if (tokens.length < 2) {
    throw new InputError(
      `${record.place}: the text is a single token, from which there is nothing to predict`,
    );
  }
  const pieces = fitted(record, tokens, settings.options.sequenceLength, settings, { whole: false });
  return pieces.filter(({ length }) => length > 1)
    .map((piece) => ({ tokens: piece, trained: null, place: record.place }));
}

function encoded(
  record: DataRecord,
  { tokenizer, vocabularySize, options }: DocumentSettings,
  field?: string,
): Uint32Array {
  const tokens = tokenizer.encode(field === undefined ? ownText(record, options) : textField(record, field));
  requireTokensBelow(vocabularySize, tokens, record.place);
  return tokens;
}

/** The tokens as they are, cut off or in pieces, where they are too many. */
function fitted(
  { place }: DataRecord,
  tokens: Uint32Array,
  room: number,
  { options: { sequenceLength, overlong = "refuse" } }: DocumentSettings,
  { whole }: { whole: boolean },
): Uint32Array[] {
  if (tokens.length <= room) return [tokens];
  if (room < 1) {
    throw new InputError(
      `${place}: a sequence of ${sequenceLength} tokens has no room for text beside special tokens`,
    );
  }
  switch (overlong) {
    case "truncate":
      return [tokens.subarray(0, room)];
    case "split":
      if (whole) {
        throw new InputError(
          `${place}: the text has ${tokens.length} tokens, more than ${room}, and cannot be split: a label is for all of it`,
        );
      }
      return Array.from(
        { length: Math.ceil(tokens.length / room) },
        (_, i) => tokens.subarray(i * room, (i + 1) * room),
      );
    case "refuse":
      throw new InputError(
        `${place}: the text has ${tokens.length} tokens, expected at most ${room} at sequence length ${sequenceLength}; ` +
          `set overlong to ${whole ? "truncate" : "truncate or split"} to cut it`,
      );
    default:
      throw new TypeError(`Unknown handling of long texts ${overlong satisfies never}`);
  }
}

/** A conversation to learn from. */
interface Conversation {
  readonly messages: readonly ChatMessage[];
  /** Which messages are replies whose tokens count. */
  readonly learned: readonly boolean[];
  readonly extras: ChatExtras;
}

/** The conversation of a record, or its prompt and response as one. */
function conversationOf(record: DataRecord, kind: "messages" | "pair"): Conversation {
  const extras = extrasOf(record);
  if (kind === "pair") {
    const messages = [
      { role: "user", content: textField(record, "prompt") },
      { role: "assistant", content: textField(record, answerField(record)) },
    ];
    return { messages, learned: [false, true], extras };
  }
  const { place, fields: { messages } } = record;
  if (messages === undefined || messages === null) throw missingField(record, "messages");
  if (!Array.isArray(messages)) {
    throw new InputError(
      `${place}: field messages is ${describeValue(messages)}, expected a list of {role, content}`,
    );
  }
  const turns = messages.map((message, i) => turnOf(message, `${place}: messages[${i}]`));
  if (turns.some(({ learned }) => learned)) {
    return {
      messages: turns.map(({ message }) => message),
      learned: turns.map(({ learned }) => learned),
      extras,
    };
  }
  const weightless = turns.some(({ message }) => isReply(message));
  throw new InputError(
    weightless
      ? `${place}: every message of the assistant has weight 0, expected at least one reply to learn`
      : `${place}: no message is the assistant's, expected at least one reply to learn`,
  );
}

/** A message without its weight, and whether it is a reply that counts. */
function turnOf(value: unknown, place: string): { message: ChatMessage; learned: boolean } {
  const { weight, ...fields } = (value ?? {}) as Record<string, unknown>;
  const { role, content } = fields;
  const more = moreFields(fields);
  const isText = typeof content === "string" || ((content ?? null) === null && more.length > 0);
  if (typeof role !== "string" || !isText) {
    throw new InputError(
      `${place} is ${describeValue(value)} with role ${describeValue(role)} and content ${
        describeValue(content)
      }, expected texts in both`,
    );
  }
  const message = asJson(fields, place) as ChatMessage;
  const reply = isReply(message);
  if (weight === undefined || weight === null) return { message, learned: reply };
  const number = typeof weight === "bigint" ? Number(weight) : weight;
  if (number === 0 || (number === 1 && role === "assistant")) {
    return { message, learned: reply && number === 1 };
  }
  throw new InputError(
    `${place} has weight ${describeValue(weight)}, expected ${
      role === "assistant" ? "0 (not learned) or 1" : `none, as only the assistant's messages are learned`
    }`,
  );
}

function isReply(message: ChatMessage): boolean {
  return message.role === "assistant" &&
    ((message.content ?? "").trim() !== "" || moreFields(message).length > 0);
}

/** Fields of a message besides role and content that say something. */
function moreFields(message: Readonly<Record<string, unknown>>): string[] {
  return Object.keys(message).filter((field) =>
    field !== "role" && field !== "content" && !isEmpty(message[field])
  );
}

/** Whether a value says nothing: what a column of a Parquet file has in rows that have no such field. */
function isEmpty(value: unknown): boolean {
  if (value === undefined || value === null || value === "") return true;
  return typeof value === "object" && !(value instanceof Uint8Array) && Object.keys(value).length === 0;
}

/** What a record gives to the template beside messages. */
function extrasOf(record: DataRecord): ChatExtras {
  const tools = objectsOf(record, "tools");
  const documents = objectsOf(record, "documents");
  const { place, fields } = record;
  const { chat_template_kwargs: named } = fields;
  if (named === undefined || named === null) return { tools, documents };
  const variables = asJson(named, `${place}: field chat_template_kwargs`);
  if (typeof variables !== "object" || variables === null || Array.isArray(variables)) {
    throw new InputError(
      `${place}: field chat_template_kwargs is ${describeValue(named)}, expected an object`,
    );
  }
  const own = ["messages", "tools", "documents", "add_generation_prompt"].find((name) => name in variables);
  if (own === undefined) return { tools, documents, variables: variables as Record<string, unknown> };
  throw new InputError(
    `${place}: field chat_template_kwargs has ${own}, which is not its to set; expected variables of the template's own`,
  );
}

/** A field that is a list of objects, or the same as a JSON text, as columns of Parquet files have it. */
function objectsOf({ place, fields }: DataRecord, name: string): Record<string, unknown>[] | undefined {
  const value = fields[name];
  if (value === undefined || value === null) return undefined;
  const list = typeof value === "string"
    ? parseJson(value, `field ${name} of ${place}`)
    : asJson(value, `${place}: field ${name}`);
  if (Array.isArray(list) && list.every(isJsonObject)) return list;
  throw new InputError(`${place}: field ${name} is ${describeValue(value)}, expected a list of objects`);
}

/** A value as JSON has it: whole numbers of Parquet are numbers, and what JSON has no form for is refused. */
function asJson(value: unknown, place: string): unknown {
  if (typeof value === "bigint" && Number.isSafeInteger(Number(value))) return Number(value);
  if (Array.isArray(value)) return value.map((item) => asJson(item, place));
  if (isJsonObject(value) && Object.getPrototypeOf(value) === Object.prototype) {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, asJson(item, place)]));
  }
  if (value === null || ["string", "number", "boolean", "undefined"].includes(typeof value)) return value;
  throw new InputError(`${place} holds ${describeValue(value)}, expected texts, numbers, lists and objects`);
}

/** The field with the answer to a prompt. */
function answerField({ fields: { response, completion } }: DataRecord): "response" | "completion" {
  return response === undefined && completion !== undefined ? "completion" : "response";
}

/**
 * Refuses what the template leaves out: the text is the same without it.
 *
 * @param text What the template writes for the whole.
 * @throws {InputError} naming the field and what to do.
 */
function requireAllWritten(
  { messages, extras }: Conversation,
  { text, template, place }: { text: string; template: ChatTemplate; place: string },
): void {
  const refuse = (what: string) =>
    new InputError(
      `${place}: ${what} is left out by ${template.name}, so the model would not see it; ` +
        "take the field out of the data, or use a template that writes it",
    );
  const isLeftOut = (messages: readonly ChatMessage[], extras: ChatExtras) => {
    try {
      return template.render(messages, { reply: false, place, extras }) === text;
    } catch (error) {
      // What a template fails without, it uses.
      if (error instanceof InputError) return false;
      throw error;
    }
  };
  for (const name of ["tools", "documents"] as const) {
    if (!isEmpty(extras[name]) && isLeftOut(messages, { ...extras, [name]: undefined })) {
      throw refuse(`field ${name}`);
    }
  }
  // A variable may have the value that the template takes without it, so here its name decides.
  const unknown = Object.keys(extras.variables ?? {}).find((name) => !template.mentions(name));
  if (unknown !== undefined) throw refuse(`${unknown} of field chat_template_kwargs`);
  for (const [i, message] of messages.entries()) {
    const content = (message.content ?? "").trim();
    // Content that is there word for word is written; a template may also change it.
    const fields = [...moreFields(message), ...content === "" || text.includes(content) ? [] : ["content"]];
    for (const field of fields) {
      const without = messages.with(i, { ...message, [field]: field === "content" ? "" : null });
      if (isLeftOut(without, extras)) throw refuse(`${field} of messages[${i}] (${message.role})`);
    }
  }
}

function conversation(
  { place }: DataRecord,
  spoken: Conversation,
  template: ChatTemplate,
  { tokenizer, vocabularySize, options: { sequenceLength, overlong = "refuse" } }: DocumentSettings,
): Document {
  const { text, replies } = renderedReplies(spoken, template, place);
  requireAllWritten(spoken, { text, template, place });
  let tokens: Uint32Array = tokenizer.encode(text);
  requireTokensBelow(vocabularySize, tokens, place);
  const trained = new Uint8Array(tokens.length);
  for (const { from, to } of replies) {
    trained.fill(1, tokensBefore(from, text, tokens, tokenizer), tokensBefore(to, text, tokens, tokenizer));
  }
  const { length } = tokens;
  if (length > sequenceLength) {
    if (overlong !== "truncate") {
      throw new InputError(
        `${place}: the conversation has ${length} tokens, expected at most ${sequenceLength}; set overlong to truncate to cut it` +
          (overlong === "split" ? ", it cannot be split" : ""),
      );
    }
    tokens = tokens.subarray(0, sequenceLength);
  }
  const document = { tokens, trained: trained.subarray(0, tokens.length), place };
  if (targetCount(document) > 0) return document;
  throw new InputError(
    `${place}: nothing is left to learn: the first reply begins at token ${
      trained.indexOf(1)
    } of ${length}, the sequence length is ${sequenceLength}`,
  );
}

/** The text of a conversation, and the parts of it that the assistant says, as positions in the text. */
function renderedReplies(
  { messages, learned, extras }: Conversation,
  template: ChatTemplate,
  place: string,
): { text: string; replies: { from: number; to: number }[] } {
  const text = template.render(messages, { reply: false, place, extras });
  const replies = [];
  for (const i of messages.keys()) {
    if (!learned[i]) continue;
    const before = template.render(messages.slice(0, i), { reply: true, place, extras });
    const after = template.render(messages.slice(0, i + 1), { reply: false, place, extras });
    if (!text.startsWith(before) || !text.startsWith(after)) {
      throw new InputError(
        `${place}: the chat template writes the first ${
          i + 1
        } messages differently when others follow or a reply is asked for, so it does not ` +
          "say which tokens are the assistant's",
      );
    }
    replies.push({ from: before.length, to: after.length });
  }
  return { text, replies };
}

/**
 * Tokens of a text that end at or before a position. A token that stands on both sides, as one of a space and
 * the word after it, counts as behind.
 */
function tokensBefore(position: number, text: string, tokens: Uint32Array, tokenizer: Tokenizer): number {
  if (position === text.length) return tokens.length;
  const before = tokenizer.encode(text.slice(0, position));
  let same = 0;
  while (same < before.length && before[same] === tokens[same]) same++;
  return same;
}
