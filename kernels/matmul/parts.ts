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

/** Whether a part has all rows, columns and terms of its batches: diagonals are where the matrices have them. */
export function wholeMatrices(spec: CheckedSpec, { m, n, k }: Part): boolean {
  return m.count === spec.m && n.count === spec.n && k.count === spec.k;
}

/** Multiply-adds from which the largest tile repays its compilation of two seconds, within a few hundred uses. */
export const LARGE_PRODUCT = 2 ** 26;

/**
 * Multiply-adds up to which a product takes half a millisecond or so in any tile, and the smallest one repays: its code is
 * a fifth of the others', and compiles in a fifth of the time.
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

export function spansOf(spec: CheckedSpec, part: Part): Span[] {
  const matrix = (operand: MatmulOperand, rows: Extent, columns: Extent) => {
    const [down, across] = operand.transposed ? [columns, rows] : [rows, columns];
    const strides = operand.strides!;
    let first = (operand.offset ?? 0) + down.first * operand.ld + across.first;
    let last = (down.count - 1) * operand.ld + across.count - 1;
    strides.forEach((stride, d) => {
      first += part.batchFirst[d] * stride;
      last += (part.batchCount[d] - 1) * stride;
    });
    return { first, end: first + last + 1 };
  };
  const c = matrix(spec.c, part.m, part.n);
  const spans: Omit<Span, "bytes">[] = [
    { role: "a", value: spec.a.value, ...matrix(spec.a, part.m, part.k) },
    { role: "b", value: spec.b.value, ...matrix(spec.b, part.k, part.n) },
    { role: "c", value: spec.c.value, ...c },
  ];
  if (startsTerms(part)) {
    const { first, count } = part.n;
    if (spec.bias) spans.push({ role: "bias", value: spec.bias, first, end: first + count });
    if (spec.residual) spans.push({ role: "residual", value: spec.residual, ...c });
  }
  if (spec.gelu?.activated) spans.push({ role: "activated", value: spec.gelu.activated, ...c });
  if (spec.gelu?.of) spans.push({ role: "slope", value: spec.gelu.of, ...c });
  if (spec.sums && makesSums(part, spec.sums.of)) {
    const { first, count } = spec.sums.of === "a" ? part.m : part.n;
    spans.push({ role: "sums", value: spec.sums.value, first, end: first + count });
  }
  const packed = spec.b.quantized?.format === "nf4";
  const sized = spans.map((span): Span => ({
    ...span,
    bytes: packed && span.role === "b" ? 1 / 2 : DTYPE_BYTES[span.value.dtype],
  }));
  for (const { role, value, bytes, end } of sized) {
    const length = value.byteLength / bytes;
    if (end > length) {
      throw new RangeError(
        `Cannot read ${role} of ${spec.name} to element ${end}: "${value.name}" has ${length}`,
      );
    }
  }
  return sized;
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
  const excess = excessOf(spec, target, part);
  if (excess === 0) return [part];
  let best: { halves: Part[]; excess: number } | undefined;
  for (const halves of halvings(part)) {
    const left = Math.max(...halves.map((half) => excessOf(spec, target, half)));
    if (left < (best?.excess ?? excess)) best = { halves, excess: left };
  }
  if (!best) {
    throw new RangeError(
      `Cannot bind the operands of ${spec.name}: they pass maxStorageBufferBindingSize ` +
        `(${target.maxStorageBufferBindingSize} bytes) by ${excess} bytes however the product is split`,
    );
  }
  return best.halves.flatMap((half) => split(spec, target, half, excessOf));
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
