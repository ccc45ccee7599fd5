import { columnPrologue, declarations, load, range, repeat, storeRow, storeSums, tileWgsl } from "./text.ts";
import type { MatmulForm } from "./product.ts";
import type { ProductTile } from "./tile.ts";
import type { Triangle } from "./triangle.ts";

/** Output tile of a workgroup, its slices of A and B, and the block of outputs of one invocation. */
export interface WorkgroupTile {
  rows: number;
  columns: number;
  /** Terms of one slice. */
  depth: number;
  /** Rows and columns of an invocation's outputs, 4 or 8. */
  block: readonly [4 | 8, 4 | 8];
  /** Teams of invocations that share the terms out between them, each for the whole tile. */
  split?: 1 | 2 | 4;
}

/** Invocations that compute the whole tile once. */
function teamSize({ rows, columns, block }: WorkgroupTile): number {
  return (rows / block[0]) * (columns / block[1]);
}

/** Invocations of the workgroup. */
export function invocations(tile: WorkgroupTile): number {
  return teamSize(tile) * (tile.split ?? 1);
}

/** Terms that one turn of the main loop takes. */
export function termsPerTurn({ depth, split = 1 }: WorkgroupTile): number {
  return depth * split;
}

/** Vectors of an invocation's outputs that teams hand over at a time. */
const HANDED_OVER = 4;

/** Bytes of workgroup memory: the slices, and what teams hand over; f32. */
export function workgroupBytes(tile: WorkgroupTile): number {
  const { rows, columns, depth, split = 1 } = tile;
  const handedOver = (split - 1) * teamSize(tile) * HANDED_OVER * 16;
  return (rows + columns) * depth * 4 * split + handedOver;
}

/** The tile as a product takes it. */
export function workgroupTile(tile: WorkgroupTile): ProductTile {
  const { rows, columns, depth, block, split = 1 } = tile;
  return {
    name: `workgroup ${rows}×${columns}×${depth}/${block.join("×")}${split > 1 ? ` split ${split}` : ""}`,
    numbers: tile,
    rows,
    columns,
    step: termsPerTurn(tile),
    split,
    codeLanes: 0,
    halvesAsWords: true,
    stepsSingly: false,
    leavesOutTriangles: true,
    widest: () => 4,
    readsPadding: () => true,
    workgroupBytes: () => workgroupBytes(tile),
    code: (form, triangle) => workgroupMatmulCode(form, tile, triangle),
  };
}

/** One operand's share of the work of staging slices. */
interface Side {
  side: "a" | "b";
  /** 4 × 4 blocks of a slice. */
  blocks: number;
  /** Groups of 4 rows of A or columns of B in the tile. */
  vectors: number;
  /** Vectors that an invocation's block has in the tile, half a tile apart where there are two. */
  parts: number;
  /** Stored [k, …], as the slice is. */
  kMajor: boolean;
}

/** A block that an invocation moves: its number among those of the slice, and when there is one. */
interface Move {
  side: Side;
  /** Prefix of its names. */
  id: string;
  /** Names of its four held vectors are this and 0 … 3. */
  held: string;
  block: string;
  only?: string;
}

/**
 * WGSL of a product for GPUs.
 *
 *   C[m, n] = alpha · Σ_k A[m, k] · B[k, n] (+ bias[n]) (+ residual[m, n]) (+ C[m, n])
 *   sums[m] = Σ_k A[m, k] or sums[n] = Σ_k B[k, n] (+ sums), where they are asked for
 *
 * Shapes    A: [m, k] or [k, m].   B: [k, n] or [n, k].   C, residual: [m, n].
 *           bias: [n].   All strided and batched.
 * Dtypes    each operand f32 or f16, or B codes (quantized.ts); slices in workgroup memory, products and sums
 *           f32, k in ascending order (of each team's slices, where teams share them out; their sums are
 *           added in the order of the teams).
 * Mapping   one workgroup per tile. Slices of `depth` k are staged k-major; each invocation fetches 4
 *           × 4 blocks of them, turning those whose operand is stored the other way, and holds the
 *           next ones in registers while it multiplies. An invocation owns `block` outputs in groups
 *           of 4 rows and 4 columns half a tile apart, so that neighbouring lanes read neighbouring
 *           vec4s of workgroup memory. Where products have few tiles, `split` teams of invocations
 *           take slices in turn, so that there are as many more to hide each other's waiting.
 *           Workgroup memory is arrays of arrays: compilers clamp every index they do not know, and
 *           so only the one that depends on the invocation, which is the same in all terms; of a flat
 *           array, one in each. Of a triangle of A the turns end, or begin where A is stored [k, m],
 *           at the diagonal; of a triangle of C workgroups whose tile lies above it end at once.
 * Limits    invocations() and workgroupBytes() within the device's limits. Any m,
 *           n, k ≥ 1: rows and columns outside are loaded from the last one inside
 *           and not stored; k outside is loaded from inside and replaced by zero.
 * Source    the classic register-tiled product; see Volkov & Demmel 2008,
 *           "Benchmarking GPUs to tune dense linear algebra".
 */
export function workgroupMatmulCode(form: MatmulForm, tile: WorkgroupTile, triangle?: Triangle): string {
  const { rows, columns, depth, block: [blockRows, blockColumns], split = 1 } = tile;
  const perTeam = teamSize(tile);
  const [downParts, acrossParts] = [blockRows / 4, blockColumns / 4];
  const a: Side = {
    side: "a",
    blocks: (rows / 4) * (depth / 4),
    vectors: rows / 4,
    parts: downParts,
    kMajor: form.aTransposed,
  };
  const b: Side = {
    side: "b",
    blocks: (columns / 4) * (depth / 4),
    vectors: columns / 4,
    parts: acrossParts,
    kMajor: !form.bTransposed,
  };
  const moves = movesOf(a, b, perTeam);
  const held = [...new Set(moves.map((move) => move.held))];
  const guarded = (move: Move, text: string) => move.only ? `    if (${move.only}) {\n${text}\n    }` : text;
  const fetch = moves.map((move) => guarded(move, fetchBlock(form, move))).join("\n");
  const slice = split === 1 ? "" : "[team]";
  const stage = moves.map((move) => guarded(move, stageBlock(move, slice))).join("\n");
  const sum = (row: number, j: number) => `s${row}_${j}`;
  const sums = sliceSums(form, tile, slice);
  const all = range(blockRows).flatMap((row) => range(acrossParts).map((j) => sum(row, j)));
  const sliceType = ({ vectors, parts }: Side) => {
    const one = `array<array<array<array<vec4<f32>, ${vectors / parts}>, ${parts}>, 4>, ${depth / 4}>`;
    return split === 1 ? one : `array<${one}, ${split}>`;
  };
  const multiply = repeat(depth, (q) => {
    const at = `${slice}[${q >> 2}][${q & 3}]`;
    const vectors = [
      ...range(downParts).map((i) => `let a${i} = aSlice${at}[${i}][down];`),
      ...range(acrossParts).map((j) => `let b${j} = bSlice${at}[${j}][across];`),
    ];
    const products = repeat(
      blockRows,
      (row) =>
        `      ${
          range(acrossParts).map((j) =>
            `${sum(row, j)} = fma(vec4<f32>(a${row >> 2}[${row & 3}]), b${j}, ${sum(row, j)});`
          ).join(" ")
        }`,
    );
    return `    { ${vectors.join(" ")}\n${products} }`;
  });

  return `${declarations(form)}
var<workgroup> aSlice: ${sliceType(a)};
var<workgroup> bSlice: ${sliceType(b)};
${
    split > 1
      ? `var<workgroup> handedOver: array<array<array<vec4<f32>, ${perTeam}>, ${HANDED_OVER}>, ${split - 1}>;`
      : ""
  }
@compute @workgroup_size(${perTeam * split})
fn matmul(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) invocation: u32) {
${tileWgsl()}
  let lane = ${split > 1 ? `invocation % ${perTeam}u` : "invocation"};
  let team = ${split > 1 ? `invocation / ${perTeam}u` : "0u"};
  let aRow = params.aRow;
  let bRow = params.bRow;
  let cRow = params.cRow;
  let firstRow = tileM * ${rows}u;
  let firstColumn = tileN * ${columns}u;
${moves.map(blockPlace).join("\n")}
${moves.map((move) => blockBases(form, move)).join("\n")}
  let down = lane / ${columns / blockColumns}u;
  let across = lane % ${columns / blockColumns}u;
${all.map((name) => `  var ${name} = vec4<f32>();`).join("\n")}
${held.map((name) => `  ${range(4).map((x) => `var ${name}${x} = vec4<f32>();`).join(" ")}`).join("\n")}
${sums ? sums.declare : ""}
${triangle === "c" ? `  if (firstColumn >= firstRow + ${rows}u) { return; }` : ""}
  let firstTurn = ${triangle === "a" && form.aTransposed ? `firstRow / ${depth * split}u` : "0u"};
  let terms = ${triangle === "a" && !form.aTransposed ? `min(params.k, firstRow + ${rows}u)` : "params.k"};
  let turns = (terms + ${depth * split - 1}u) / ${depth * split}u;
  {
    let k0 = (firstTurn * ${split}u + team) * ${depth}u;
${fetch}
  }
  for (var turn = firstTurn; turn < turns; turn++) {
${stage}
    workgroupBarrier();
    {
      // After the last slice this reads it once more: cheaper than a branch.
      let k0 = (min(turn + 1u, turns - 1u) * ${split}u + team) * ${depth}u;
${fetch}
    }
${multiply}
${sums ? sums.update : ""}
    workgroupBarrier();
  }
${split > 1 ? handOver([...all, ...sums?.names ?? []], split) : ""}
${
    repeat(acrossParts, (j) =>
      columnPrologue(form, `column${j}`, `firstColumn + ${j * columns / acrossParts}u + 4u * across`))
  }
${split > 1 ? "  if (team == 0u) {" : ""}
${
    repeat(blockRows, (row) =>
      repeat(acrossParts, (j) =>
        storeRow(
          form,
          `firstRow + ${(row >> 2) * rows / downParts + (row & 3)}u + 4u * down`,
          `column${j}`,
          sum(row, j),
        )))
  }
${sums ? sums.store : ""}
${split > 1 ? "  }" : ""}
}
`;
}

/** The blocks each invocation of a team moves. */
function movesOf(a: Side, b: Side, size: number): Move[] {
  // With enough invocations each moves one block, of A or of B; otherwise some of each.
  if (size >= a.blocks + b.blocks) {
    const end = size > a.blocks + b.blocks ? ` && lane < ${a.blocks + b.blocks}u` : "";
    return [
      { side: a, id: "a", held: "p", block: "lane", only: `lane < ${a.blocks}u` },
      {
        side: b,
        id: "b",
        held: "p",
        block: `select(0u, lane - ${a.blocks}u, lane >= ${a.blocks}u)`,
        only: `lane >= ${a.blocks}u${end}`,
      },
    ];
  }
  return [a, b].flatMap((side) =>
    range(Math.ceil(side.blocks / size)).map((round): Move => ({
      side,
      id: `${side.side}${round}`,
      held: `p${side.side}${round}_`,
      block: `lane + ${round * size}u`,
      only: (round + 1) * size > side.blocks ? `lane + ${round * size}u < ${side.blocks}u` : undefined,
    }))
  );
}

/** Adds what the teams have to what the first one has, a few vectors at a time. */
function handOver(names: readonly string[], split: number): string {
  const chunks = range(Math.ceil(names.length / HANDED_OVER)).map((i) =>
    names.slice(i * HANDED_OVER, (i + 1) * HANDED_OVER)
  );
  return chunks.map((chunk) =>
    `  workgroupBarrier();
  if (team > 0u) {
${chunk.map((name, i) => `    handedOver[team - 1u][${i}][lane] = ${name};`).join("\n")}
  }
  workgroupBarrier();
  if (team == 0u) {
${
      chunk.map((name, i) =>
        `    ${name} = ${name}${
          range(split - 1).map((other) => ` + handedOver[${other}][${i}][lane]`).join("")
        };`
      ).join("\n")
    }
  }`
  ).join("\n");
}

/**
 * Sums of an operand over k: those invocations that first hold a vec4 of its rows (columns), in the first
 * tile across (down), add it up once more from the slice. The rest of the workgroups do not pay for it.
 */
function sliceSums(
  form: MatmulForm,
  { rows, columns, depth, block }: WorkgroupTile,
  slice: string,
): { names: string[]; declare: string; update: string; store: string } | undefined {
  if (!form.sums) return undefined;
  const { of } = form.sums;
  const [extent, tile, first, place, other, parts] = of === "a"
    ? [rows, "tileN", "firstRow", "down", "across", block[0] / 4]
    : [columns, "tileM", "firstColumn", "across", "down", block[1] / 4];
  const names = range(parts).map((i) => `sum${i}`);
  return {
    names,
    declare: names.map((name) => `  var ${name} = vec4<f32>();`).join("\n"),
    update: `    if (${tile} == 0u && ${other} == 0u) {
      for (var q = 0u; q < ${depth}u; q++) {
${repeat(parts, (i) => `        sum${i} = sum${i} + ${of}Slice${slice}[q / 4u][q % 4u][${i}][${place}];`)}
      }
    }`,
    store: storeSums(
      form,
      names,
      range(parts).map((i) => `${first} + ${i * extent / parts}u + 4u * ${place}`),
      ` && ${other} == 0u`,
    ),
  };
}

/**
 * Which 4 × 4 block an invocation moves: `…Vector` of the tile's row groups, `…Depth` of the slice's groups
 * of 4 k. Along the storage where it is k-major; otherwise eight row groups side by side, so that both the
 * fetch fills memory sectors and the turned block is staged without bank conflicts.
 */
function blockPlace({ side: { blocks, vectors, parts, kMajor }, id, block }: Move): string {
  const depths = blocks / vectors;
  const [vector, depth] = kMajor || vectors % 8 !== 0
    ? [`${id}Block % ${vectors}u`, `${id}Block / ${vectors}u`]
    : [`${id}Block % 8u + 8u * (${id}Block / ${8 * depths}u)`, `(${id}Block / 8u) % ${depths}u`];
  return `  let ${id}Block = ${block};
  let ${id}Vector = ${vector};
  let ${id}Depth = ${depth};
  let ${id}Part = ${id}Vector / ${vectors / parts}u;
  let ${id}Place = ${id}Vector % ${vectors / parts}u;`;
}

/** Offsets of the block's four rows (columns), clamped to the operand, outside the loop. */
function blockBases(form: MatmulForm, { side: { side, kMajor }, id }: Move): string {
  const vector = form.widths[side] === 4;
  const [first, extent] = side === "a" ? ["firstRow", "params.m"] : ["firstColumn", "params.n"];
  if (!kMajor) {
    return repeat(
      4,
      (x) =>
        `  let ${id}Line${x} = min(${first} + 4u * ${id}Vector + ${x}u, ${extent} - 1u);
  let ${id}Base${x} = ${side}Start + ${id}Line${x} * ${side}Row;`,
    );
  }
  if (vector) {
    return `  let ${id}Base = ${side}Start + min(${first} / 4u + ${id}Vector, (${extent} - 1u) / 4u);`;
  }
  return repeat(
    4,
    (x) => `  let ${id}Base${x} = ${side}Start + min(${first} + 4u * ${id}Vector + ${x}u, ${extent} - 1u);`,
  );
}

/**
 * Loads the block of the slice that begins at `k0` into its held vectors, each four rows (columns) at one k.
 */
function fetchBlock(form: MatmulForm, { side: { side, kMajor }, id, held }: Move): string {
  const vector = form.widths[side] === 4;
  const k = `${id}K`;
  const lines = [`      let ${k} = k0 + 4u * ${id}Depth;`];
  // `select` and not a product with zero: what lies beyond k may be infinite or NaN.
  const inside = (q: number, value: string) =>
    form.tail ? `select(vec4<f32>(), ${value}, ${k} + ${q}u < params.k)` : value;
  const at = (q: number) => form.tail ? `min(${k} + ${q}u, params.k - 1u)` : `(${k} + ${q}u)`;
  if (kMajor) {
    for (const q of range(4)) {
      const value = vector
        ? load(form, side, `${id}Base + ${at(q)} * ${side}Row`, at(q))
        : `vec4<f32>(${
          range(4).map((x) => load(form, side, `${id}Base${x} + ${at(q)} * ${side}Row`, at(q))).join(", ")
        })`;
      lines.push(`      ${held}${q} = ${inside(q, value)};`);
    }
    return lines.join("\n");
  }
  for (const x of range(4)) {
    const value = vector
      ? load(
        form,
        side,
        `${id}Base${x} + ${form.tail ? `min(${k} / 4u, (params.k - 1u) / 4u)` : `${k} / 4u`}`,
        `${id}Line${x}`,
      )
      : `vec4<f32>(${
        range(4).map((q) => load(form, side, `${id}Base${x} + ${at(q)}`, `${id}Line${x}`)).join(", ")
      })`;
    lines.push(`      let ${id}t${x} = ${value};`);
  }
  for (const q of range(4)) {
    const turned = `vec4<f32>(${range(4).map((x) => `${id}t${x}[${q}]`).join(", ")})`;
    lines.push(`      ${held}${q} = ${inside(q, turned)};`);
  }
  return lines.join("\n");
}

/** Writes the held block into the slice. */
function stageBlock({ side: { side }, id, held }: Move, slice: string): string {
  return repeat(
    4,
    (q) => `      ${side}Slice${slice}[${id}Depth][${q}][${id}Part][${id}Place] = ${held}${q};`,
  );
}
