import {
  type Binding,
  BINDING_ALIGNMENT,
  type Command,
  type Dispatch,
  foldGrid,
  type Located,
  type Target,
} from "../engine/graph/op.ts";
import { DTYPE_BYTES } from "../engine/graph/types.ts";
import {
  isVector,
  type MatmulDtype,
  type MatmulForm,
  type MatmulParams,
  type MatmulRole,
  paramWords,
} from "./matmul_code.ts";
import { rowsPerGroup, subgroupMatmulCode, type SubgroupTile } from "./matmul_subgroup.ts";
import { invocations, workgroupBytes, workgroupMatmulCode, type WorkgroupTile } from "./matmul_workgroup.ts";

/** One operand of a batched, strided product: element (i, j) of batch z lies at offset + z·strides + i·ld + j. */
export interface MatmulOperand {
  value: Located;
  /** Elements from the start of the value to the first one. */
  offset?: number;
  /** Elements between rows as stored. */
  ld: number;
  /** Whether the operand is stored transposed: A as [k, m], B as [n, k]. */
  transposed?: boolean;
  /** Elements between batches, one per batch dimension; 0 repeats the operand. */
  strides?: readonly number[];
}

/** C[m, n] = alpha · A[m, k] · B[k, n] (+ bias[n]) (+ residual[m, n]) (+ C where `accumulate`), for every batch. */
export interface MatmulSpec {
  /** Name for profiles. */
  name: string;
  m: number;
  n: number;
  k: number;
  /** Up to three batch extents, outermost first; default none. */
  batch?: readonly number[];
  a: MatmulOperand;
  b: MatmulOperand;
  c: MatmulOperand;
  alpha?: number;
  bias?: Located;
  /** Same layout as C; may be C itself, which is then added to in place. */
  residual?: Located;
  accumulate?: boolean;
}

/** A part of a product: ranges of its batches, rows, columns and terms. */
interface Part {
  batchFirst: number[];
  batchCount: number[];
  m: Extent;
  n: Extent;
  k: Extent;
}
interface Extent {
  first: number;
  count: number;
}

/** The elements of one operand that a part touches. */
interface Span {
  role: MatmulRole;
  value: Located;
  /** First element touched and one past the last. */
  first: number;
  end: number;
}

/** A bound range and the spans inside it: operands that read overlapping ranges share one binding. */
interface Window {
  spans: Span[];
  binding: Binding;
}

/**
 * Dispatches of one product, split over batches, rows, columns or terms where an operand passes the binding limit.
 *
 * Every element of C sums its terms in ascending k in f32, whatever the tile, so results are the same from run to run.
 * Where terms are split, the partial sums meet in C, rounded to its type.
 *
 * @throws {TypeError} if C overlaps an operand, or a dtype is neither f32 nor f16.
 * @throws {RangeError} if not even one row of an operand can be bound.
 */
export function matmulCommands(spec: MatmulSpec, target: Target): Command[] {
  const checked = normalise(spec);
  const batch = checked.batch;
  const parts = split(checked, target, {
    batchFirst: batch.map(() => 0),
    batchCount: [...batch],
    m: { first: 0, count: spec.m },
    n: { first: 0, count: spec.n },
    k: { first: 0, count: spec.k },
  });
  return parts.map((part) => dispatchPart(checked, part, target));
}

type CheckedSpec = MatmulSpec & { batch: readonly number[] };

function normalise(spec: MatmulSpec): CheckedSpec {
  const { name, m, n, k, batch = [] } = spec;
  if (!(m >= 1 && n >= 1 && k >= 1)) {
    throw new RangeError(`Cannot multiply ${m} × ${k} by ${k} × ${n} (${name})`);
  }
  if (batch.length > 3) {
    throw new RangeError(`Cannot batch ${name} over ${batch.length} dimensions: at most 3`);
  }
  for (const [role, value] of valuesOf(spec)) {
    if (value.dtype !== "f32" && value.dtype !== "f16") {
      throw new TypeError(
        `Cannot multiply ${role} of ${name} with dtype ${value.dtype}: expected f32 or f16`,
      );
    }
  }
  const padding = 3 - batch.length;
  const pad = (operand: MatmulOperand): MatmulOperand => {
    const strides = operand.strides ?? batch.map(() => 0);
    if (strides.length !== batch.length) {
      throw new TypeError(
        `Cannot batch ${name} [${batch}] with strides [${strides}]: expected one stride per dimension`,
      );
    }
    return { ...operand, strides: [...Array(padding).fill(0), ...strides] };
  };
  const c = spec.c.value;
  const inPlace = spec.residual?.buffer === c.buffer && spec.residual.byteOffset === c.byteOffset;
  if (inPlace && spec.accumulate) {
    throw new TypeError(`Cannot accumulate ${name} into C that is its own residual`);
  }
  return {
    ...spec,
    batch: [...Array(padding).fill(1), ...batch],
    a: pad(spec.a),
    b: pad(spec.b),
    c: pad(spec.c),
    residual: inPlace ? undefined : spec.residual,
    accumulate: spec.accumulate || inPlace,
  };
}

function valuesOf(spec: MatmulSpec): [MatmulRole, Located][] {
  const all: [MatmulRole, Located | undefined][] = [
    ["a", spec.a.value],
    ["b", spec.b.value],
    ["c", spec.c.value],
    ["bias", spec.bias],
    ["residual", spec.residual],
  ];
  return all.filter((entry): entry is [MatmulRole, Located] => entry[1] !== undefined);
}

/** Whether a part is the first over the terms, the one that applies bias and residual. */
const startsTerms = (part: Part) => part.k.first === 0;

function spansOf(spec: CheckedSpec, part: Part): Span[] {
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
  const spans: Span[] = [
    { role: "a", value: spec.a.value, ...matrix(spec.a, part.m, part.k) },
    { role: "b", value: spec.b.value, ...matrix(spec.b, part.k, part.n) },
    { role: "c", value: spec.c.value, ...c },
  ];
  if (startsTerms(part)) {
    const { first, count } = part.n;
    if (spec.bias) spans.push({ role: "bias", value: spec.bias, first, end: first + count });
    if (spec.residual) spans.push({ role: "residual", value: spec.residual, ...c });
  }
  for (const { role, value, end } of spans) {
    const length = value.byteLength / DTYPE_BYTES[value.dtype];
    if (end > length) {
      throw new RangeError(
        `Cannot read ${role} of ${spec.name} to element ${end}: "${value.name}" has ${length}`,
      );
    }
  }
  return spans;
}

function windowOf(value: Located, first: number, end: number): Binding {
  const bytes = DTYPE_BYTES[value.dtype];
  const start = Math.floor((first * bytes) / BINDING_ALIGNMENT) * BINDING_ALIGNMENT;
  const stop = Math.min(Math.ceil((end * bytes) / 16) * 16, value.byteLength);
  return { buffer: value.buffer, byteOffset: value.byteOffset + start, byteLength: stop - start };
}

/** One window per span, those that overlap merged. @throws {TypeError} if one of them is C. */
function windowsOf(spec: CheckedSpec, spans: Span[]): Window[] {
  const windows: Window[] = [];
  for (const span of spans) {
    let merged: Window = { spans: [span], binding: windowOf(span.value, span.first, span.end) };
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
    if (spans.some(({ role }) => role === "c")) {
      throw new TypeError(`Cannot write C of ${spec.name} over an operand: ${names} share storage`);
    }
    if (new Set(spans.map(({ value }) => value.dtype)).size > 1) {
      throw new TypeError(`Cannot bind ${names} of ${spec.name} together: their dtypes differ`);
    }
  }
  return windows;
}

function overlap(x: Binding, y: Binding): boolean {
  return x.buffer === y.buffer && x.byteOffset < y.byteOffset + y.byteLength &&
    y.byteOffset < x.byteOffset + x.byteLength;
}

function union(x: Binding, y: Binding): Binding {
  const byteOffset = Math.min(x.byteOffset, y.byteOffset);
  const end = Math.max(x.byteOffset + x.byteLength, y.byteOffset + y.byteLength);
  return { buffer: x.buffer, byteOffset, byteLength: end - byteOffset };
}

/** Halves a part until every window fits a binding, each time along the dimension that relieves the windows most. */
function split(spec: CheckedSpec, target: Target, part: Part): Part[] {
  const excess = excessBytes(spec, target, part);
  if (excess === 0) return [part];
  let best: { halves: Part[]; excess: number } | undefined;
  for (const halves of halvings(part)) {
    const left = Math.max(...halves.map((half) => excessBytes(spec, target, half)));
    if (left < (best?.excess ?? excess)) best = { halves, excess: left };
  }
  if (!best) {
    throw new RangeError(
      `Cannot bind the operands of ${spec.name}: they pass maxStorageBufferBindingSize ` +
        `(${target.maxStorageBufferBindingSize} bytes) by ${excess} bytes however the product is split`,
    );
  }
  return best.halves.flatMap((half) => split(spec, target, half));
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
function elementOffset(span: Span, binding: Binding): number {
  return span.first - (binding.byteOffset - span.value.byteOffset) / DTYPE_BYTES[span.value.dtype];
}

function dispatchPart(spec: CheckedSpec, part: Part, target: Target): Dispatch {
  const windows = windowsOf(spec, spansOf(spec, part));
  const accumulate = spec.accumulate || !startsTerms(part);
  const untailed = formOf(spec, part, windows, accumulate);
  const kernelTile = chooseTile(untailed, part, target);
  const form = { ...untailed, tail: part.k.count % kernelTile.step !== 0 };
  const tilesM = Math.ceil(part.m.count / kernelTile.rows);
  const tilesN = Math.ceil(part.n.count / kernelTile.columns);
  const batches = part.batchCount.reduce((product, count) => product * count, 1);
  const workgroups = tilesM * tilesN * batches;
  const grid = foldGrid(workgroups, target);

  const params: MatmulParams = {
    m: part.m.count,
    n: part.n.count,
    k: part.k.count,
    alpha: spec.alpha ?? 1,
    tilesM,
    tilesN,
    // Neighbours share the operand that stays put while they walk; walk along the smaller one, which caches hold whole.
    downFirst: part.m.count < part.n.count ? 1 : 0,
    workgroups,
    gridWidth: grid[0],
    batch1: part.batchCount[1],
    batch2: part.batchCount[2],
    biasOffset: 0,
    residualOffset: 0,
  };
  for (const { spans, binding } of windows) {
    for (const span of spans) {
      params[`${span.role}Offset`] = elementOffset(span, binding) / (isVector(form, span.role) ? 4 : 1);
    }
  }
  for (const role of ["a", "b", "c"] as const) {
    const unit = isVector(form, role) ? 4 : 1;
    // One row is never stepped over, so its stride need not be a whole number of vec4s.
    params[`${role}Row`] = Math.floor(spec[role].ld / unit);
    spec[role].strides!.forEach((stride, d) => params[`${role}Batch${d}`] = Math.floor(stride / unit));
  }
  return {
    kernel: { name: spec.name, code: codeFor(form, kernelTile), entryPoint: "matmul" },
    bindings: windows.map(({ binding }) => binding),
    params: paramWords(params),
    workgroups: grid,
    flops: 2 * part.m.count * part.n.count * part.k.count * batches,
  };
}

/** A form but for what the tile decides. */
type Untailed = Omit<MatmulForm, "tail">;

function formOf(spec: CheckedSpec, part: Part, windows: Window[], accumulate: boolean): Untailed {
  const { m, n, k } = part;
  const vector: Partial<Record<MatmulRole, boolean>> = {};
  const slots: MatmulForm["slots"] = {};
  const types: MatmulForm["types"] = {};
  windows.forEach(({ spans, binding }, slot) => {
    for (const span of spans) {
      const { role, value } = span;
      slots[role] = slot;
      types[role] = value.dtype as MatmulDtype;
      vector[role] = elementOffset(span, binding) % 4 === 0 &&
        (role === "bias" || isAligned(spec, part, role));
    }
  });
  const contiguous = {
    a: spec.a.transposed ? m : k,
    b: spec.b.transposed ? k : n,
  };
  let aVector = vector.a! && contiguous.a.count % 4 === 0;
  let bVector = vector.b! && contiguous.b.count % 4 === 0;
  let cVector = vector.c! && n.count % 4 === 0 && vector.bias !== false && vector.residual !== false;
  // Roles that share a binding share its element type.
  const follows = (role: MatmulRole) => (role === "a" ? aVector : role === "b" ? bVector : cVector);
  for (const { spans } of windows) {
    if (spans.every(({ role }) => follows(role))) continue;
    for (const { role } of spans) {
      if (role === "a") aVector = false;
      else if (role === "b") bVector = false;
      else cVector = false;
    }
  }
  return {
    aTransposed: spec.a.transposed ?? false,
    bTransposed: spec.b.transposed ?? false,
    aVector,
    bVector,
    cVector,
    types,
    slots,
    accumulate,
  };
}

/** Whether rows and batches of an operand begin at whole vec4s from its first element. */
function isAligned(spec: CheckedSpec, part: Part, role: Exclude<MatmulRole, "bias">): boolean {
  const operand = role === "residual" ? spec.c : spec[role];
  const rows = operand.transposed === true
    ? (role === "a" ? part.k : part.n)
    : role === "b"
    ? part.k
    : part.m;
  return (rows.count === 1 || operand.ld % 4 === 0) &&
    operand.strides!.every((stride, d) => part.batchCount[d] === 1 || stride % 4 === 0);
}

/** A tile of either family, its extents, and the terms one step of its main loop takes. */
interface ChosenTile {
  rows: number;
  columns: number;
  step: number;
  subgroup?: SubgroupTile;
  workgroup?: WorkgroupTile;
}

function chooseTile(form: Untailed, part: Part, target: Target): ChosenTile {
  return target.software && target.subgroupSize >= 4
    ? chooseSubgroupTile(form, part, target.subgroupSize)
    : chooseWorkgroupTile(part, target);
}

/**
 * Two or three tiles per form, because each costs some 0.3 s of compilation: a short one for few rows, 32 rows by default,
 * 64 where there are enough tiles to keep all cores busy (counts for 8 lanes).
 */
function chooseSubgroupTile(form: Untailed, { m, n, batchCount }: Part, lanes: number): ChosenTile {
  const perGroup = rowsPerGroup(form, lanes);
  const columns = 4 * lanes;
  const batches = batchCount.reduce((product, count) => product * count, 1);
  const tiles = (rows: number) => Math.ceil(m.count / rows) * Math.ceil(n.count / columns) * batches;
  const tall = Math.max(1, (8 * lanes) / perGroup);
  const middle = Math.max(1, (4 * lanes) / perGroup);
  let rowGroups = middle;
  if (m.count <= lanes) rowGroups = 1;
  else if (tiles(tall * perGroup) >= 64 && m.count % (tall * perGroup) === 0) rowGroups = tall;
  return {
    rows: rowGroups * perGroup,
    columns,
    step: 4,
    subgroup: { lanes, rowGroups, columnGroups: 1 },
  };
}

const WORKGROUP_TILES: readonly WorkgroupTile[] = [
  { rows: 128, columns: 128, depth: 16, block: 8 },
  { rows: 64, columns: 64, depth: 16, block: 8 },
  { rows: 32, columns: 32, depth: 16, block: 4 },
];

/** Workgroups a GPU needs to have work for all its cores; the largest NVIDIA ones have 132. */
const ENOUGH_WORKGROUPS = 256;

function chooseWorkgroupTile({ m, n, batchCount }: Part, target: Target): ChosenTile {
  const batches = batchCount.reduce((product, count) => product * count, 1);
  const fitting = WORKGROUP_TILES.filter((tile) =>
    invocations(tile) <= target.maxComputeInvocationsPerWorkgroup &&
    workgroupBytes(tile) <= target.maxComputeWorkgroupStorageSize
  );
  if (fitting.length === 0) {
    throw new RangeError(
      `Cannot multiply with workgroups of ${target.maxComputeInvocationsPerWorkgroup} invocations and ` +
        `${target.maxComputeWorkgroupStorageSize} bytes: the smallest tile needs 64 and 4096`,
    );
  }
  const tile = fitting.find(({ rows, columns }) =>
    rows <= 2 * m.count && columns <= 2 * n.count &&
    Math.ceil(m.count / rows) * Math.ceil(n.count / columns) * batches >= ENOUGH_WORKGROUPS
  ) ?? fitting.at(-1)!;
  return {
    rows: tile.rows,
    columns: tile.columns,
    step: tile.depth,
    workgroup: tile,
  };
}

const codes = new Map<string, string>();

/** The text for a form and tile, generated once. */
function codeFor(form: MatmulForm, { subgroup, workgroup }: ChosenTile): string {
  const key = JSON.stringify([form, subgroup, workgroup]);
  let code = codes.get(key);
  if (code === undefined) {
    code = subgroup ? subgroupMatmulCode(form, subgroup) : workgroupMatmulCode(form, workgroup!);
    codes.set(key, code);
  }
  return code;
}
