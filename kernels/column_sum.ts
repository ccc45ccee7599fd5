import { type Dispatch, u32 } from "../engine/graph/launch.ts";
import { defineOp } from "./define_op.ts";
import { ShapeError } from "../engine/graph/op.ts";
import { foldGrid } from "../engine/graph/target.ts";
import { DTYPE_BYTES } from "../engine/graph/types.ts";
import { rowWindows, windowOf } from "./rows/windows.ts";
import { type StorageForm, storageFormOf } from "./storage_forms.ts";

/** Rows that a GPU workgroup takes side by side, and the groups of four columns it owns. */
const GPU_ROWS = 64;
const GPU_COLUMNS = 4;

/**
 * WGSL of the sum of each column.
 *
 *   sum[c] = Σ_n x[n, c] (+ sum[c])
 *
 * Shapes    x: [N, C] row-major.   sum: [C].
 * Dtypes    x: f32 or f16.   sum: f32.
 * Mapping   an invocation owns four columns. With `lanes` > 0 it walks all rows, in workgroups of so many.
 *           Otherwise 4 column groups × 64 row classes make a workgroup; class i takes rows i, i + 64, …, and
 *           the classes are added pairwise in workgroup memory, always in the same order.
 * Limits    x is bound as vec4 where C is a multiple of four, else as scalars,
 *           columns clamped to the last one.
 */
function columnSumCode(storage: StorageForm, vector: boolean, accumulate: boolean, lanes: number): string {
  const parts = [0, 1, 2, 3];
  const at = (row: string) =>
    vector
      ? storage.load(
        `x[params.first + (${row}) * (params.columns / 4u) + min(column / 4u, params.columns / 4u - 1u)]`,
        4,
      )
      : `vec4<f32>(${
        parts.map((i) =>
          storage.load(
            `x[params.first + (${row}) * params.columns + min(column + ${i}u, params.columns - 1u)]`,
            1,
          )
        )
          .join(", ")
      })`;
  const store = vector
    ? `if (column < params.columns) { result[column / 4u] = ${
      accumulate ? "result[column / 4u] + " : ""
    }total; }`
    : parts.map((i) =>
      `if (column + ${i}u < params.columns) { result[column + ${i}u] = ${
        accumulate ? `result[column + ${i}u] + ` : ""
      }total[${i}]; }`
    ).join("\n  ");
  const declarations = `${storage.wgsl}@group(0) @binding(0) var<storage, read_write> x: array<${
    storage.element(vector ? 4 : 1)
  }>;
@group(0) @binding(1) var<storage, read_write> result: array<${vector ? "vec4<f32>" : "f32"}>;
struct Params { rows: u32, columns: u32, first: u32, gridWidth: u32 }
@group(1) @binding(0) var<uniform> params: Params;
`;
  if (lanes > 0) {
    return `${declarations}
@compute @workgroup_size(${lanes})
fn column_sum(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let column = 4u * ((group.y * params.gridWidth + group.x) * ${lanes}u + lane);
  let rows = params.rows;
  let quads = rows / 4u;
  var total = vec4<f32>();
  for (var quad = 0u; quad < quads; quad++) {
    let v0 = ${at("4u * quad")};
    let v1 = ${at("4u * quad + 1u")};
    let v2 = ${at("4u * quad + 2u")};
    let v3 = ${at("4u * quad + 3u")};
    total = total + v0 + v1 + v2 + v3;
  }
  for (var row = 4u * quads; row < rows; row++) { total = total + ${at("row")}; }
  ${store}
}
`;
  }
  return `${declarations}
var<workgroup> partial: array<vec4<f32>, ${GPU_ROWS * GPU_COLUMNS}>;
@compute @workgroup_size(${GPU_ROWS * GPU_COLUMNS})
fn column_sum(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let column = 4u * ((group.y * params.gridWidth + group.x) * ${GPU_COLUMNS}u + lane % ${GPU_COLUMNS}u);
  var total = vec4<f32>();
  for (var row = lane / ${GPU_COLUMNS}u; row < params.rows; row += ${GPU_ROWS}u) { total = total + ${
    at("row")
  }; }
  partial[lane] = total;
  for (var half = ${GPU_ROWS * GPU_COLUMNS / 2}u; half >= ${GPU_COLUMNS}u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) { partial[lane] = partial[lane] + partial[lane + half]; }
  }
  workgroupBarrier();
  total = partial[lane];
  if (lane >= ${GPU_COLUMNS}u) { return; }
  ${store}
}
`;
}

/**
 * Sum of each column, f32: `(x [N, C], prior? [C]) → sum [C]`, added in place to `prior` where it is given.
 */
export const columnSum = defineOp({
  name: "column_sum",
  inferTypes: ([x, prior]) => {
    if (x.shape.length !== 2 || (prior && !(prior.shape.length === 1 && prior.shape[0] === x.shape[1]))) {
      throw new ShapeError(
        `Cannot apply column_sum to ${
          [x, prior].filter(Boolean).map((type) => `[${type.shape}]`).join(" and ")
        }: ` +
          "expected [N, C] and [C]",
      );
    }
    if (prior && prior.dtype !== "f32") {
      throw new ShapeError(`Cannot add column sums to ${prior.dtype}: expected f32`);
    }
    return [{
      shape: [x.shape[1]],
      dtype: "f32",
      role: "gradients",
      ...(prior ? { aliasOfInput: 1 } : {}),
    }];
  },
  lower: ({ inputs: [x, prior], outputs: [sum], kernels }) => {
    const [rows, columns] = x.shape;
    const vector = columns % 4 === 0;
    // Where rows are shared out among teams, the classes of a workgroup share them.
    const alone = kernels.workgroups.block;
    const lanes = kernels.rowTeams(alone).teams === 1 ? alone : 0;
    // A value past the binding limit is summed in ranges of rows, each added to the ones before.
    return rowWindows(rows, [columns * DTYPE_BYTES[x.dtype]], kernels.target, 1).map(
      (window, i): Dispatch => {
        const { firstElement, ...binding } = windowOf(x, window);
        const grid = foldGrid(Math.ceil(columns / (4 * (lanes || GPU_COLUMNS))), kernels.target);
        return {
          kernel: {
            name: "column_sum",
            code: columnSumCode(storageFormOf(x.dtype), vector, prior !== undefined || i > 0, lanes),
            entryPoint: "column_sum",
            writes: [1],
            workgroupBytes: lanes > 0 ? 0 : GPU_ROWS * GPU_COLUMNS * 16,
          },
          bindings: [binding, { buffer: sum.buffer, byteOffset: sum.byteOffset, byteLength: sum.byteLength }],
          params: [u32(window.count), u32(columns), u32(firstElement / (vector ? 4 : 1)), u32(grid[0])],
          workgroups: grid,
        };
      },
    );
  },
  reference: ([x, prior], _attrs, { inputs: [{ shape: [rows, columns] }] }) => {
    const sum = new Float64Array(columns);
    for (let c = 0; c < columns; c++) {
      sum[c] = prior?.[c] ?? 0;
      for (let n = 0; n < rows; n++) sum[c] += x[n * columns + c];
    }
    return [sum];
  },
});
