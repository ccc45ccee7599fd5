import type { MatrixShape, Target } from "../../engine/graph/target.ts";
import { columnPrologue, declarations, range, repeat, storeRow, storeSums, tileWgsl } from "./text.ts";
import type { Part } from "./parts.ts";
import type { CheckedSpec, MatmulForm, Width } from "./product.ts";
import type { ProductTile } from "./tile.ts";

/** How the subgroups of a workgroup share an output tile, in matrices of the device's shape. */
export interface MatrixTile {
  /** What one multiply-add of the device takes. */
  shape: MatrixShape;
  lanes: number;
  /** Subgroups down and across the tile. */
  grid: readonly [number, number];
  /** Result matrices of a subgroup, down and across. */
  block: readonly [number, number];
  /** Matrices along k in one slice of A and B. */
  steps: number;
  /** Slices held at once: with two, one barrier a slice is enough. */
  buffers: 1 | 2;
}

/** Extents of a tile and of what a subgroup owns of it, in elements, and how many invocations compute it. */
function extentsOf({ shape, lanes, grid, block, steps }: MatrixTile) {
  const [blockRows, blockColumns] = [block[0] * shape.m, block[1] * shape.n];
  return {
    rows: grid[0] * blockRows,
    columns: grid[1] * blockColumns,
    depth: steps * shape.k,
    blockRows,
    blockColumns,
    subgroups: grid[0] * grid[1],
    invocations: grid[0] * grid[1] * lanes,
  };
}

/** The tile as a product takes it. */
export function matrixTile(tile: MatrixTile): ProductTile {
  const { rows, columns, depth } = extentsOf(tile);
  const twice = tile.buffers === 2 ? " twice" : "";
  return {
    name: `matrix ${rows}×${columns}×${depth}/${tile.grid.join("×")}${twice}`,
    numbers: tile,
    rows,
    columns,
    step: depth,
    split: 1,
    codeLanes: 0,
    halvesAsWords: true,
    stepsSingly: false,
    leavesOutTriangles: false,
    widest: (_spec, _role, { operandsOnly }) => operandsOnly ? GRANULE : 4,
    // What lies in the padding of A and B would be multiplied.
    readsPadding: (role) => role !== "a" && role !== "b",
    workgroupBytes: (form) => matrixBytes(form, tile),
    code: (form) => matrixMatmulCode(form, tile),
  };
}

/**
 * The rules choose among these, the first that has enough workgroups. Measured on an H100 at 4096³ (16 × 16 ×
 * 16), TFLOP/s: 118 for 64 × 64 × 64, 92 and 72 for the two of 128 × 128 × 32 below, 43 for 64 × 64 × 32.
 */
const TILES: readonly Omit<MatrixTile, "shape" | "lanes">[] = [
  { grid: [2, 2], block: [2, 2], steps: 4, buffers: 1 },
  { grid: [2, 2], block: [2, 2], steps: 2, buffers: 1 },
  { grid: [2, 2], block: [1, 1], steps: 2, buffers: 1 },
];

/**
 * Tiles that only the clock chooses: subgroups that own more, and so read less of
 * workgroup memory for each product.
 */
const TIMED_TILES: readonly Omit<MatrixTile, "shape" | "lanes">[] = [
  { grid: [2, 2], block: [4, 4], steps: 4, buffers: 1 },
  { grid: [2, 2], block: [4, 4], steps: 2, buffers: 1 },
  { grid: [4, 2], block: [4, 4], steps: 2, buffers: 1 },
  { grid: [2, 2], block: [4, 2], steps: 4, buffers: 1 },
  { grid: [4, 2], block: [2, 4], steps: 2, buffers: 2 },
];

/**
 * Workgroups a GPU needs to have work for all its cores: the largest NVIDIA ones
 * have 132, and two of the large tiles fit in one.
 */
const ENOUGH_WORKGROUPS = 128;

/**
 * The tiles that can do a part of a product, the one that the rules choose first; none where the device has
 * no matrices of f16 with sums in f32, or an operand is not f16.
 */
export function matrixTiles(spec: CheckedSpec, part: Part, target: Target): MatrixTile[] {
  const { subgroupMatrix: shape, subgroupSize: lanes } = target;
  if (!shape || lanes === 0 || spec.b.quantized) return [];
  if (spec.a.value.dtype !== "f16" || spec.b.value.dtype !== "f16") return [];
  const fitting = (tiles: typeof TILES) =>
    tiles.map((tile) => ({ ...tile, shape, lanes })).filter((tile) =>
      extentsOf(tile).invocations <= target.maxComputeInvocationsPerWorkgroup &&
      memoryOf(tile) <= target.maxComputeWorkgroupStorageSize
    );
  const ruled = fitting(TILES);
  if (ruled.length === 0) return [];
  const batches = part.batchCount.reduce((product, count) => product * count, 1);
  const chosen = ruled.find((tile) => {
    const { rows, columns } = extentsOf(tile);
    if (spec.tileRows) return rows === spec.tileRows;
    return rows < 2 * part.m.count && columns < 2 * part.n.count &&
      Math.ceil(part.m.count / rows) * Math.ceil(part.n.count / columns) * batches >= ENOUGH_WORKGROUPS;
  }) ?? ruled.at(-1)!;
  return [chosen, ...[...ruled, ...fitting(TIMED_TILES)].filter((tile) => tile !== chosen)];
}

/** Elements of a granule, the 16 bytes in which operands are loaded and staged. */
const GRANULE = 8;

/**
 * An operand's slice in workgroup memory: for each row (column) of subgroups the
 * lines that it reads, as they are stored.
 */
interface Side {
  side: "a" | "b";
  /** Stored [k, …]: the lines of a block are k, and its rows (columns) run along them. */
  kMajor: boolean;
  /** Blocks of subgroups, and rows (columns) of one. */
  blocks: number;
  blockExtent: number;
  depth: number;
}

function sidesOf(form: Pick<MatmulForm, "aTransposed" | "bTransposed">, tile: MatrixTile): [Side, Side] {
  const { blockRows, blockColumns, depth } = extentsOf(tile);
  return [
    { side: "a", kMajor: form.aTransposed, blocks: tile.grid[0], blockExtent: blockRows, depth },
    { side: "b", kMajor: !form.bTransposed, blocks: tile.grid[1], blockExtent: blockColumns, depth },
  ];
}

/** Granules of one line of a block. */
const lineGranules = ({ kMajor, blockExtent, depth }: Side) => (kMajor ? blockExtent : depth) / GRANULE;
/**
 * Granules from one line to the next: an odd number, so that eight lines side by side, which is what loading
 * a matrix reads at once, begin in different banks.
 */
const lineStride = (side: Side) => lineGranules(side) | 1;
const blockGranules = (side: Side) => (side.kMajor ? side.depth : side.blockExtent) * lineStride(side);

/** Bytes of workgroup memory that a tile takes with operands stored so. */
export function matrixBytes(
  form: Pick<MatmulForm, "aTransposed" | "bTransposed">,
  tile: MatrixTile,
): number {
  const slices = sidesOf(form, tile).reduce((sum, side) => sum + side.blocks * blockGranules(side), 0);
  const { shape, buffers } = tile;
  return 16 * buffers * slices + 4 * shape.m * shape.n * extentsOf(tile).subgroups;
}

/** The same with the operands stored the way that takes most. */
function memoryOf(tile: MatrixTile): number {
  const ways = [false, true];
  return Math.max(
    ...ways.flatMap((aTransposed) =>
      ways.map((bTransposed) => matrixBytes({ aTransposed, bTransposed }, tile))
    ),
  );
}

/**
 * WGSL of a product on a GPU's matrix units, by way of Dawn's `chromium_experimental_subgroup_matrix`.
 *
 *   C[m, n] = alpha · Σ_k A[m, k] · B[k, n] (+ bias[n]) (+ residual[m, n]) (+ C[m, n])
 *   sums[m] = Σ_k A[m, k] or sums[n] = Σ_k B[k, n] (+ sums), where they are asked for
 *
 * Shapes    A: [m, k] or [k, m].   B: [k, n] or [n, k].   C, residual: [m, n].
 *           bias: [n].   All strided and batched.
 * Dtypes    A, B: f16.   Products and sums: f32, slices of k in ascending order, within one as the device
 *           adds.   C and the rest: f32 or f16.
 * Mapping   one workgroup per tile, `grid` subgroups that own `block` result matrices each. Slices of `depth`
 *           k are staged as they are stored, 16 bytes at a time: loading a matrix turns it where that is
 *           needed. Each invocation holds the next ones in registers while its subgroup multiplies. Results
 *           leave by way of workgroup memory, a matrix of each subgroup at a time, since only there a lane
 *           finds its elements. Sums of an operand are its product with ones.
 * Limits    extentsOf().invocations and memoryOf() within the device's limits, subgroups of one size. Any m,
 *           n, k ≥ 1: rows and columns outside are loaded from the last one inside and not stored; k outside
 *           is replaced by zero. Where a subgroup finds its block is an array index and not an offset:
 *           offsets into a block are then constants, which the compiler checks once and not at each load.
 * Source    tiling as in Markidis et al. 2018, "NVIDIA Tensor Core
 *           Programmability, Performance & Precision", arXiv:1803.04014.
 */
export function matrixMatmulCode(form: MatmulForm, tile: MatrixTile): string {
  const { shape: { m, n, k }, lanes, grid, block, steps, buffers } = tile;
  const { rows, columns, depth, blockRows, blockColumns, subgroups, invocations } = extentsOf(tile);
  const [a, b] = sidesOf(form, tile);
  const sides = [a, b];
  const [down, across] = block.map(range);
  const result = `subgroup_matrix_result<f32, ${n}, ${m}>`;
  const slices = ({ side, blocks, ...rest }: Side) =>
    `var<workgroup> ${side}Slices: array<array<array<vec4<u32>, ${
      blockGranules({ side, blocks, ...rest })
    }>, ${blocks}>, ${buffers}>;`;
  const held = sides.flatMap((side) => range(piecesOf(side, invocations)).map((i) => `${side.side}Held${i}`));
  const sums = operandSums(form, tile);
  // A lane stores the same four columns of several rows of a matrix.
  const lanesAcross = n / 4;
  const rowsAtOnce = lanes / lanesAcross;

  return `${declarations(form)}
${sides.map(slices).join("\n")}
var<workgroup> results: array<array<vec4<f32>, ${m * lanesAcross}>, ${subgroups}>;
@compute @workgroup_size(${invocations})
fn matmul(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(subgroup_invocation_id) subgroupLane: u32,
) {
${tileWgsl()}
  let aRow = params.aRow;
  let bRow = params.bRow;
  let cRow = params.cRow;
  let firstRow = tileM * ${rows}u;
  let firstColumn = tileN * ${columns}u;
  let blockDown = subgroup / ${grid[1]}u;
  let blockAcross = subgroup % ${grid[1]}u;
${sides.map((side) => places(form, side, invocations)).join("\n")}
${repeat(block[0], (i) => `  ${across.map((j) => `var s${i}_${j}: ${result};`).join(" ")}`)}
${sums ? sums.declare : ""}
${held.map((name) => `  var ${name}: vec4<u32>;`).join("\n")}
  let slices = (params.k + ${depth - 1}u) / ${depth}u;
  {
    let k0 = 0u;
${sides.map((side) => fetch(form, side, invocations)).join("\n")}
  }
  for (var slice = 0u; slice < slices; slice++) {
    let buffer = ${buffers === 2 ? "slice & 1u" : "0u"};
${sides.map((side) => stage(side, invocations)).join("\n")}
    workgroupBarrier();
    {
      // After the last slice this reads it once more: cheaper than a branch.
      let k0 = min(slice + 1u, slices - 1u) * ${depth}u;
${sides.map((side) => fetch(form, side, invocations)).join("\n")}
    }
    {
      let aBlock = &aSlices[buffer][blockDown];
      let bBlock = &bSlices[buffer][blockAcross];
${
    repeat(steps, (step) =>
      `      {
${repeat(block[0], (i) => `        let l${i} = ${matrixAt(a, `left<f16, ${k}, ${m}>`, m, i, k, step)};`)}
${repeat(block[1], (j) => `        let r${j} = ${matrixAt(b, `right<f16, ${n}, ${k}>`, n, j, k, step)};`)}
${
        repeat(block[0], (i) =>
          `        ${
            across.map((j) => `s${i}_${j} = subgroupMatrixMultiplyAccumulate(l${i}, r${j}, s${i}_${j});`)
              .join(" ")
          }`)
      }
${sums ? sums.update : ""}
      }`)
  }
    }
${buffers === 2 ? "" : "    workgroupBarrier();"}
  }
  let ownRow = firstRow + blockDown * ${blockRows}u + subgroupLane / ${lanesAcross}u;
  let ownColumn = firstColumn + blockAcross * ${blockColumns}u + 4u * (subgroupLane % ${lanesAcross}u);
${repeat(block[1], (j) => columnPrologue(form, `column${j}`, `ownColumn + ${j * n}u`))}
${
    down.flatMap((i) =>
      across.map((j) =>
        `${throughMemory(`s${i}_${j}`, lanesAcross)}
${
          repeat(
            m / rowsAtOnce,
            (p) =>
              `  let v${i}_${j}_${p} = results[subgroup][${p * lanes}u + subgroupLane];\n${
                storeRow(form, `ownRow + ${i * m + p * rowsAtOnce}u`, `column${j}`, `v${i}_${j}_${p}`)
              }`,
          )
        }`
      )
    ).join("\n")
  }
${sums ? sums.store : ""}
}
`;
}

/** Puts a result matrix where each lane can read what it wants of it. */
function throughMemory(matrix: string, lanesAcross: number): string {
  return `  workgroupBarrier();
  subgroupMatrixStore<row_major>(&results[subgroup], 0u, ${matrix}, ${lanesAcross}u);
  workgroupBarrier();`;
}

/**
 * Loads the `index`-th matrix of a block's rows (columns), at the `step`-th k.
 * Offset and stride count granules.
 */
function matrixAt(
  side: Side,
  type: string,
  extent: number,
  index: number,
  k: number,
  step: number,
): string {
  const [line, along] = side.kMajor ? [step * k, index * extent] : [index * extent, step * k];
  const stride = lineStride(side);
  // Left matrices have a row to a line where A is stored [m, k], right ones where B is stored [k, n].
  const major = side.kMajor === (side.side === "b") ? "row_major" : "col_major";
  return `subgroupMatrixLoad<subgroup_matrix_${type}, ${major}>(${side.side}Block, ${
    line * stride + along / GRANULE
  }u, ${stride}u)`;
}

/** Granules of a slice that each invocation moves; the last one not all do. */
function piecesOf(side: Side, invocations: number): number {
  return Math.ceil(granulesOf(side) / invocations);
}
const granulesOf = ({ blocks, blockExtent, depth }: Side) => blocks * blockExtent * depth / GRANULE;
/** Whether the invocations are more than what is left for the i-th piece. */
const isShort = (side: Side, invocations: number, i: number) => (i + 1) * invocations > granulesOf(side);

/**
 * Which granules an invocation moves, outside the loop: neighbours take neighbouring
 * ones of a stored line. Of piece i, `K` is where its k begins in a slice, `Base`
 * where its line or its place in a line begins, and `Place` where it goes.
 */
function places(form: MatmulForm, side: Side, invocations: number): string {
  const { side: name, kMajor, blocks, blockExtent, depth } = side;
  const extent = blocks * blockExtent;
  const along = (kMajor ? extent : depth) / GRANULE;
  const [first, end] = name === "a" ? ["firstRow", "params.m"] : ["firstColumn", "params.n"];
  const width = form.widths[name];
  return repeat(piecesOf(side, invocations), (i) => {
    const index = `${name}Index${i}`;
    const last = granulesOf(side) - 1;
    const text = `lane + ${i * invocations}u`;
    const lines = [`  let ${index} = ${isShort(side, invocations, i) ? `min(${text}, ${last}u)` : text};`];
    if (kMajor) {
      lines.push(
        `  let ${name}K${i} = ${index} / ${along}u;`,
        `  let ${name}At${i} = ${GRANULE}u * (${index} % ${along}u);`,
        ...partsOf(width).map((x) =>
          `  let ${name}Base${i}_${x} = ${name}Start + ${
            width === 1
              ? `min(${first} + ${name}At${i} + ${x}u, ${end} - 1u)`
              : `min((${first} + ${name}At${i}) / ${width}u + ${x}u, ${end} / ${width}u - 1u)`
          };`
        ),
        `  let ${name}Block${i} = ${name}At${i} / ${blockExtent}u;`,
        `  let ${name}Place${i} = ${name}K${i} * ${
          lineStride(side)
        }u + (${name}At${i} % ${blockExtent}u) / ${GRANULE}u;`,
      );
    } else {
      lines.push(
        `  let ${name}Line${i} = ${index} / ${along}u;`,
        `  let ${name}K${i} = ${GRANULE}u * (${index} % ${along}u);`,
        `  let ${name}Base${i} = ${name}Start + min(${first} + ${name}Line${i}, ${end} - 1u) * ${name}Row;`,
        `  let ${name}Block${i} = ${name}Line${i} / ${blockExtent}u;`,
        `  let ${name}Place${i} = (${name}Line${i} % ${blockExtent}u) * ${
          lineStride(side)
        }u + ${name}K${i} / ${GRANULE}u;`,
      );
    }
    return lines.join("\n");
  });
}

/** The loads that fill a granule. */
const partsOf = (width: Width) => range(GRANULE / width);

/** Loads the pieces of the slice that begins at `k0`. */
function fetch(form: MatmulForm, side: Side, invocations: number): string {
  const { side: name, kMajor } = side;
  const width = form.widths[name];
  const slot = `storage${form.slots[name]}`;
  return repeat(piecesOf(side, invocations), (i) => {
    const k = `k0 + ${name}K${i}`;
    const parts = partsOf(width).map((x) => {
      if (kMajor) {
        const row = form.tail ? `min(${k}, params.k - 1u)` : `(${k})`;
        return `${slot}[${name}Base${i}_${x} + ${row} * ${name}Row]`;
      }
      const at = width === 1 ? `${k} + ${x}u` : `(${k}) / ${width}u + ${x}u`;
      const last = width === 1 ? "params.k - 1u" : `params.k / ${width}u - 1u`;
      return `${slot}[${name}Base${i} + ${form.tail ? `min(${at}, ${last})` : at}]`;
    });
    if (!form.tail) return `      ${name}Held${i} = ${granule(parts, width)};`;
    // `select` and not a product with zero: what lies beyond k may be infinite or NaN.
    const zero = width === 1 ? "0h" : form.words[name] === 0 ? "vec4<f16>()" : `vec${width / 2}<u32>()`;
    const inside = parts.map((part, x) =>
      `select(${zero}, ${part}, ${k}${kMajor ? "" : ` + ${x * width}u`} < params.k)`
    );
    return `      ${name}Held${i} = ${granule(inside, width)};`;
  });
}

/** Sixteen bytes of what was loaded. */
function granule(parts: string[], width: Width): string {
  if (width === 8) return parts[0];
  if (width === 4) return `vec4<u32>(${parts.map((part) => `bitcast<vec2<u32>>(${part})`).join(", ")})`;
  return `vec4<u32>(${
    range(4).map((w) => `bitcast<u32>(vec2<f16>(${parts[2 * w]}, ${parts[2 * w + 1]}))`).join(", ")
  })`;
}

/** Writes the held pieces into the slice. */
function stage(side: Side, invocations: number): string {
  const { side: name } = side;
  return repeat(piecesOf(side, invocations), (i) => {
    const store = `${name}Slices[buffer][${name}Block${i}][${name}Place${i}] = ${name}Held${i};`;
    if (!isShort(side, invocations, i)) return `    ${store}`;
    return `    if (lane + ${i * invocations}u < ${granulesOf(side)}u) { ${store} }`;
  });
}

/**
 * Sums of an operand over k, by subgroups of the first tile across (down) and the first block in it: its
 * product with ones, of which every column (row) is the sums.
 */
function operandSums(
  form: MatmulForm,
  { shape: { m, n, k }, block }: MatrixTile,
): { declare: string; update: string; store: string } | undefined {
  if (!form.sums) return undefined;
  const ofA = form.sums.of === "a";
  const count = ofA ? block[0] : block[1];
  const [tile, other, extent, first] = ofA
    ? ["tileN", "blockAcross", m, `firstRow + blockDown * ${block[0] * m}u`]
    : ["tileM", "blockDown", n, `firstColumn + blockAcross * ${block[1] * n}u`];
  const ones = ofA ? `right<f16, ${n}, ${k}>` : `left<f16, ${k}, ${m}>`;
  const product = (i: number) => ofA ? `l${i}, ones` : `ones, r${i}`;
  return {
    declare: `  let ones = subgroup_matrix_${ones}(1h);
${repeat(count, (i) => `  var t${i}: subgroup_matrix_result<f32, ${n}, ${m}>;`)}`,
    update: `        if (${tile} == 0u && ${other} == 0u) {
${repeat(count, (i) => `          t${i} = subgroupMatrixMultiplyAccumulate(${product(i)}, t${i});`)}
        }`,
    store: `  let sumLane = min(subgroupLane, ${extent / 4 - 1}u);
${
      repeat(count, (i) =>
        `${throughMemory(`t${i}`, n / 4)}
  let sum${i} = ${
          ofA
            ? `vec4<f32>(${
              range(4).map((x) => `results[subgroup][(4u * sumLane + ${x}u) * ${n / 4}u].x`).join(", ")
            })`
            : "results[subgroup][sumLane]"
        };`)
    }
${
      storeSums(
        form,
        range(count).map((i) => `sum${i}`),
        range(count).map((i) => `${first} + ${i * extent}u + 4u * sumLane`),
        ` && ${other} == 0u && subgroupLane == sumLane`,
      )
    }`,
  };
}
