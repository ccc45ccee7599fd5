import type { Dispatch, Kernel } from "../graph/op.ts";

/** What a kernel does with one of its bindings. */
export interface BindingAccess {
  reads: boolean;
  writes: boolean;
}

/**
 * Bytes that a dispatch moves at least: every binding once for being read and once for being written, what it reads from the
 * scratch texture once.
 *
 * A lower bound where tiles read an operand several times, and an upper one where a kernel takes some rows of a table that
 * is bound whole and `reached` does not tell. Which bindings are written stands in no declaration, as all are `read_write` (one buffer may not be bound
 * both ways), so the kernel's text says it.
 */
export function dispatchBytes({ kernel, bindings, reached, texels = [] }: Dispatch): number {
  const accesses = bindingAccesses(kernel);
  const copied = texels.reduce((sum, { source }) => sum + source.byteLength, 0);
  return copied + bindings.reduce((sum, { byteLength }, slot) => {
    const { reads, writes } = accesses.get(slot) ?? { reads: false, writes: false };
    return sum + (reached?.[slot] ?? byteLength) * (Number(reads) + Number(writes));
  }, 0);
}

const known = new WeakMap<Kernel, Map<number, BindingAccess>>();
/** By text, then by entry point: a large model's plan has the same text in thousands of kernels. */
const knownTexts = new Map<string, Map<string, Map<number, BindingAccess>>>();

/** What the functions that an entry point reaches do with each binding of group 0, by slot; none where they name it not. */
export function bindingAccesses(kernel: Kernel): Map<number, BindingAccess> {
  let accesses = known.get(kernel);
  if (!accesses) {
    let ofText = knownTexts.get(kernel.code);
    if (!ofText) knownTexts.set(kernel.code, ofText = new Map());
    accesses = ofText.get(kernel.entryPoint);
    if (!accesses) ofText.set(kernel.entryPoint, accesses = readAccesses(kernel));
    known.set(kernel, accesses);
  }
  return accesses;
}

function readAccesses({ code, entryPoint }: Kernel): Map<number, BindingAccess> {
  const text = code.replace(/\/\/.*$/gm, "").replace(/\/\*[\s\S]*?\*\//g, "");
  const body = reachableText(text, entryPoint);
  const accesses = new Map<number, BindingAccess>();
  const declaration = /@group\(0\)\s*@binding\((\d+)\)\s*var\s*<\s*storage[^>]*>\s*(\w+)\s*:/g;
  for (const [, slot, name] of text.matchAll(declaration)) {
    const found = accessOf(body, name);
    const before = accesses.get(Number(slot));
    // One slot may have a name for each of several entry points.
    accesses.set(Number(slot), {
      reads: found.reads || (before?.reads ?? false),
      writes: found.writes || (before?.writes ?? false),
    });
  }
  return accesses;
}

/** How a variable is used: what stands left of `=` is written, what stands left of `+=` or anywhere else is read. */
function accessOf(body: string, name: string): BindingAccess {
  const access = { reads: false, writes: false };
  for (const { index } of body.matchAll(new RegExp(`(?<![\\w.])${name}\\b`, "g"))) {
    const rest = body.slice(endOfPlace(body, index + name.length)).trimStart();
    const [, operator] = rest.match(/^([-+*/%&|^]|<<|>>)?=(?!=)/) ?? [null, null];
    const assigned = operator !== null;
    if (assigned) access.writes = true;
    const before = body.slice(Math.max(0, index - 32), index);
    // The length of an array is no access to it.
    if (/arrayLength\(\s*&\s*$/.test(before)) continue;
    if (!assigned || operator) access.reads = true;
    // What a pointer is good for stands elsewhere.
    if (/[(,=]\s*&\s*$/.test(before)) access.writes = true;
  }
  return access;
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
