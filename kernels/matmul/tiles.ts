import type { Binding } from "../../engine/graph/launch.ts";
import type { Target } from "../../engine/graph/target.ts";
import { elementOffset, multiplyAdds, type Part, SMALL_PRODUCT, startsTerms, type Window } from "./parts.ts";
import { quantizedForm, widestCodes } from "./quantized.ts";
import type { CheckedSpec, MatmulDtype, MatmulForm, MatmulRole, Width } from "./product.ts";
import type { SubgroupTile } from "../lavapipe/matmul_buffers.ts";
import { chooseSubgroupTile, largeSubgroupTiles, widestLoad } from "../lavapipe/subgroup_tiles.ts";
import { matrixBytes, matrixExtents, type MatrixTile, matrixTileName, matrixTiles } from "./matrix_units.ts";
import { invocations, termsPerTurn, workgroupBytes, type WorkgroupTile } from "./workgroup.ts";

/** A tile of one of the families, its extents, and the terms one step of its main loop takes. */
export interface ChosenTile {
  rows: number;
  columns: number;
  step: number;
  subgroup?: SubgroupTile;
  workgroup?: WorkgroupTile;
  matrix?: MatrixTile;
}

/** The tile for a part of a product. */
export function chooseTile(spec: CheckedSpec, part: Part, target: Target): ChosenTile {
  const [matrix] = matrixTiles(spec, part, target);
  if (matrix) return matrixChoice(matrix);
  if (!target.software || target.subgroupSize < 4) return chooseWorkgroupTile(spec, part, target);
  return subgroupChoice(chooseSubgroupTile(spec, part, target.subgroupSize));
}

function subgroupChoice(subgroup: SubgroupTile): ChosenTile {
  return { rows: subgroup.rows, columns: 4 * subgroup.lanes * subgroup.columnVectors, step: 4, subgroup };
}

function workgroupChoice(workgroup: WorkgroupTile): ChosenTile {
  return { rows: workgroup.rows, columns: workgroup.columns, step: termsPerTurn(workgroup), workgroup };
}

function matrixChoice(matrix: MatrixTile): ChosenTile {
  const { rows, columns, depth } = matrixExtents(matrix);
  return { rows, columns, step: depth, matrix };
}

/** Whether a device's limits allow a tile. */
function fits(tile: WorkgroupTile, target: Target): boolean {
  return invocations(tile) <= target.maxComputeInvocationsPerWorkgroup &&
    workgroupBytes(tile) <= target.maxComputeWorkgroupStorageSize;
}

/** Workgroup memory that a product of this form takes in a tile. */
export function workgroupBytesOf(form: MatmulForm, { workgroup, matrix }: ChosenTile): number {
  return workgroup ? workgroupBytes(workgroup) : matrix ? matrixBytes(form, matrix) : 0;
}

/** Name of a tile, for choices that are kept: rows × columns, and what else tells it from others. */
export function tileName({ rows, columns, subgroup, workgroup, matrix }: ChosenTile): string {
  if (matrix) return matrixTileName(matrix);
  const size = `${rows}×${columns}`;
  if (subgroup) return `subgroup ${size}`;
  const { depth, block, split = 1 } = workgroup!;
  return `workgroup ${size}×${depth}/${block.join("×")}${split > 1 ? ` split ${split}` : ""}`;
}

/** The tiles that can do a part of a product, the one of `chooseTile` among them: what the runtime may choose from. */
export function fittingTiles(spec: CheckedSpec, part: Part, target: Target): ChosenTile[] {
  if (spec.tileRows) return [chooseTile(spec, part, target)];
  const chosen = chooseTile(spec, part, target);
  const tiles = chosen.subgroup
    ? largeSubgroupTiles(spec, target.subgroupSize).map(subgroupChoice)
    : chosen.matrix
    ? matrixTiles(spec, part, target).map(matrixChoice)
    : workgroupTiles(spec, part, target).map(workgroupChoice);
  // A tile more than twice as tall or wide as the product computes more outside it than inside.
  const useful = tiles.filter(({ rows, columns }) => rows <= 2 * part.m.count && columns <= 2 * part.n.count);
  const others = useful.filter((tile) => tileName(tile) !== tileName(chosen));
  return [chosen, ...others];
}

/** Tiles of one team, from which rules and clock choose; the rules take the first that suits. */
const WHOLE_TILES: readonly WorkgroupTile[] = [
  { rows: 128, columns: 128, depth: 32, block: [8, 8] },
  { rows: 64, columns: 128, depth: 16, block: [8, 8] },
  { rows: 128, columns: 64, depth: 16, block: [8, 8] },
  { rows: 64, columns: 64, depth: 16, block: [8, 8] },
  { rows: 64, columns: 32, depth: 32, block: [8, 4] },
  { rows: 32, columns: 32, depth: 16, block: [4, 4] },
];

/** Of several teams. All slices are of 16 terms: then the sums have the same bits in each of them. */
const SPLIT_TILES: readonly WorkgroupTile[] = [
  { rows: 64, columns: 64, depth: 16, block: [8, 8] },
  { rows: 32, columns: 32, depth: 16, block: [4, 4] },
];

/** The tiles that sum in the order of the rules, whose bits are therefore the same: those of as many teams. */
function workgroupTiles(spec: CheckedSpec, part: Part, target: Target): readonly WorkgroupTile[] {
  const split = teamsFor(spec, part);
  const splits = SPLIT_TILES.map((tile): WorkgroupTile => ({ ...tile, split })).filter((tile) =>
    fits(tile, target)
  );
  return split > 1 && splits.length === SPLIT_TILES.length
    ? splits
    : WHOLE_TILES.filter((tile) => fits(tile, target));
}

const tileCount = ({ m, n, batchCount }: Part, { rows, columns }: { rows: number; columns: number }) =>
  batchCount.reduce(
    (product, count) => product * count,
    Math.ceil(m.count / rows) * Math.ceil(n.count / columns),
  );

/**
 * Teams that share out the terms, where there are so many of them and so few tiles that waiting for memory would show. Measured
 * on a GPU of 132 cores: four teams for 576 tiles of 4096 terms took 0.73 of one's time, for 768 tiles of 3072 terms 0.9; two
 * for 128 tiles of 1024 terms 0.6, for 768 narrow ones 0.84: a head's values, whose tiles cannot be wider.
 *
 * Terms decide first, so that products of few never have other bits for other extents.
 */
function teamsFor({ tileRows }: CheckedSpec, part: Part): 1 | 2 | 4 {
  if (tileRows || part.k.count < 512) return 1;
  const tiles = tileCount(part, SPLIT_TILES[0]);
  if (part.k.count >= 2048 && tiles <= 640) return 4;
  const narrow = part.n.count <= SPLIT_TILES[0].columns;
  return tiles <= (narrow ? 1024 : 256) ? 2 : 1;
}

/** Cores of the GPU that the rules were measured on, one of the largest. */
const GPU_CORES = 132;
/** Workgroups that keep it busy: the last wave is rarely full. */
const ENOUGH_WORKGROUPS = 128;
/** Workgroups of the largest tile that run at once. */
export const LARGE_WORKGROUPS_AT_ONCE = 2 * GPU_CORES;
/**
 * Whether workgroups of the largest tile leave few cores without work. Measured: 108, 128 and 264 of them beat smaller tiles by a
 * tenth to a third, 144 and 192 lost as much.
 */
const fillCores = (workgroups: number) => workgroups > 0.8 * GPU_CORES * Math.ceil(workgroups / GPU_CORES);

/** What a tile computes in and beyond C, in C's. */
const waste = ({ m, n }: Part, { rows, columns }: WorkgroupTile) =>
  Math.ceil(m.count / rows) * rows * Math.ceil(n.count / columns) * columns / (m.count * n.count);
/** What larger tiles gain is lost beyond this. */
const MOST_WASTE = 1.5;

function chooseWorkgroupTile(spec: CheckedSpec, part: Part, target: Target): ChosenTile {
  const tiles = workgroupTiles(spec, part, target);
  if (tiles.length === 0) {
    throw new RangeError(
      `Cannot multiply with workgroups of ${target.maxComputeInvocationsPerWorkgroup} invocations and ` +
        `${target.maxComputeWorkgroupStorageSize} bytes: the smallest tile needs 64 and 4096`,
    );
  }
  const { tileRows } = spec;
  const suits = (tile: WorkgroupTile) => {
    const { rows, columns, split = 1 } = tile;
    if (tileRows) return rows === tileRows;
    if (waste(part, tile) > MOST_WASTE) return false;
    if (split > 1) return true;
    // Turning slices of B in the largest tile has bank conflicts.
    if (columns === 128 && rows === 128) {
      return !spec.b.transposed && fillCores(tileCount(part, tile));
    }
    return tileCount(part, tile) >= ENOUGH_WORKGROUPS;
  };
  return workgroupChoice(tiles.find(suits) ?? tiles.at(-1)!);
}

/** The kernel's form for a part, its windows and its tile, and its bindings: the windows and what decodes B. */
export function formOf(
  spec: CheckedSpec,
  part: Part,
  windows: Window[],
  accumulate: boolean,
  tile: ChosenTile,
): { form: MatmulForm; bindings: Binding[] } {
  const slots: MatmulForm["slots"] = {};
  const types: MatmulForm["types"] = {};
  const widths: Record<"a" | "b" | "c", Width> = { a: 1, b: 1, c: 8 };
  const words: Record<"a" | "b", 0 | 32> = { a: 0, b: 0 };
  windows.forEach(({ spans, binding }, slot) => {
    // Roles that share a binding share its element type.
    const codes = spec.b.quantized && spans.some(({ role }) => role === "b");
    const operandsOnly = !codes && spans.every(({ role }) => role === "a" || role === "b");
    const width = Math.min(...spans.map((span) => {
      const { role } = span;
      if (role === "sums") return 1;
      const offset = elementOffset(span, binding);
      const owned = tile.subgroup && (role === "a" || role === "b")
        ? widestLoad(spec, role, tile.subgroup)
        : tile.matrix && operandsOnly
        ? 8
        : 4;
      const most = codes || tile.matrix ? owned : Math.min(owned, 4) as Width;
      const limit = codes ? widestCodes(spec, most) : most;
      // By matrices, what lies in the padding of A and B would be multiplied.
      const usePadding = tile.workgroup !== undefined ||
        (tile.matrix !== undefined && role !== "a" && role !== "b");
      return widestAligned(spec, part, role, offset, limit, usePadding);
    })) as Width;
    for (const { role, value } of spans) {
      slots[role] = slot;
      if (!(role === "b" && codes)) types[role] = value.dtype as MatmulDtype;
      if (role === "a" || role === "b") {
        widths[role] = width;
        const halves = (tile.workgroup || tile.matrix) && operandsOnly && value.dtype === "f16";
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
  // Loads of single numbers take many instructions each: a loop that steps by one k compiles in a fourth of the time. Codes
  // are worth no more ever, numbers where the product is small.
  const codesSingly = spec.b.quantized !== undefined && widths.b === 1;
  if (codesSingly && tile.subgroup && !spec.a.transposed) [widths.a, words.a] = [1, 0];
  const single = tile.subgroup !== undefined &&
    (codesSingly || (widths.a === 1 && widths.b === 1 && multiplyAdds(part) <= SMALL_PRODUCT));
  const quantized = quantizedForm(spec, windows, tile.subgroup?.lanes ?? 0);
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
