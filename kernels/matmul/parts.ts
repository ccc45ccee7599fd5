import { type Binding, BINDING_ALIGNMENT, type Located, overlap } from "../../engine/graph/launch.ts";
import type { Target } from "../../engine/graph/target.ts";
import { DTYPE_BYTES } from "../../engine/graph/types.ts";
import type { CheckedSpec, MatmulOperand, MatmulRole } from "./product.ts";

/** A part of a product: ranges of its batches, rows, columns and terms. */
export interface Part {
  batchFirst: number[];
  batchCount: number[];
  m: Extent;
  n: Extent;
  k: Extent;
}
export interface Extent {
  first: number;
  count: number;
}

/**
 * Whether a part has all rows, columns and terms of its batches: diagonals are where the matrices have them.
 */
export function wholeMatrices(spec: CheckedSpec, { m, n, k }: Part): boolean {
  return m.count === spec.m && n.count === spec.n && k.count === spec.k;
}

/**
 * Multiply-adds from which the largest tile repays its compilation of two seconds, within a few hundred uses.
 */
export const LARGE_PRODUCT = 2 ** 26;

/**
 * Multiply-adds up to which a product takes half a millisecond or so in any tile, and the smallest one
 * repays: its code is a fifth of the others', and compiles in a fifth of the time.
 */
export const SMALL_PRODUCT = 2 ** 22;

/** Multiply-adds of a part, all its batches together. */
export const multiplyAdds = ({ m, n, k, batchCount }: Part) =>
  batchCount.reduce((product, count) => product * count, m.count * n.count * k.count);

/** The elements of one operand that a part touches. */
export interface Span {
  role: MatmulRole;
  value: Located;
  /** Bytes of an element; a half for codes of NF4. */
  bytes: number;
  /** First element touched and one past the last. */
  first: number;
  end: number;
}

/** A bound range and the spans inside it: operands that read overlapping ranges share one binding. */
export interface Window {
  spans: Span[];
  binding: Binding;
}

/** Whether a part is the first over the terms, the one that applies bias and residual. */
export const startsTerms = (part: Part) => part.k.first === 0;

/** Whether a part sums its operand: of those that read the same elements of it, the first. */
function makesSums(part: Part, of: "a" | "b"): boolean {
  return (of === "a" ? part.n : part.m).first === 0;
}

/**
 * The elements that a part touches of one operand, from `rows` and `columns` of
 * the matrix as the product has it.
 */
function elementsOf(
  { transposed, offset = 0, ld, strides }: MatmulOperand,
  { batchFirst, batchCount }: Part,
  rows: Extent,
  columns: Extent,
): { first: number; end: number } {
  const [down, across] = transposed ? [columns, rows] : [rows, columns];
  let first = offset + down.first * ld + across.first;
  let last = (down.count - 1) * ld + across.count - 1;
  for (let d = 0; d < strides!.length; d++) {
    first += batchFirst[d] * strides![d];
    last += (batchCount[d] - 1) * strides![d];
  }
  return { first, end: first + last + 1 };
}

/** What a part touches of each value. @throws {RangeError} if that is more than the value has. */
export function spansOf(spec: CheckedSpec, part: Part): Span[] {
  const spans: Span[] = [];
  const add = (role: MatmulRole, value: Located, { first, end }: { first: number; end: number }) => {
    const bytes = role === "b" && spec.b.quantized?.format === "nf4" ? 1 / 2 : DTYPE_BYTES[value.dtype];
    const length = value.byteLength / bytes;
    if (end > length) {
      throw new RangeError(
        `Cannot read ${role} of ${spec.name} to element ${end}: "${value.name}" has ${length}`,
      );
    }
    spans.push({ role, value, bytes, first, end });
  };
  const along = ({ first, count }: Extent) => ({ first, end: first + count });
  const c = elementsOf(spec.c, part, part.m, part.n);
  add("a", spec.a.value, elementsOf(spec.a, part, part.m, part.k));
  add("b", spec.b.value, elementsOf(spec.b, part, part.k, part.n));
  add("c", spec.c.value, c);
  if (startsTerms(part)) {
    if (spec.bias) add("bias", spec.bias, along(part.n));
    if (spec.residual) add("residual", spec.residual, c);
  }
  if (spec.gelu?.activated) add("activated", spec.gelu.activated, c);
  if (spec.gelu?.of) add("slope", spec.gelu.of, c);
  if (spec.sums && makesSums(part, spec.sums.of)) {
    add("sums", spec.sums.value, along(spec.sums.of === "a" ? part.m : part.n));
  }
  return spans;
}

function windowOf({ value, bytes, first, end }: Span): Binding {
  const start = Math.floor((first * bytes) / BINDING_ALIGNMENT) * BINDING_ALIGNMENT;
  const stop = Math.min(Math.ceil((end * bytes) / 16) * 16, value.byteLength);
  return { buffer: value.buffer, byteOffset: value.byteOffset + start, byteLength: stop - start };
}

/** One window per span, those that overlap merged. @throws {TypeError} if one of them is written. */
export function windowsOf(spec: CheckedSpec, spans: Span[]): Window[] {
  const windows: Window[] = [];
  for (const span of spans) {
    let merged: Window = { spans: [span], binding: windowOf(span) };
    for (let i = windows.length - 1; i >= 0; i--) {
      const other = windows[i];
      if (!overlap(merged.binding, other.binding)) continue;
      windows.splice(i, 1);
      merged = { spans: [...other.spans, ...merged.spans], binding: union(merged.binding, other.binding) };
    }
    windows.push(merged);
  }
  for (const { spans } of windows) {
    if (spans.length === 1) continue;
    const names = spans.map(({ role, value }) => `${role} ("${value.name}")`).join(" and ");
    if (spans.some(({ role }) => role === "c" || role === "sums" || role === "activated")) {
      throw new TypeError(`Cannot write ${spec.name} over an operand: ${names} share storage`);
    }
    if (new Set(spans.map(({ value }) => value.dtype)).size > 1) {
      throw new TypeError(`Cannot bind ${names} of ${spec.name} together: their dtypes differ`);
    }
  }
  return windows;
}

function union(x: Binding, y: Binding): Binding {
  const byteOffset = Math.min(x.byteOffset, y.byteOffset);
  const end = Math.max(x.byteOffset + x.byteLength, y.byteOffset + y.byteLength);
  return { buffer: x.buffer, byteOffset, byteLength: end - byteOffset };
}

/** Bytes by which a part of a product passes what one dispatch can take. */
export type Excess = (spec: CheckedSpec, target: Target, part: Part) => number;

/**
 * Halves a part until nothing is in excess, each time along the dimension that relieves it most.
 *
 * @param excessOf Default: what the windows pass the binding limit by.
 */
export function split(
  spec: CheckedSpec,
  target: Target,
  part: Part,
  excessOf: Excess = excessBytes,
): Part[] {
  return splitFurther(spec, target, part, excessOf, excessOf(spec, target, part));
}

/** `split()` of a part whose excess is known. */
function splitFurther(
  spec: CheckedSpec,
  target: Target,
  part: Part,
  excessOf: Excess,
  excess: number,
): Part[] {
  if (excess === 0) return [part];
  let best: { halves: Part[]; excesses: number[]; excess: number } | undefined;
  for (const halves of halvings(part)) {
    const excesses = halves.map((half) => excessOf(spec, target, half));
    const left = Math.max(...excesses);
    if (left < (best?.excess ?? excess)) best = { halves, excesses, excess: left };
  }
  if (!best) {
    throw new RangeError(
      `Cannot bind the operands of ${spec.name}: they pass maxStorageBufferBindingSize ` +
        `(${target.maxStorageBufferBindingSize} bytes) by ${excess} bytes however the product is split`,
    );
  }
  const { halves, excesses } = best;
  return halves.flatMap((half, i) => splitFurther(spec, target, half, excessOf, excesses[i]));
}

function excessBytes(spec: CheckedSpec, target: Target, part: Part): number {
  let excess = 0;
  for (const { binding } of windowsOf(spec, spansOf(spec, part))) {
    excess += Math.max(0, binding.byteLength - target.maxStorageBufferBindingSize);
  }
  return excess;
}

/** Every way to halve a part: batches first, terms last, because those have to meet again in C. */
function* halvings(part: Part): Generator<Part[]> {
  for (let d = 0; d < part.batchCount.length; d++) {
    const cut = halves({ first: part.batchFirst[d], count: part.batchCount[d] }, 1);
    if (!cut) continue;
    yield cut.map(({ first, count }) => ({
      ...part,
      batchFirst: part.batchFirst.with(d, first),
      batchCount: part.batchCount.with(d, count),
    }));
  }
  for (const dimension of ["m", "n", "k"] as const) {
    const cut = halves(part[dimension], part[dimension].count >= 128 ? 64 : 4);
    if (cut) yield cut.map((extent) => ({ ...part, [dimension]: extent }));
  }
}

/** An extent in two, the first a multiple of `unit` where that leaves a second: whole tiles, whole vec4s. */
function halves({ first, count }: Extent, unit: number): [Extent, Extent] | undefined {
  if (count < 2) return undefined;
  const step = count > unit ? unit : 1;
  const head = Math.min(Math.ceil(count / 2 / step) * step, count - 1);
  return [{ first, count: head }, { first: first + head, count: count - head }];
}

/** Elements from the start of a binding to the first of a span. */
export function elementOffset(span: Span, binding: Binding): number {
  return span.first - (binding.byteOffset - span.value.byteOffset) / span.bytes;
}
