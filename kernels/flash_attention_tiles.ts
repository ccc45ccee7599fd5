import { range, repeat } from "./matmul_code.ts";

/** One head of a matrix with a row per token, as WGSL text. */
export interface TokenRows {
  /** Where the head of a token starts; the token is below T. */
  base(token: string): string;
  /** Columns `4·d4 … 4·d4 + 3` as `vec4<f32>`, zero past the head's width. */
  at(base: string, d4: string): string;
}

/**
 * How the invocations of a workgroup hold a tile of `rows × columns` scores.
 *
 * A kernel owns `columns` tokens for good and walks over `rows` tokens at a time; queries are columns where their gradient
 * or output is made, keys are where theirs is. Each invocation holds scores as `vec4`s over four neighbouring columns, so
 * that what belongs to a column (maximum, sum, logsumexp) is a `vec4` of its own, and sums `[D, columns]` as one `vec4` per d.
 * All methods return WGSL statements; names get a number appended per vector.
 */
export interface TileForm {
  invocations: number;
  rows: number;
  columns: number;
  /** Score vectors per invocation. */
  ownRows: number;
  /** Whether own row i is row i of the tile, so that four of them are neighbours. */
  allRows: boolean;
  /** Bytes of workgroup memory that a kernel with this many sums takes. */
  workgroupBytes(sums: number): number;
  /** Module-scope declarations of a kernel with these sums. */
  declarations(sums: readonly string[]): string;
  /** First of the invocation's columns within the tile. */
  firstColumn: string;
  /** Row within the tile of own row `i`. */
  row(i: number): string;
  /** Whether this invocation is the one that stores what all that share its columns know. */
  speaks: string;
  /**
   * `<result>i = Σ_d row[d] · column[d]` for own rows i of the tile that starts at token `first`; `<columns.name>0 … 3` are
   * the bases of the invocation's columns.
   */
  product(result: string, rows: TokenRows, columns: { name: string; source: TokenRows }): string;
  /** Declares sums over rows, zero, where they are not at module scope. */
  declareSums(name: string): string;
  /** `sums[d] = sums[d] · factor + Σ_rows weight · row[d]`, over all rows of the tile, also those of other invocations. */
  accumulate(name: string, weight: (i: number) => string, rows: TokenRows, factor?: string): string;
  /** Runs `store` for every four d of the invocation: `<value>0 … 3` are the sums, `d4` their index. */
  eachSum(name: string, value: string, store: string): string;
  /** Declares a number per row, from an expression of the row's token. */
  rowNumbers(name: string, type: string, of: (token: string) => string): string;
  /** That number of own row `i`. */
  rowNumber(name: string, i: number): string;
  /** Combines a `vec4` over the invocations that share columns: `name = …`. */
  overRows(name: string, partial: string, combine: (a: string, b: string) => string): string;
}

/** A form whose tile is square, so that rows and columns can change places. */
export interface SquareTile extends TileForm {
  /** Turns own scores: `<result>j` holds column j of the tile as a `vec4` over rows `4·lane … 4·lane + 3`. */
  turn(result: string, score: (i: number) => string): string;
  /** Sets sums to zero again. */
  zeroSums(name: string): string;
  /** For every d4, sums `weight · row[d]` over the rows of the tile into `t0 … t3`, one `vec4` per d, and runs `store`. */
  sumOfRows(weight: (i: number) => string, rows: TokenRows, store: string): string;
}

/** Rows walked at a time: scores of 32 × 4 columns are what registers hold. */
const ROWS = 32;

const tokenOf = (row: string) => `min(first + ${row}, params.sequence - 1u)`;

/**
 * For software adapters: a workgroup is one subgroup, a lane owns four columns and all 32 rows. Rows are loaded one per lane
 * and handed round by `subgroupShuffle` from a constant lane: nothing is staged, nothing waits. See `subgroupMatmulCode` for
 * why loads are what counts there.
 */
export function subgroupTile(lanes: number, headSize: number): SquareTile {
  const groups = ROWS / lanes;
  const quads = Math.ceil(headSize / 4);
  const sum = (name: string, q: number) => `${name}[(4u * d4 + ${q}u) * ${lanes}u + lane]`;
  const shuffled = (name: string, row: number) =>
    `subgroupShuffle(${name}${Math.floor(row / lanes)}, ${row % lanes}u)`;
  const component = (row: number, q: number) =>
    `subgroupShuffle(r${Math.floor(row / lanes)}[${q}], ${row % lanes}u)`;
  const rowBases = (source: TokenRows) =>
    repeat(groups, (i) => `    let rowBase${i} = ${source.base(tokenOf(`${i * lanes}u + lane`))};`);
  const rowLoads = (source: TokenRows) =>
    repeat(groups, (i) => `      let r${i} = ${source.at(`rowBase${i}`, "d4")};`);
  /** Sums over the rows of a tile that start as `start(q)` and end in `store`. */
  const sumRows = (
    start: (q: number) => string,
    weight: (i: number) => string,
    rows: TokenRows,
    store: string,
  ) =>
    `    {
${rowBases(rows)}
    for (var d4 = 0u; d4 < ${quads}u; d4++) {
${rowLoads(rows)}
${repeat(4, (q) => `      var t${q} = ${start(q)};`)}
${
      repeat(ROWS / 4, (g) =>
        repeat(4, (q) =>
          `      t${q} = t${q}${
            range(4).map((i) => ` + ${component(4 * g + i, q)} * ${weight(4 * g + i)}`).join("")
          };`))
    }
${store}
    }
    }`;
  return {
    invocations: lanes,
    rows: ROWS,
    columns: 4 * lanes,
    ownRows: ROWS,
    allRows: true,
    workgroupBytes: (sums) => sums * 64 * quads * lanes,
    // In workgroup memory, although each lane keeps to its own: as a local array, indexed by the loop over d, they take Mesa
    // 20 seconds to compile instead of one; as named variables the loop over d would have to be unrolled.
    declarations: (sums) =>
      repeat(sums.length, (i) => `var<workgroup> ${sums[i]}: array<vec4<f32>, ${4 * quads * lanes}>;`),
    firstColumn: "4u * lane",
    row: (i) => `${i}u`,
    speaks: "true",
    product: (result, rows, columns) =>
      `${repeat(ROWS, (i) => `    var ${result}${i} = vec4<f32>();`)}
    {
${rowBases(rows)}
    for (var d4 = 0u; d4 < ${quads}u; d4++) {
${rowLoads(rows)}
${repeat(4, (c) => `      let t${c} = ${columns.source.at(`${columns.name}${c}`, "d4")};`)}
${repeat(4, (q) => `      let c${q} = vec4<f32>(${range(4).map((c) => `t${c}[${q}]`).join(", ")});`)}
${
        repeat(ROWS, (i) =>
          `      ${result}${i} = ${result}${i}${
            range(4).map((q) => ` + ${component(i, q)} * c${q}`).join("")
          };`)
      }
    }
    }`,
    declareSums: () => "",
    accumulate: (name, weight, rows, factor) =>
      sumRows(
        (q) => `${sum(name, q)}${factor ? ` * ${factor}` : ""}`,
        weight,
        rows,
        repeat(4, (q) => `      ${sum(name, q)} = t${q};`),
      ),
    zeroSums: (name) =>
      `  for (var i = lane; i < ${4 * quads * lanes}u; i += ${lanes}u) { ${name}[i] = vec4<f32>(); }`,
    sumOfRows: (weight, rows, store) => sumRows(() => "vec4<f32>()", weight, rows, store),
    turn: (result, score) => {
      const lines: string[] = [];
      for (let bit = 1; bit < lanes; bit *= 2) lines.push(`    let odd${bit} = (lane & ${bit}u) != 0u;`);
      // Rows 4·a + c are registers a, columns 4·m … 4·m + 3 lanes m: each stage swaps one bit of a with the same of m.
      for (const c of range(4)) {
        let held = range(lanes).map((a) => score(4 * a + c));
        for (let bit = 1; bit < lanes; bit *= 2) {
          const next = range(lanes).map((a) => `${result}_${c}_${bit}_${a}`);
          for (const low of range(lanes).filter((a) => (a & bit) === 0)) {
            const high = low | bit;
            const got = `${next[low]}_got`;
            lines.push(
              `    let ${got} = subgroupShuffleXor(select(${held[high]}, ${held[low]}, odd${bit}), ${bit}u);`,
              `    let ${next[low]} = select(${held[low]}, ${got}, odd${bit});`,
              `    let ${next[high]} = select(${got}, ${held[high]}, odd${bit});`,
            );
          }
          held = next;
        }
        held.forEach((name, m) => lines.push(`    let ${result}_${c}_${m} = ${name};`));
      }
      for (const j of range(ROWS)) {
        const parts = range(4).map((c) => `${result}_${c}_${Math.floor(j / 4)}[${j % 4}]`);
        lines.push(`    let ${result}${j} = vec4<f32>(${parts.join(", ")});`);
      }
      return lines.join("\n");
    },
    eachSum: (name, value, store) =>
      `  for (var d4 = 0u; d4 < ${quads}u; d4++) {
${repeat(4, (q) => `    let ${value}${q} = ${sum(name, q)};`)}
${store}
  }`,
    rowNumbers: (name, type, of) =>
      repeat(groups, (i) => `    let ${name}${i}: ${type} = ${of(tokenOf(`${i * lanes}u + lane`))};`),
    rowNumber: (name, i) => shuffled(name, i),
    overRows: (name, partial) => `    ${name} = ${partial};`,
  };
}

/** Invocations side by side along the rows and along the columns of a GPU's tile. */
const ACROSS_ROWS = 8;
const ACROSS_COLUMNS = 16;
/** Vectors of four d staged at a time: for products, and for sums, where each invocation along the rows takes one. */
const PRODUCT_DEPTH = 4;
const SUM_DEPTH = ACROSS_ROWS;
/** Strides in vectors, odd so that neighbouring rows of a tile start in different banks. */
const PRODUCT_STRIDE = PRODUCT_DEPTH + 1;
const WEIGHT_STRIDE = ACROSS_COLUMNS + 1;

const WORKGROUP_TILE_BYTES = 16 *
  ((ROWS + 4 * ACROSS_COLUMNS) * PRODUCT_STRIDE + ROWS * WEIGHT_STRIDE);

/**
 * For GPUs: 128 invocations hold 32 rows × 64 columns; the one at (x, y) has rows x, x + 8, x + 16, x + 24, columns
 * 4·y … 4·y + 3 and, of sums, every eighth vector of four d from x on. Operands pass through `stage`, scores that all need
 * through `weights`.
 *
 * Every write to workgroup memory comes after a barrier that follows the last read of what was there, and before one that
 * precedes the first read of what it wrote: each method begins with a barrier.
 */
export function workgroupTile(headSize: number): TileForm {
  const quads = Math.ceil(headSize / 4);
  const columns = 4 * ACROSS_COLUMNS;
  const own = ROWS / ACROSS_ROWS;
  const chunks = Math.ceil(quads / SUM_DEPTH);
  const size = ACROSS_ROWS * ACROSS_COLUMNS;
  const row = (i: number) => `x + ${i * ACROSS_ROWS}u`;
  /** Vector `d4` of a token, zero past the last: the tail of a chunk must not add anything. */
  const orZero = (source: TokenRows, base: string, d4: string) =>
    `select(vec4<f32>(), ${source.at(base, `min(${d4}, ${quads - 1}u)`)}, ${d4} < ${quads}u)`;
  return {
    invocations: size,
    rows: ROWS,
    columns,
    ownRows: own,
    allRows: false,
    workgroupBytes: () => WORKGROUP_TILE_BYTES,
    declarations: () =>
      `var<workgroup> stage: array<vec4<f32>, ${(ROWS + columns) * PRODUCT_STRIDE}>;
var<workgroup> weights: array<vec4<f32>, ${ROWS * WEIGHT_STRIDE}>;`,
    firstColumn: `4u * (lane / ${ACROSS_ROWS}u)`,
    row,
    speaks: `lane % ${ACROSS_ROWS}u == 0u`,
    product: (result, rows, { source }) => {
      const stagedColumns = size / PRODUCT_DEPTH;
      return `${repeat(own, (i) => `    var ${result}${i} = vec4<f32>();`)}
    for (var chunk = 0u; chunk < ${quads}u; chunk += ${PRODUCT_DEPTH}u) {
      workgroupBarrier(); // the stage has been read
      {
        let d4 = chunk + lane / ${ROWS}u;
        let token = lane % ${ROWS}u;
        let base = ${rows.base(tokenOf("token"))};
        stage[token * ${PRODUCT_STRIDE}u + lane / ${ROWS}u] = ${orZero(rows, "base", "d4")};
      }
${
        repeat(columns / stagedColumns, (part) =>
          `      {
        let token = lane % ${columns}u;
        let depth = lane / ${columns}u + ${part * (size / columns)}u;
        let base = ${source.base("min(tileStart + token, params.sequence - 1u)")};
        stage[${ROWS * PRODUCT_STRIDE}u + token * ${PRODUCT_STRIDE}u + depth] = ${
            orZero(source, "base", "chunk + depth")
          };
      }`)
      }
      workgroupBarrier();
${
        repeat(PRODUCT_DEPTH, (depth) =>
          `      {
${repeat(own, (i) => `        let r${i} = stage[(${row(i)}) * ${PRODUCT_STRIDE}u + ${depth}u];`)}
${
            repeat(
              4,
              (c) =>
                `        let c${c} = stage[${ROWS * PRODUCT_STRIDE + c * PRODUCT_STRIDE + depth}u + y * ${
                  4 * PRODUCT_STRIDE
                }u];`,
            )
          }
${
            repeat(own, (i) =>
              `        ${result}${i} += vec4<f32>(${
                range(4).map((c) => `dot(r${i}, c${c})`).join(", ")
              });`)
          }
      }`)
      }
    }`;
    },
    declareSums: (name) =>
      repeat(
        chunks,
        (chunk) => `  ${range(4).map((q) => `var ${name}${chunk}_${q} = vec4<f32>();`).join(" ")}`,
      ),
    accumulate: (name, weight, rows, factor) =>
      `    workgroupBarrier(); // the weights and the stage have been read
${repeat(own, (i) => `    weights[(${row(i)}) * ${WEIGHT_STRIDE}u + y] = ${weight(i)};`)}
${
        repeat(chunks, (chunk) =>
          `${chunk ? "    workgroupBarrier(); // the stage has been read" : ""}
${
            repeat((ROWS * SUM_DEPTH) / size, (part) => {
              const token = `lane / ${SUM_DEPTH}u + ${part * (size / SUM_DEPTH)}u`;
              return `    {
      let base = ${rows.base(tokenOf(`(${token})`))};
      stage[(${token}) * ${SUM_DEPTH}u + x] = ${orZero(rows, "base", `${chunk * SUM_DEPTH}u + x`)};
    }`;
            })
          }
    workgroupBarrier();
${factor ? `    ${range(4).map((q) => `${name}${chunk}_${q} *= ${factor};`).join(" ")}` : ""}
    for (var j = 0u; j < ${ROWS}u; j++) {
      let w = weights[j * ${WEIGHT_STRIDE}u + y];
      let r = stage[j * ${SUM_DEPTH}u + x];
      ${range(4).map((q) => `${name}${chunk}_${q} += r[${q}] * w;`).join(" ")}
    }`)
      }`,
    eachSum: (name, value, store) =>
      repeat(chunks, (chunk) =>
        `  if (${chunk * SUM_DEPTH}u + x < ${quads}u) {
    let d4 = ${chunk * SUM_DEPTH}u + x;
    ${range(4).map((q) => `let ${value}${q} = ${name}${chunk}_${q};`).join(" ")}
${store}
  }`),
    rowNumbers: (name, type, of) =>
      repeat(own, (i) => `    let ${name}${i}: ${type} = ${of(tokenOf(row(i)))};`),
    rowNumber: (name, i) => `${name}${i}`,
    overRows: (name, partial, combine) =>
      `    workgroupBarrier(); // the stage has been read
    stage[lane] = ${partial};
    workgroupBarrier();
    ${name} = ${range(ACROSS_ROWS).map((i) => `stage[y * ${ACROSS_ROWS}u + ${i}u]`).reduce(combine)};`,
  };
}
