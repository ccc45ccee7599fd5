import type { Command, Dispatch, Located } from "../../engine/graph/launch.ts";
import { foldGrid, type Target } from "../../engine/graph/target.ts";
import { elementCount } from "../../engine/graph/types.ts";
import { gelu, geluGrad } from "../elementwise.ts";
import { writtenSlots } from "./text.ts";
import { matmulParams } from "./params.ts";
import { type Part, spansOf, split, startsTerms, wholeMatrices, windowsOf } from "./parts.ts";
import { type CheckedSpec, type FusedGelu, type MatmulForm, type MatmulSpec, normalise } from "./product.ts";
import { meetingOperand, partialSums } from "./partial_sums.ts";
import { subgroupMatmulCode } from "../lavapipe/matmul_buffers.ts";
import { matrixMatmulCode } from "./matrix_units.ts";
import { chooseTile, type ChosenTile, fittingTiles, formOf, tileName, workgroupBytesOf } from "./tiles.ts";
import { texelProduct } from "../lavapipe/matmul_texels.ts";
import { tilesOf, type Triangle } from "./triangle.ts";
import { workgroupMatmulCode } from "./workgroup.ts";

/**
 * Dispatches of one product, split over batches, rows, columns or terms where an operand passes the binding limit.
 *
 * Every element of C sums its terms in ascending k in f32, whatever the tile, so results are the same from run to run; a
 * device's matrix units add some of them at once, in an order of their own.
 * Where terms are split, the partial sums meet in f32: in C, or in `spec.meeting` where C is f16, which is then rounded once.
 *
 * @throws {TypeError} if C overlaps an operand, or a dtype is neither f32 nor f16.
 * @throws {RangeError} if not even one row of an operand can be bound, or if terms of an f16 C have nowhere to meet.
 */
export function matmulCommands(spec: MatmulSpec, target: Target): Command[] {
  const checked = normalise(spec);
  const batch = checked.batch;
  const whole: Part = {
    batchFirst: batch.map(() => 0),
    batchCount: [...batch],
    m: { first: 0, count: spec.m },
    n: { first: 0, count: spec.n },
    k: { first: 0, count: spec.k },
  };
  const texels = texelProduct(checked, whole, target);
  if (texels) return texels;
  const parts = split(checked, target, whole);
  const termsSplit = parts.some(({ k }) => k.count < spec.k);
  if (termsSplit && spec.c.value.dtype !== "f32") return meetingCommands(checked, target);
  // No part knows an element of C before its terms have met; and the texture is worth more than the fusion.
  const termsApart = termsSplit ||
    texelProduct({ ...checked, gelu: undefined }, whole, target) !== undefined;
  if (spec.gelu && termsApart) {
    return [
      ...matmulCommands({ ...spec, gelu: undefined }, target),
      ...geluCommands(spec.c.value, spec.gelu, target),
    ];
  }
  return parts.map((part) => dispatchPart(checked, part, target));
}

/** The product in f32, and C from it. */
function meetingCommands(spec: CheckedSpec, target: Target): Command[] {
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
    ...matmulCommands(product, target),
    ...partialSums({ partials: meeting, parts: 1, c, m, n, batch, accumulate }, target),
    ...gelu ? geluCommands(c.value, gelu, target) : [],
  ];
}

/** What a product fuses, in a kernel of its own after it. */
function geluCommands(c: Located, { approximation, activated, of }: FusedGelu, target: Target): Command[] {
  const attrs = { approximation };
  return of
    ? geluGrad.lower({ inputs: [of, c], outputs: [c], attrs, target })
    : gelu.lower({ inputs: [c], outputs: [activated!], attrs, target });
}

function dispatchPart(
  spec: CheckedSpec,
  part: Part,
  target: Target,
  tile = chooseTile(spec, part, target),
): Dispatch {
  const windows = windowsOf(spec, spansOf(spec, part));
  const accumulate = spec.accumulate || !startsTerms(part);
  const { form, bindings } = formOf(spec, part, windows, accumulate, tile);
  const tilesM = Math.ceil(part.m.count / tile.rows);
  const tilesN = Math.ceil(part.n.count / tile.columns);
  const batches = part.batchCount.reduce((product, count) => product * count, 1);
  const grid = foldGrid(tilesM * tilesN * batches, target);
  const triangle = tile.workgroup && wholeMatrices(spec, part) ? spec.triangle : undefined;
  return {
    kernel: {
      name: spec.name,
      code: codeFor(form, tile, triangle),
      entryPoint: "matmul",
      writes: writtenSlots(form),
      workgroupBytes: workgroupBytesOf(form, tile),
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
        return tileName(tile);
      },
      get names() {
        return fittingTiles(spec, part, target).map(tileName);
      },
      use: (name) => {
        const other = fittingTiles(spec, part, target).find((tile) => tileName(tile) === name);
        if (!other) throw new RangeError(`Cannot multiply ${spec.name} in tile ${name}: it does not fit`);
        return dispatchPart(spec, part, target, other);
      },
    },
  };
}

/**
 * What the best tile of a product depends on: storage, types, what is added, and the extents up to the next power of two.
 * As text: `"nt f32·f32→f32 444 +bias 512×1024×256×1"`.
 */
function choiceKey(
  spec: CheckedSpec,
  { m, n, k, batchCount }: Part,
  form: MatmulForm,
  { workgroup }: ChosenTile,
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
    workgroup?.split && `split ${workgroup.split}`,
  ].filter((part) => part).map((part) => ` +${part}`).join("");
  const batches = batchCount.reduce((product, count) => product * count, 1);
  const extents = [m.count, n.count, k.count, batches].map((count) => 2 ** Math.ceil(Math.log2(count)));
  return `${stored} ${types} ${widths}${added} ${extents.join("×")}`;
}

const codes = new Map<string, string>();

/** The text for a form and tile, generated once. */
function codeFor(
  form: MatmulForm,
  { subgroup, workgroup, matrix }: ChosenTile,
  triangle: Triangle,
): string {
  const key = JSON.stringify([form, subgroup, workgroup, matrix, triangle]);
  let code = codes.get(key);
  if (code === undefined) {
    code = subgroup
      ? subgroupMatmulCode(form, subgroup)
      : matrix
      ? matrixMatmulCode(form, matrix)
      : workgroupMatmulCode(form, workgroup!, triangle);
    codes.set(key, code);
  }
  return code;
}
