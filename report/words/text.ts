/** Texts as they stand in sentences, charts and cells. */

/** Control characters break parsers, and bidirectional overrides make text read as what it is not. */
// deno-lint-ignore no-control-regex
const UNPRINTABLE = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f\u202a-\u202e\u2066-\u2069\ufffe\uffff]/g;

/** Replaces characters that cannot be shown by U+FFFD, so that they are seen rather than obeyed. */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, "\ufffd").toWellFormed();
}

/** `batch 4` → `Batch 4`, for the start of a sentence. */
export function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** A record's words as a sentence: a capital, one full stop. */
export function sentence(text: string): string {
  return `${capital(text.trim()).replace(/[.\s]+$/, "")}.`;
}

/** A label inside a sentence: quoted where it would not read as a word (`+ fp16`). */
export function named(label: string): string {
  return /^[\p{L}\p{N}]/u.test(label) ? label : `“${label}”`;
}

/** `Batch 4 …` → `batch 4 …`, for the middle of a sentence. */
export function small(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}

/** `a`, `a and b`, `a, b and c`. */
export function listed(names: readonly string[]): string {
  return names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}
