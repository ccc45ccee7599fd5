/**
 * HTML as values: `markup` escapes whatever is put into it, unless it is `Html` already. Records come from
 * other machines, so no string from a record may reach the page by any other way.
 */
import { printable } from "../words/text.ts";

/** Text that is safe to stand in a page as it is. */
export class Html {
  constructor(readonly text: string) {}
  toString(): string {
    return this.text;
  }
}

export type HtmlValue = Html | string | number | null | undefined | false | readonly HtmlValue[];

const ENTITIES: Record<string, string> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
  "`": "&#96;",
};

/** Escapes text for element content and for quoted attributes. */
export function escapeHtml(text: string): string {
  return printable(text).replace(/[&<>"'`]/g, (character) => ENTITIES[character]);
}

/** Marks text as HTML; only for what this folder's own code wrote (SVG, CSS). */
export function trusted(text: string): Html {
  return new Html(text);
}

function render(value: HtmlValue): string {
  if (value === null || value === undefined || value === false) return "";
  if (value instanceof Html) return value.text;
  if (typeof value === "string" || typeof value === "number") return escapeHtml(String(value));
  return value.map(render).join("");
}

/**
 * Template tag: literal parts stand as written, values are escaped, arrays are joined, null and false are
 * nothing. Not called `html`, because formatters lay such templates out anew, and white space is part of a
 * page.
 */
export function markup(parts: TemplateStringsArray, ...values: HtmlValue[]): Html {
  let text = parts[0];
  for (let i = 0; i < values.length; i++) text += render(values[i]) + parts[i + 1];
  return new Html(text);
}
