import { Template } from "@huggingface/jinja";
import { InputError } from "../input_error.ts";
import { PYTHON_FUNCTIONS, pythonText } from "./python_text.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** One turn of a conversation, as a template is given it. */
export interface ChatMessage {
  /** `system`, `user`, `assistant`, `tool`, or what else a template knows. */
  readonly role: string;
  /** Absent where the message is something else, as calls of tools. */
  readonly content?: string;
  /** What else a template may know: `tool_calls`, `tool_call_id`, `name`, `reasoning_content`, ... */
  readonly [field: string]: unknown;
}

/** What a template is given beside messages. */
export interface ChatExtras {
  /** Schemas of functions that the model may call. */
  readonly tools?: readonly Readonly<Record<string, unknown>>[];
  /** Texts to answer from. */
  readonly documents?: readonly Readonly<Record<string, unknown>>[];
  /** Variables of a template's own, as `enable_thinking`. */
  readonly variables?: Readonly<Record<string, unknown>>;
}

/** Turns conversations into the text that a model reads. */
export interface ChatTemplate {
  /** How errors name it. */
  readonly name: string;
  /**
   * @param reply Whether the text ends where the assistant's next message begins.
   * @throws {InputError} what the template refuses, after the place named.
   */
  render(
    messages: readonly ChatMessage[],
    options: { reply: boolean; place: string; extras?: ChatExtras },
  ): string;
  /** Whether it has the name of a variable anywhere. */
  mentions(variable: string): boolean;
}

/**
 * What conversations look like where the model has no template of its own:
 *
 *     user: How far is the moon?
 *     assistant: 384 400 km.<end of text>
 *
 * with the tokenizer's end-of-text token, if it has one, after what the assistant says.
 */
const PLAIN_TEMPLATE = [
  "{% for message in messages %}",
  "{% if not loop.first %}{{ '\\n' }}{% endif %}",
  "{{ message.role + ': ' + (message.content or '') }}",
  "{% if message.role == 'assistant' %}{{ eos_token }}{% endif %}",
  "{% endfor %}",
  "{% if add_generation_prompt %}{{ '\\nassistant:' }}{% endif %}",
].join("");

/**
 * The template in a tokenizer's configuration (`chat_template`), else a plain one.
 *
 * Source of what templates are given: apply_chat_template of transformers 5.23, tokenization_utils_base.py
 * and utils/chat_template_utils.py.
 *
 * @throws {InputError} when it is not one.
 */
export function chatTemplateOf(tokenizer: Tokenizer): ChatTemplate {
  const { config } = tokenizer.files();
  const own = templateTexts(config.chat_template);
  const name = own.default === undefined
    ? `the plain form of conversations (${tokenizer.name} has no chat template)`
    : `the chat template of ${tokenizer.name}`;
  const tokens = Object.fromEntries(
    ["bos_token", "eos_token", "unk_token", "pad_token"].map((name) => [name, tokenText(config[name])]),
  );
  const parsed = (source: string) =>
    explaining(name, () => {
      const template = new Template(source);
      pythonText(template.parsed);
      return template;
    });
  const usual = parsed(own.default ?? PLAIN_TEMPLATE);
  const forTools = own.tool_use === undefined ? usual : parsed(own.tool_use);
  const names = new Set([usual, forTools].flatMap(({ parsed }) => [...identifiers(parsed)]));
  return {
    name,
    render: (messages, { reply, place, extras: { tools, documents, variables } = {} }) =>
      explaining(
        `${place} by ${name}`,
        () =>
          (tools ? forTools : usual).render({
            ...tokens,
            ...variables,
            ...PYTHON_FUNCTIONS,
            messages: messages.map(asGiven),
            tools: tools ?? null,
            documents: documents ?? null,
            add_generation_prompt: reply,
          }),
      ),
    mentions: (variable) => names.has(variable),
  };
}

/** Names under which a message has what a model thinks before it answers; templates read the first two. */
const REASONING = ["reasoning_content", "thinking", "reasoning"];

/**
 * A message without what is null, and with its reasoning under the names that
 * templates know, as transformers gives it.
 */
function asGiven(message: ChatMessage): Record<string, unknown> {
  const given = Object.fromEntries(Object.entries(message).filter(([, value]) => value !== null));
  const reasoning = REASONING.map((name) => given[name]).find((value) => value !== undefined);
  return reasoning === undefined ? given : { thinking: reasoning, ...given, reasoning_content: reasoning };
}

/**
 * A configuration has one template, or several with names, of which `tool_use` is
 * for conversations with tools.
 */
function templateTexts(value: unknown): { default?: string; tool_use?: string } {
  if (typeof value === "string") return { default: value };
  if (!Array.isArray(value)) return {};
  const named = value as { name?: unknown; template?: unknown }[];
  const text = (wanted: string) => {
    const { template } = named.find(({ name }) => name === wanted) ?? {};
    return typeof template === "string" ? template : undefined;
  };
  return { default: text("default"), tool_use: text("tool_use") };
}

/** All names in a parsed template. */
function* identifiers(node: unknown): Generator<string> {
  if (typeof node !== "object" || node === null) return;
  const { type, value } = node as { type?: unknown; value?: unknown };
  if (type === "Identifier" && typeof value === "string") yield value;
  const children = node instanceof Map ? [...node].flat() : Object.values(node);
  for (const child of children) yield* identifiers(child);
}

function tokenText(token: unknown): string {
  if (typeof token === "string") return token;
  const content = (token as { content?: unknown } | null | undefined)?.content;
  return typeof content === "string" ? content : "";
}

function explaining<T>(what: string, run: () => T): T {
  try {
    return run();
  } catch (error) {
    throw new InputError(`Cannot render ${what}: ${(error as Error).message}`);
  }
}
