import { Template } from "@huggingface/jinja";
import { InputError } from "../input_error.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** One turn of a conversation. */
export interface ChatMessage {
  /** `system`, `user`, `assistant`, or what else a template knows. */
  readonly role: string;
  readonly content: string;
}

/** Turns conversations into the text that a model reads. */
export interface ChatTemplate {
  /**
   * @param reply Whether the text ends where the assistant's next message begins.
   * @throws {InputError} what the template refuses, after the place named.
   */
  render(messages: readonly ChatMessage[], options: { reply: boolean; place: string }): string;
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
  "{{ message.role + ': ' + message.content }}",
  "{% if message.role == 'assistant' %}{{ eos_token }}{% endif %}",
  "{% endfor %}",
  "{% if add_generation_prompt %}{{ '\\nassistant:' }}{% endif %}",
].join("");

/**
 * The template in a tokenizer's configuration (`chat_template`), else a plain one.
 *
 * Source of what templates may use: transformers, utils/chat_template_utils.py.
 *
 * @throws {InputError} when it is not one.
 */
export function chatTemplateOf(tokenizer: Tokenizer): ChatTemplate {
  const { config } = tokenizer.files();
  const source = templateText(config.chat_template) ?? PLAIN_TEMPLATE;
  const tokens = Object.fromEntries(
    ["bos_token", "eos_token", "unk_token", "pad_token"].map((name) => [name, tokenText(config[name])]),
  );
  const template = explaining(`the chat template of ${tokenizer.name}`, () => new Template(source));
  return {
    render: (messages, { reply, place }) =>
      explaining(
        `${place} by the chat template of ${tokenizer.name}`,
        () =>
          template.render({
            ...tokens,
            messages: messages.map((message) => ({ ...message })),
            add_generation_prompt: reply,
          }),
      ),
  };
}

/** A configuration has one template, or several with names. */
function templateText(value: unknown): string | null {
  if (typeof value === "string") return value;
  if (!Array.isArray(value)) return null;
  const named = value as { name?: unknown; template?: unknown }[];
  const { template } = named.find(({ name }) => name === "default") ?? {};
  return typeof template === "string" ? template : null;
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
