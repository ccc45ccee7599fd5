import type { Command, Dispatch, Located } from "../../engine/graph/launch.ts";
import { foldGrid } from "../../engine/graph/target.ts";
import { elementCount } from "../../engine/graph/types.ts";
import { gelu, geluGrad } from "../elementwise.ts";
import type { KernelSet } from "../kernel_set.ts";
import { formOf } from "./form.ts";
import { matmulParams } from "./params.ts";
import { type Part, spansOf, split, startsTerms, wholeMatrices, windowsOf } from "./parts.ts";
import { type CheckedSpec, type FusedGelu, type MatmulForm, type MatmulSpec, normalise } from "./product.ts";
import { meetingOperand, partialSums } from "./partial_sums.ts";
import { writtenSlots } from "./text.ts";
import type { ProductTile } from "./tile.ts";
import { tilesOf, type Triangle } from "./triangle.ts";

/**
 * Dispatches of one product, split over batches, rows, columns or terms where an
 * operand passes the binding limit.
 *
 * Every element of C sums its terms in ascending k in f32, whatever the tile, so results are the same from
 * run to run; a device's matrix units add some of them at once, in an order of their own. Where terms are
 * split, the partial sums meet in f32: in C, or in `spec.meeting` where C is f16, which is then rounded once.
 *
 * @throws {TypeError} if C overlaps an operand, or a dtype is neither f32 nor f16.
 * @throws {RangeError} if not even one row of an operand can be bound, or if
 * terms of an f16 C have nowhere to meet.
 */
export function matmulCommands(spec: MatmulSpec, kernels: KernelSet): Command[] {
  const { target, products } = kernels;
  const checked = normalise(spec);
  const batch = checked.batch;
  const whole: Part = {
    batchFirst: batch.map(() => 0),
    batchCount: [...batch],
    m: { first: 0, count: spec.m },
    n: { first: 0, count: spec.n },
    k: { first: 0, count: spec.k },
  };
  const own = products.whole(checked, whole);
  if (own) return own;
  const parts = split(checked, target, whole);
  const termsSplit = parts.some(({ k }) => k.count < spec.k);
  if (termsSplit && spec.c.value.dtype !== "f32") return meetingCommands(checked, kernels);
  // No part knows an element of C before its terms have met; and a product of the
  // set's own is worth more than the fusion.
  const termsApart = termsSplit || products.whole({ ...checked, gelu: undefined }, whole) !== undefined;
  if (spec.gelu && termsApart) {
    return [
      ...matmulCommands({ ...spec, gelu: undefined }, kernels),
      ...geluCommands(spec.c.value, spec.gelu, kernels),
    ];
  }
  return parts.map((part) => dispatchPart(checked, part, kernels));
}

/** The product in f32, and C from it. */
function meetingCommands(spec: CheckedSpec, kernels: KernelSet): Command[] {
  const { name, m, n, batch, c, residual, accumulate = false, gelu, meeting } = spec;
  if (!meeting || meeting.dtype !== "f32" || elementCount(meeting) < batch.reduce((a, b) => a * b, m * n)) {
    throw new RangeError(
      `Cannot split the terms of ${name}: their sums would be rounded to ${c.value.dtype} part by part, expected ` +
        "somewhere to meet in f32",
    );
  }
  const sums = meetingOperand(meeting, { m, n, batch });
  if (residual && !(c.ld === n && (c.offset ?? 0) === 0 && batch.every((count) => count === 1))) {
    throw new TypeError(
      `Cannot split the terms of ${name}: C, and with it the residual, does not lie in one piece`,
    );
  }
  const product = { ...spec, c: sums, accumulate: false, gelu: undefined, meeting: undefined };
  return [
    ...matmulCommands(product, kernels),
    ...partialSums({ partials: meeting, parts: 1, c, m, n, batch, accumulate }, kernels.target),
    ...gelu ? geluCommands(c.value, gelu, kernels) : [],
  ];
}

/** What a product fuses, in a kernel of its own after it. */
function geluCommands(
  c: Located,
  { approximation, activated, of }: FusedGelu,
  kernels: KernelSet,
): Command[] {
  const attrs = { approximation };
  return of
    ? geluGrad.lower({ inputs: [of, c], outputs: [c], attrs, kernels })
    : gelu.lower({ inputs: [c], outputs: [activated!], attrs, kernels });
}

function dispatchPart(
  spec: CheckedSpec,
  part: Part,
  kernels: KernelSet,
  tile = kernels.products.chosen(spec, part),
): Dispatch {
  const windows = windowsOf(spec, spansOf(spec, part));
  const accumulate = spec.accumulate || !startsTerms(part);
  const { form, bindings } = formOf(spec, part, windows, accumulate, tile);
  const tilesM = Math.ceil(part.m.count / tile.rows);
  const tilesN = Math.ceil(part.n.count / tile.columns);
  const batches = part.batchCount.reduce((product, count) => product * count, 1);
  const grid = foldGrid(tilesM * tilesN * batches, kernels.target);
  const triangle = tile.leavesOutTriangles && wholeMatrices(spec, part) ? spec.triangle : undefined;
  return {
    kernel: {
      name: spec.name,
      code: codeFor(form, tile, triangle),
      entryPoint: "matmul",
      writes: writtenSlots(form),
      workgroupBytes: tile.workgroupBytes(form),
    },
    bindings,
    params: matmulParams(spec, part, form, windows, { tilesM, tilesN, grid }),
    workgroups: grid,
    flops: 2 * part.m.count * part.n.count * part.k.count * batches * tilesOf(part, tile, triangle).share,
    // Worked out when asked for: plans have many launches, and most are never tuned.
    choice: {
      get key() {
        return choiceKey(spec, part, form, tile, triangle);
      },
      get chosen() {
        return tile.name;
      },
      get names() {
        return fittingTiles(spec, part, kernels).map(({ name }) => name);
      },
      use: (name) => {
        const other = fittingTiles(spec, part, kernels).find((tile) => tile.name === name);
        if (!other) throw new RangeError(`Cannot multiply ${spec.name} in tile ${name}: it does not fit`);
        return dispatchPart(spec, part, kernels, other);
      },
    },
  };
}

/**
 * What the best tile of a product depends on: storage, types, what is added, and the extents up to the next
 * power of two. As text: `"nt f32·f32→f32 444 +bias 512×1024×256×1"`.
 */
function choiceKey(
  spec: CheckedSpec,
  { m, n, k, batchCount }: Part,
  form: MatmulForm,
  { split }: ProductTile,
  triangle: Triangle,
): string {
  const stored = `${form.aTransposed ? "t" : "n"}${form.bTransposed ? "t" : "n"}`;
  const types = `${form.types.a}·${spec.b.quantized?.format ?? form.types.b}→${form.types.c}`;
  const widths = `${form.widths.a}${form.widths.b}${form.widths.c}`;
  const added = [
    form.types.bias && "bias",
    form.types.residual && "residual",
    form.accumulate && "c",
    form.sums && "sums",
    form.gelu && "gelu",
    triangle && `triangle of ${triangle}`,
    split > 1 && `split ${split}`,
  ].filter((part) => part).map((part) => ` +${part}`).join("");
  const batches = batchCount.reduce((product, count) => product * count, 1);
  const extents = [m.count, n.count, k.count, batches].map((count) => 2 ** Math.ceil(Math.log2(count)));
  return `${stored} ${types} ${widths}${added} ${extents.join("×")}`;
}

const codes = new Map<string, string>();

/** The text for a form and tile, generated once. */
function codeFor(form: MatmulForm, tile: ProductTile, triangle: Triangle): string {
  const key = JSON.stringify([form, tile.numbers, triangle]);
  let code = codes.get(key);
  if (code === undefined) codes.set(key, code = tile.code(form, triangle));
  return code;
}

/**
 * The tiles that can do a part of a product, the one that the rules chose first:
 * what the runtime may choose from.
 */
export function fittingTiles(spec: CheckedSpec, part: Part, { products }: KernelSet): ProductTile[] {
  const chosen = products.chosen(spec, part);
  if (spec.tileRows) return [chosen];
  // A tile more than twice as tall or wide as the product computes more outside it than inside.
  const useful = products.tiles(spec, part).filter(({ rows, columns }) =>
    rows <= 2 * part.m.count && columns <= 2 * part.n.count
  );
  return [chosen, ...useful.filter(({ name }) => name !== chosen.name)];
}
