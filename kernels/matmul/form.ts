import type { Binding } from "../../engine/graph/launch.ts";
import { elementOffset, multiplyAdds, type Part, SMALL_PRODUCT, startsTerms, type Window } from "./parts.ts";
import type { CheckedSpec, MatmulDtype, MatmulForm, MatmulRole, Width } from "./product.ts";
import { quantizedForm, widestCodes } from "./quantized.ts";
import type { TileLoads } from "./tile.ts";

/**
 * The kernel's form for a part, its windows and its tile, and its bindings: the windows and what decodes B.
 */
export function formOf(
  spec: CheckedSpec,
  part: Part,
  windows: Window[],
  accumulate: boolean,
  tile: TileLoads,
): { form: MatmulForm; bindings: Binding[] } {
  const slots: MatmulForm["slots"] = {};
  const types: MatmulForm["types"] = {};
  const widths: Record<"a" | "b" | "c", Width> = { a: 1, b: 1, c: 8 };
  const words: Record<"a" | "b", 0 | 32> = { a: 0, b: 0 };
  windows.forEach(({ spans, binding }, slot) => {
    // Roles that share a binding share its element type.
    const codes = spec.b.quantized !== undefined && spans.some(({ role }) => role === "b");
    const operandsOnly = !codes && spans.every(({ role }) => role === "a" || role === "b");
    const width = Math.min(...spans.map((span) => {
      const { role } = span;
      if (role === "sums") return 1;
      const offset = elementOffset(span, binding);
      const most = tile.widest(spec, role, { codes, operandsOnly });
      const limit = codes ? widestCodes(spec, most) : most;
      return widestAligned(spec, part, role, offset, limit, tile.readsPadding(role));
    })) as Width;
    for (const { role, value } of spans) {
      slots[role] = slot;
      if (!(role === "b" && codes)) types[role] = value.dtype as MatmulDtype;
      if (role === "a" || role === "b") {
        widths[role] = width;
        const halves = tile.halvesAsWords && operandsOnly && value.dtype === "f16";
        words[role] = width > 1 && halves ? 32 : 0;
      } else if (role !== "sums") widths.c = Math.min(widths.c, width) as Width;
    }
  });
  // All else follows C, and with them A or B where they share a binding.
  for (const { spans } of windows) {
    if (spans.every(({ role }) => role === "a" || role === "b")) continue;
    for (const { role } of spans) {
      if (role === "a" || role === "b") widths[role] = Math.min(widths[role], widths.c) as Width;
    }
  }
  // Loads of single numbers take many instructions each: a loop that steps by one k compiles in a fourth of
  // the time. Codes are worth no more ever, numbers where the product is small.
  const codesSingly = spec.b.quantized !== undefined && widths.b === 1;
  if (codesSingly && tile.stepsSingly && !spec.a.transposed) [widths.a, words.a] = [1, 0];
  const single = tile.stepsSingly &&
    (codesSingly || (widths.a === 1 && widths.b === 1 && multiplyAdds(part) <= SMALL_PRODUCT));
  const quantized = quantizedForm(spec, windows, tile.codeLanes);
  const form: MatmulForm = {
    aTransposed: spec.a.transposed ?? false,
    bTransposed: spec.b.transposed ?? false,
    widths,
    words,
    types,
    slots,
    quantized: quantized?.form,
    accumulate,
    gelu: spec.gelu?.approximation,
    sums: slots.sums === undefined ? undefined : {
      of: spec.sums!.of,
      accumulate: spec.sums!.accumulate || !startsTerms(part),
    },
    single,
    tail: single || part.k.count % tile.step !== 0,
  };
  return { form, bindings: [...windows.map(({ binding }) => binding), ...quantized?.bindings ?? []] };
}

/**
 * The largest width up to `limit` at which all rows and batches of an operand, and what follows them, begin.
 *
 * @param usePadding Whether the kernel can do with whole vectors of padded rows.
 */
export function widestAligned(
  spec: CheckedSpec,
  part: Part,
  role: Exclude<MatmulRole, "sums">,
  offset: number,
  limit: Width,
  usePadding = false,
): Width {
  const fits = (...counts: number[]) =>
    ([8, 4, 1] as const).find((width) => width <= limit && counts.every((count) => count % width === 0))!;
  if (role === "bias") return fits(offset, part.n.count);
  const operand = role === "a" || role === "b" ? spec[role] : spec.c;
  const [down, across] = role === "a" ? [part.m, part.k] : role === "b" ? [part.k, part.n] : [part.m, part.n];
  const [rows, columns] = operand.transposed ? [across, down] : [down, across];
  const [wholeDown, wholeAcross] = role === "a"
    ? [spec.m, spec.k]
    : role === "b"
    ? [spec.k, spec.n]
    : [spec.m, spec.n];
  const end = operand.transposed ? wholeDown : wholeAcross;
  // Padding follows the last column of the matrix, not of a part that ends before it.
  const inPadding = usePadding && operand.padded && columns.first + columns.count === end;
  return fits(
    offset,
    inPadding ? operand.ld : columns.count,
    // A single row is never stepped over, nor a single batch.
    rows.count === 1 ? 0 : operand.ld,
    ...operand.strides!.filter((_, d) => part.batchCount[d] > 1),
  );
}
