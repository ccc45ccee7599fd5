import { foldGrid, type Target } from "../../engine/graph/target.ts";

/** Text and numbers of a kernel that works row by row. */
export interface RowForm {
  /** WGSL that goes before the kernel: `WG`, `LANES`, `rowOfInvocation`, `rowSum`, `rowMax`. */
  wgsl: string;
  /** Invocations that share a row. */
  lanes: number;
  /** Rows that one workgroup takes. */
  rowsPerWorkgroup: number;
  /** Workgroup memory of kernels that reduce a row. */
  workgroupBytes: number;
}

/**
 * How a GPU spreads rows of `vectors` vectors over invocations: one row per workgroup of 32 to 1024, reduced
 * by a tree in workgroup memory: four vectors for each of them, so that fewer wait at its barriers, and two
 * subgroups of 32 at least where there are vectors for them, as others have 64 lanes.
 */
export function gpuRowForm(vectors: number, target: Target): RowForm {
  const most = Math.min(1024, target.maxComputeInvocationsPerWorkgroup);
  let lanes = vectors > 32 ? 64 : 32;
  while (lanes < most && 4 * lanes < vectors) lanes *= 2;
  return { wgsl: rowFormWgsl(lanes, lanes, tree), lanes, rowsPerWorkgroup: 1, workgroupBytes: 4 * lanes };
}

/** Workgroups for `rows` rows. */
export function rowGrid(rows: number, form: RowForm, target: Target): readonly [number, number, number] {
  return foldGrid(Math.ceil(rows / form.rowsPerWorkgroup), target);
}

/** How two partial results become one. */
type Combine = (a: string, b: string) => string;
/**
 * The body of a function that gives every invocation of a row the combination of
 * `value` over the row's lanes.
 */
export type Reduction = (combine: Combine, lanes: number) => string;

const tree: Reduction = (combine) =>
  `  workgroupBarrier(); // every lane has read the result of the reduction before this one
  rowPartials[lane] = value;
  workgroupBarrier();
  for (var width = LANES / 2u; width > 0u; width /= 2u) {
    if (lane < width) { rowPartials[lane] = ${combine("rowPartials[lane]", "rowPartials[lane + width]")}; }
    workgroupBarrier();
  }
  return rowPartials[0];`;

/** WGSL of a row form; see `RowForm.wgsl`. */
export function rowFormWgsl(workgroupSize: number, lanes: number, reduction: Reduction): string {
  const sum: Combine = (a, b) => `${a} + ${b}`;
  const max: Combine = (a, b) => `max(${a}, ${b})`;
  return `
const WG: u32 = ${workgroupSize}u;
const LANES: u32 = ${lanes}u;
${reduction === tree ? "var<workgroup> rowPartials: array<f32, LANES>;" : ""}
fn rowOfInvocation(workgroup: vec3<u32>, workgroups: vec3<u32>, invocation: u32) -> u32 {
  return (workgroup.x + workgroup.y * workgroups.x) * (WG / LANES)${
    lanes === workgroupSize ? "" : " + invocation / LANES"
  };
}
// Both give their result to every lane of the row, and add in the same order in every run.
fn rowSum(value: f32, lane: u32) -> f32 {
${reduction(sum, lanes)}
}
fn rowMax(value: f32, lane: u32) -> f32 {
${reduction(max, lanes)}
}
`;
}

/**
 * Elements a kernel loads at once from rows of `columns` elements: four where
 * every row starts on a whole vector.
 */
export function rowVectorWidth(columns: number): 1 | 4 {
  return columns % 4 === 0 ? 4 : 1;
}

/**
 * WGSL that lets one source serve scalars and vectors: `WIDTH`, `vec_t` (f32), `index_t`, `mask_t`,
 * `index(i)` (the elements of vector i), `sumOf` and `maxOf` (over a vector).
 */
export function vectorWgsl(width: 1 | 4): string {
  const of = (type: string) => width === 4 ? `vec4<${type}>` : type;
  return `
const WIDTH: u32 = ${width}u;
alias vec_t = ${of("f32")};
alias index_t = ${of("u32")};
alias mask_t = ${of("bool")};
fn index(i: u32) -> index_t { return ${
    width === 4 ? "vec4<u32>(4u * i, 4u * i + 1u, 4u * i + 2u, 4u * i + 3u)" : "i"
  }; }
fn sumOf(v: vec_t) -> f32 { return ${width === 4 ? "(v.x + v.y) + (v.z + v.w)" : "v"}; }
fn maxOf(v: vec_t) -> f32 { return ${width === 4 ? "max(max(v.x, v.y), max(v.z, v.w))" : "v"}; }
`;
}
