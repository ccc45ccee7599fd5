import type { Dispatch, Kernel } from "../graph/launch.ts";

/**
 * Bytes that a dispatch moves at least: every binding once for being read and once for being written, what it
 * reads from the scratch texture once.
 *
 * A lower bound where tiles read an operand several times, and an upper one where a kernel takes some rows of
 * a table that is bound whole and `reached` does not tell. What is written the kernel declares; what is read
 * its text tells (`slotsRead`).
 */
export function dispatchBytes({ kernel, bindings, reached, copies = [] }: Dispatch): number {
  const read = slotsRead(kernel);
  const copied = copies.reduce((sum, { source }) => sum + source.byteLength, 0);
  return copied + bindings.reduce((sum, { byteLength }, slot) => {
    const times = Number(read.has(slot)) + Number(kernel.writes.includes(slot));
    return sum + (reached?.[slot] ?? byteLength) * times;
  }, 0);
}

/** By text, then by entry point: a large model's plan has the same text in thousands of kernels. */
const known = new Map<string, Map<string, ReadonlySet<number>>>();

/**
 * Slots of group 0 that the functions read which an entry point reaches, for profiles. A name that is used in
 * another way than to be assigned to counts as read.
 */
export function slotsRead({ code, entryPoint }: Kernel): ReadonlySet<number> {
  let ofText = known.get(code);
  if (!ofText) known.set(code, ofText = new Map());
  let slots = ofText.get(entryPoint);
  if (!slots) {
    const text = code.replace(/\/\/.*$/gm, "").replace(/\/\*[\s\S]*?\*\//g, "");
    const body = reachableText(text, entryPoint);
    const declaration = /@group\(0\)\s*@binding\((\d+)\)\s*var\s*<\s*storage[^>]*>\s*(\w+)\s*:/g;
    // One slot may have a name for each of several entry points.
    const declared = [...text.matchAll(declaration)];
    slots = new Set(declared.filter(([, , name]) => isRead(body, name)).map(([, slot]) => Number(slot)));
    ofText.set(entryPoint, slots);
  }
  return slots;
}

/** Whether a variable stands anywhere but left of `=` and where its length is taken. */
function isRead(body: string, name: string): boolean {
  return [...body.matchAll(new RegExp(`(?<![\\w.])${name}\\b`, "g"))].some(({ index }) => {
    const rest = body.slice(endOfPlace(body, index + name.length)).trimStart();
    const before = body.slice(Math.max(0, index - 32), index);
    return !/^=(?!=)/.test(rest) && !/arrayLength\(\s*&\s*$/.test(before);
  });
}

/** End of `[…]` and `.member` behind a name. */
function endOfPlace(text: string, at: number): number {
  for (;;) {
    const member = text.slice(at).match(/^\s*\.\s*\w+/);
    if (member) at += member[0].length;
    else if (/^\s*\[/.test(text.slice(at))) at = closing(text, text.indexOf("[", at), "[", "]") + 1;
    else return at;
  }
}

/** Bodies of an entry point and of all functions that it calls. */
function reachableText(text: string, entryPoint: string): string {
  const bodies = new Map<string, string>();
  for (const { index, 1: name } of text.matchAll(/\bfn\s+(\w+)\s*\(/g)) {
    const open = text.indexOf("{", index);
    bodies.set(name, text.slice(open, closing(text, open, "{", "}") + 1));
  }
  const reached = new Set<string>();
  const visit = (name: string) => {
    const body = bodies.get(name);
    if (body === undefined || reached.has(name)) return;
    reached.add(name);
    for (const [, called] of body.matchAll(/\b(\w+)\s*\(/g)) visit(called);
  };
  visit(entryPoint);
  return [...reached].map((name) => bodies.get(name)).join("\n");
}

/** Index of the bracket that closes the one at `open`. */
function closing(text: string, open: number, left: string, right: string): number {
  let depth = 0;
  for (let i = open; i < text.length; i++) {
    if (text[i] === left) depth++;
    else if (text[i] === right && --depth === 0) return i;
  }
  return text.length;
}
