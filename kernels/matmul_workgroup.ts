import {
  columnPrologue,
  declarations,
  load,
  type MatmulForm,
  range,
  repeat,
  storeRow,
  storeSums,
  TILE_WGSL,
} from "./matmul_code.ts";

/** Output tile of a workgroup, depth of its slices of A and B, and the square block of outputs of one invocation. */
export interface WorkgroupTile {
  rows: number;
  columns: number;
  depth: number;
  /** 4 or 8. */
  block: 4 | 8;
}

/** Invocations of the workgroup. */
export function invocations({ rows, columns, block }: WorkgroupTile): number {
  return (rows / block) * (columns / block);
}

/** Bytes of workgroup memory: one slice of A and one of B, f32. */
export function workgroupBytes({ rows, columns, depth }: WorkgroupTile): number {
  return (rows + columns) * depth * 4;
}

/**
 * WGSL of a product for GPUs.
 *
 *   C[m, n] = alpha · Σ_k A[m, k] · B[k, n] (+ bias[n]) (+ residual[m, n]) (+ C[m, n])
 *   sums[m] = Σ_k A[m, k] or sums[n] = Σ_k B[k, n] (+ sums), where they are asked for
 *
 * Shapes    A: [m, k] or [k, m].   B: [k, n] or [n, k].   C, residual: [m, n].   bias: [n].   All strided and batched.
 * Dtypes    each operand f32 or f16, or B codes (matmul_quantized.ts); slices in workgroup memory, products and sums f32, k in ascending order.
 * Mapping   one workgroup per tile. Slices of `depth` k are staged k-major; each invocation fetches 4 × 4 blocks of them,
 *           turning those whose operand is stored the other way, and holds the next ones in registers while it
 *           multiplies. An invocation owns `block`² outputs in groups of 4 rows and 4 columns half a tile apart, so that
 *           neighbouring lanes read neighbouring vec4s of workgroup memory.
 * Limits    invocations() and workgroupBytes() within the device's limits. Any m, n, k ≥ 1: rows and columns outside are
 *           loaded from the last one inside and not stored; k outside is loaded from inside and replaced by zero.
 * Source    the classic register-tiled product; see Volkov & Demmel 2008, "Benchmarking GPUs to tune dense linear algebra".
 */
export function workgroupMatmulCode(form: MatmulForm, tile: WorkgroupTile): string {
  const { rows, columns, depth, block } = tile;
  const size = invocations(tile);
  const parts = block / 4;
  const aBlocks = (rows / 4) * (depth / 4);
  const bBlocks = (columns / 4) * (depth / 4);
  // With enough invocations each fetches one block, of A or of B; otherwise one of each.
  const shared = size >= aBlocks + bBlocks;
  const a = { side: "a", count: aBlocks, vectors: rows / 4, kMajor: form.aTransposed } as const;
  const b = { side: "b", count: bBlocks, vectors: columns / 4, kMajor: !form.bTransposed } as const;
  const pick = (ofA: string, ofB: string) =>
    shared ? `    if (lane < ${aBlocks}u) {\n${ofA}\n    } else {\n${ofB}\n    }` : `${ofA}\n${ofB}`;
  const bLane = shared ? `(lane - ${aBlocks}u)` : "lane";
  const fetch = pick(fetchBlock(form, a, shared ? "p" : "pa"), fetchBlock(form, b, shared ? "p" : "pb"));
  const stage = pick(stageBlock(a, shared ? "p" : "pa"), stageBlock(b, shared ? "p" : "pb"));
  const held = (shared ? ["p"] : ["pa", "pb"]).flatMap((name) =>
    range(4).map((x) => `var ${name}${x} = vec4<f32>();`)
  );
  const sum = (row: number, j: number) => `s${row}_${j}`;
  const sums = sliceSums(form, tile);

  return `${declarations(form)}
var<workgroup> aSlice: array<vec4<f32>, ${depth * rows / 4}>;
var<workgroup> bSlice: array<vec4<f32>, ${depth * columns / 4}>;
@compute @workgroup_size(${size})
fn matmul(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
${TILE_WGSL}
  let aRow = params.aRow;
  let bRow = params.bRow;
  let cRow = params.cRow;
  let firstRow = tileM * ${rows}u;
  let firstColumn = tileN * ${columns}u;
${blockPlace("a", "lane", a)}
${blockPlace("b", shared ? `select(0u, ${bLane}, lane >= ${aBlocks}u)` : bLane, b)}
${blockBases(form, "a", a.kMajor, "firstRow", "params.m")}
${blockBases(form, "b", b.kMajor, "firstColumn", "params.n")}
  let down = lane / ${columns / block}u;
  let across = lane % ${columns / block}u;
${repeat(block, (row) => `  ${range(parts).map((j) => `var ${sum(row, j)} = vec4<f32>();`).join(" ")}`)}
  ${held.join(" ")}
${sums ? sums.declare : ""}
  let slices = (params.k + ${depth - 1}u) / ${depth}u;
  {
    let k0 = 0u;
${fetch}
  }
  for (var slice = 0u; slice < slices; slice++) {
${stage}
    workgroupBarrier();
    {
      // After the last slice this reads it once more: cheaper than a branch.
      let k0 = min(slice + 1u, slices - 1u) * ${depth}u;
${fetch}
    }
${
    repeat(depth, (q) =>
      `    { ${
        range(parts).map((i) =>
          `let a${i} = aSlice[${q * rows / 4 + i * rows / 4 / parts}u + down];`
        ).join(" ")
      } ${
        range(parts).map((j) =>
          `let b${j} = bSlice[${q * columns / 4 + j * columns / 4 / parts}u + across];`
        )
          .join(" ")
      }
${
        repeat(block, (row) =>
          `      ${
            range(parts).map((j) =>
              `${sum(row, j)} = fma(vec4<f32>(a${row >> 2}[${row & 3}]), b${j}, ${sum(row, j)});`
            ).join(" ")
          }`)
      } }`)
  }
${sums ? sums.update : ""}
    workgroupBarrier();
  }
${
    repeat(parts, (j) =>
      columnPrologue(form, `column${j}`, `firstColumn + ${j * columns / parts}u + 4u * across`))
  }
${
    repeat(block, (row) =>
      repeat(parts, (j) =>
        storeRow(
          form,
          `firstRow + ${(row >> 2) * rows / parts + (row & 3)}u + 4u * down`,
          `column${j}`,
          sum(row, j),
        )))
  }
${sums ? sums.store : ""}
}
`;
}

/**
 * Sums of an operand over k: those invocations that first hold a vec4 of its rows (columns), in the first tile across
 * (down), add it up once more from the slice. The rest of the workgroups do not pay for it.
 */
function sliceSums(
  form: MatmulForm,
  { rows, columns, depth, block }: WorkgroupTile,
): { declare: string; update: string; store: string } | undefined {
  if (!form.sums) return undefined;
  const { of } = form.sums;
  const [extent, tile, first, place, other] = of === "a"
    ? [rows, "tileN", "firstRow", "down", "across"]
    : [columns, "tileM", "firstColumn", "across", "down"];
  const parts = range(block / 4);
  return {
    declare: parts.map((i) => `  var sum${i} = vec4<f32>();`).join("\n"),
    update: `    if (${tile} == 0u && ${other} == 0u) {
      for (var q = 0u; q < ${depth}u; q++) {
${
      repeat(
        parts.length,
        (i) =>
          `        sum${i} = sum${i} + ${of}Slice[q * ${extent / 4}u + ${
            i * extent / 4 / parts.length
          }u + ${place}];`,
      )
    }
      }
    }`,
    store: storeSums(
      form,
      parts.map((i) => `sum${i}`),
      parts.map((i) => `${first} + ${i * extent / parts.length}u + 4u * ${place}`),
      ` && ${other} == 0u`,
    ),
  };
}

interface BlockSide {
  side: "a" | "b";
  count: number;
  /** Groups of 4 rows of A or columns of B in the tile. */
  vectors: number;
  /** Stored [k, …], as the slice is. */
  kMajor: boolean;
}

/**
 * Which 4 × 4 block an invocation moves: `aVector` of the tile's row groups, `aDepth` of the slice's groups of 4 k. Along
 * the storage where it is k-major; otherwise eight row groups side by side, so that both the fetch fills memory
 * sectors and the turned block is staged without bank conflicts.
 */
function blockPlace(side: "a" | "b", lane: string, { count, vectors, kMajor }: BlockSide): string {
  const depths = count / vectors;
  const text = `  let ${side}Lane = ${lane};\n`;
  if (kMajor || vectors % 8 !== 0) {
    return `${text}  let ${side}Vector = ${side}Lane % ${vectors}u;\n  let ${side}Depth = ${side}Lane / ${vectors}u;`;
  }
  return `${text}  let ${side}Vector = ${side}Lane % 8u + 8u * (${side}Lane / ${8 * depths}u);
  let ${side}Depth = (${side}Lane / 8u) % ${depths}u;`;
}

/** Offsets of the block's four rows (columns), clamped to the operand, outside the loop. */
function blockBases(
  form: MatmulForm,
  side: "a" | "b",
  kMajor: boolean,
  first: string,
  extent: string,
): string {
  const vector = form.widths[side] === 4;
  if (!kMajor) {
    return repeat(
      4,
      (x) =>
        `  let ${side}Line${x} = min(${first} + 4u * ${side}Vector + ${x}u, ${extent} - 1u);
  let ${side}Base${x} = ${side}Start + ${side}Line${x} * ${side}Row;`,
    );
  }
  if (vector) {
    return `  let ${side}Base = ${side}Start + min(${first} / 4u + ${side}Vector, ${extent} / 4u - 1u);`;
  }
  return repeat(
    4,
    (x) =>
      `  let ${side}Base${x} = ${side}Start + min(${first} + 4u * ${side}Vector + ${x}u, ${extent} - 1u);`,
  );
}

/** Loads the block of the slice that begins at `k0` into `p0 … p3`, each four rows (columns) at one k. */
function fetchBlock(form: MatmulForm, { side, kMajor }: BlockSide, p: string): string {
  const vector = form.widths[side] === 4;
  const k = `${side}K`;
  const lines = [`      let ${k} = k0 + 4u * ${side}Depth;`];
  // `select` and not a product with zero: what lies beyond k may be infinite or NaN.
  const inside = (q: number, value: string) =>
    form.tail ? `select(vec4<f32>(), ${value}, ${k} + ${q}u < params.k)` : value;
  const at = (q: number) => form.tail ? `min(${k} + ${q}u, params.k - 1u)` : `(${k} + ${q}u)`;
  if (kMajor) {
    for (const q of range(4)) {
      const value = vector
        ? load(form, side, `${side}Base + ${at(q)} * ${side}Row`, at(q))
        : `vec4<f32>(${
          range(4).map((x) => load(form, side, `${side}Base${x} + ${at(q)} * ${side}Row`, at(q))).join(", ")
        })`;
      lines.push(`      ${p}${q} = ${inside(q, value)};`);
    }
    return lines.join("\n");
  }
  for (const x of range(4)) {
    const value = vector
      ? load(
        form,
        side,
        `${side}Base${x} + ${form.tail ? `min(${k}, params.k - 4u)` : k} / 4u`,
        `${side}Line${x}`,
      )
      : `vec4<f32>(${
        range(4).map((q) => load(form, side, `${side}Base${x} + ${at(q)}`, `${side}Line${x}`)).join(", ")
      })`;
    lines.push(`      let ${side}t${x} = ${value};`);
  }
  for (const q of range(4)) {
    const turned = `vec4<f32>(${range(4).map((x) => `${side}t${x}[${q}]`).join(", ")})`;
    lines.push(`      ${p}${q} = ${inside(q, turned)};`);
  }
  return lines.join("\n");
}

/** Writes the held block into the slice. */
function stageBlock({ side, vectors }: BlockSide, p: string): string {
  return repeat(
    4,
    (q) => `      ${side}Slice[(4u * ${side}Depth + ${q}u) * ${vectors}u + ${side}Vector] = ${p}${q};`,
  );
}
