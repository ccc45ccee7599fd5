import { type ChatMessage, type ChatTemplate, chatTemplateOf } from "../formats/chat_template.ts";
import { type DataRecord, describeValue, missingField, textField } from "../formats/records.ts";
import type { Tokenizer } from "../formats/tokenizer.ts";
import { InputError } from "../input_error.ts";
import { type Document, targetCount } from "./documents.ts";
import type { TrainOptions } from "./options.ts";
import type { SpecialTokens } from "./special_tokens.ts";
import { requireTokensBelow } from "./tokens.ts";

/** Fields that examples may have besides those that options name. */
export const RECORD_FIELDS = ["text_pair", "messages", "prompt", "response", "completion"] as const;

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
      ? textField(record, options.textField ?? "text")
      : messagesOf(record, kind).map(({ role, content }) => `${role}: ${content}`).join("\n");
  return records.map(textOf).join("\n");
}

/** What making documents depends on. */
export interface DocumentSettings {
  tokenizer: Tokenizer;
  special: SpecialTokens;
  vocabularySize: number;
  options: Pick<TrainOptions, "sequenceLength" | "textField" | "overlong">;
}

/**
 * Documents in which next tokens are to be predicted: texts up to the token that ends them, or conversations of which only
 * what the assistant says counts.
 *
 * @throws {InputError} naming file and line.
 */
export function nextTokenDocumentsOf(records: readonly DataRecord[], settings: DocumentSettings): Document[] {
  const kind = recordKind(records, settings.options);
  if (kind === "text") return records.flatMap((record) => textDocuments(record, settings));
  const template = chatTemplateOf(settings.tokenizer);
  return records.map((record) => conversation(record, messagesOf(record, kind), template, settings));
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

/** `[CLS] first [SEP] second [SEP]`, cut off where asked as transformers does: from the end of the longer text. */
function pairOfTexts(
  { place }: DataRecord,
  first: Uint32Array,
  second: Uint32Array,
  { special, options: { sequenceLength, overlong = "refuse" } }: DocumentSettings,
): Document {
  const { start, end } = aroundText(special);
  const room = sequenceLength - start.length - 2 * end.length;
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
  const head = between(start, first.subarray(0, firstCount), end);
  const tokens = between([...head], second.subarray(0, secondCount), end);
  return { tokens, trained: null, secondText: head.length, place };
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
  field = options.textField ?? "text",
): Uint32Array {
  const tokens = tokenizer.encode(textField(record, field));
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

/** The messages of a conversation, or of a prompt and its response. */
function messagesOf(record: DataRecord, kind: "messages" | "pair"): ChatMessage[] {
  if (kind === "pair") {
    const { response, completion } = record.fields;
    const answer = response === undefined && completion !== undefined ? "completion" : "response";
    return [
      { role: "user", content: textField(record, "prompt") },
      { role: "assistant", content: textField(record, answer) },
    ];
  }
  const { place, fields: { messages } } = record;
  if (messages === undefined || messages === null) throw missingField(record, "messages");
  if (!Array.isArray(messages)) {
    throw new InputError(
      `${place}: field messages is ${describeValue(messages)}, expected a list of {role, content}`,
    );
  }
  const checked = messages.map((message, i): ChatMessage => {
    const { role, content } = (message ?? {}) as Record<string, unknown>;
    if (typeof role === "string" && typeof content === "string") return { role, content };
    throw new InputError(
      `${place}: messages[${i}] is ${describeValue(message)} with role ${describeValue(role)} and content ${
        describeValue(content)
      }, expected texts in both`,
    );
  });
  if (checked.some(({ role, content }) => role === "assistant" && content.trim() !== "")) return checked;
  throw new InputError(`${place}: no message is the assistant's, expected at least one reply to learn`);
}

function conversation(
  record: DataRecord,
  messages: readonly ChatMessage[],
  template: ChatTemplate,
  { tokenizer, vocabularySize, options: { sequenceLength, overlong = "refuse" } }: DocumentSettings,
): Document {
  const { place } = record;
  const { text, replies } = renderedReplies(messages, template, place);
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
  messages: readonly ChatMessage[],
  template: ChatTemplate,
  place: string,
): { text: string; replies: { from: number; to: number }[] } {
  const text = template.render(messages, { reply: false, place });
  const replies = [];
  for (const [i, { role }] of messages.entries()) {
    if (role !== "assistant") continue;
    const before = template.render(messages.slice(0, i), { reply: true, place });
    const after = template.render(messages.slice(0, i + 1), { reply: false, place });
    if (!text.startsWith(before) || !text.startsWith(after)) {
      throw new InputError(
        `${place}: the chat template writes the first ${
          i + 1
        } messages differently when others follow, so it does not ` +
          "say which tokens are the assistant's",
      );
    }
    replies.push({ from: before.length, to: after.length });
  }
  return { text, replies };
}

/**
 * Tokens of a text that end at or before a position. A token that stands on both sides, as one of a space and the word
 * after it, counts as behind.
 */
function tokensBefore(position: number, text: string, tokens: Uint32Array, tokenizer: Tokenizer): number {
  if (position === text.length) return tokens.length;
  const before = tokenizer.encode(text.slice(0, position));
  let same = 0;
  while (same < before.length && before[same] === tokens[same]) same++;
  return same;
}
