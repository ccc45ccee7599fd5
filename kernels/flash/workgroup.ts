import { type TileForm, tokenOf, type TokenRows } from "./tile.ts";
import { range, repeat } from "../matmul/text.ts";

const COLUMNS = 64;
/** Invocations side by side along the columns, each with a vector of four. */
const ACROSS = COLUMNS / 4;
/**
 * Lines of workgroup memory that one turn of a loop reads, unrolled. More would
 * not fit the first instruction cache.
 */
const UNROLLED = 8;
/** Vectors of four d in them. */
const TURN = UNROLLED / 4;

/** How a workgroup of a GPU holds a tile. */
export interface WorkgroupShape {
  /** Rows walked at a time: with 64, workgroups take 32 KiB; with 32, the 16 KiB that every device has. */
  rows: 32 | 64;
  /** Invocations side by side along the rows; each has `rows / down` of them. */
  down: 8 | 16;
}

/**
 * 64 × 64; smaller where memory is. Eight down hold 8 × 4 scores and as many of each sum [64, columns]; where
 * that would be more than 64 numbers of sums, sixteen hold half as many.
 */
export function workgroupShapes(headSize: number, sums: number): WorkgroupShape[] {
  const down = sums * Math.ceil(headSize / 32) <= 4 ? 8 : 16;
  return [{ rows: 64, down }, { rows: 32, down: 8 }];
}

/**
 * For GPUs: `rows` × 64 scores in workgroups of 16 × `down` invocations. The one at (x, y) has columns 4·y …
 * 4·y + 3, and of the rows, as of the vectors of four d of sums, every `down`-th four from x on.
 *
 * Everything is an outer product: a vec4 over columns times a vec4 over rows, or over d, both read
 * from workgroup memory, so that a block of 8 × 4 takes 3 reads of a vec4 for 32 multiply-adds,
 * one of 16 × 4 takes 5 for 64: 1.5 and 1.25 bytes each. (Dot products of 4 × 4 blocks, and sums
 * of 4 × 4, take 8 for 64 and 2 for 16: 2 bytes.) `stage` holds slices of operands: of products
 * [d, columns] and [d, rows], both turned as they are staged, of sums [rows, d] as stored;
 * `weights` holds scores [rows, columns] that all need. Both are lines of 64 numbers in arrays of
 * arrays: compilers clamp every index they do not know, and so only the loop's and those that
 * depend on the invocation, the same in all lines; of a flat array they clamp one in each read.
 *
 * Barriers, all of them in uniform control flow:
 * - `product` and `accumulate` begin every slice with one, so that nobody writes `stage` before all have read
 *   the last slice, of whichever of the two, and have another one between the writes and the reads.
 * - `accumulate` and `overRows` begin with one, then write `weights`: all have read what either left there.
 * - `hold` writes `weights` after a product, whose barriers all passed after their
 *   reads in the `accumulate` before; it writes and `held` reads own elements
 *   only, and `accumulate` overwrites each by the invocation that held it.
 * What no element of an operand belongs to is zero in products (d past the head's width), weighs nothing
 * (rows past the end) or is not stored (sums past the head's width, columns past the end).
 */
export function workgroupTile(headSize: number, { rows, down }: WorkgroupShape): TileForm {
  const quads = Math.ceil(headSize / 4);
  const size = ACROSS * down;
  const own = rows / down;
  /** Lines of `stage`: a slice of either operand of a product, or all rows of one of a sum. */
  const lines = rows;
  const parts = lines / UNROLLED;
  /** Slices of a product: one of the columns and one of the rows share the lines. */
  const slices = Math.ceil(quads / (lines / 8));
  /** Vectors of four d in each, in whole turns of the loop. */
  const depth = TURN * Math.ceil(quads / slices / TURN);
  const sliceParts = depth / TURN;
  /** Own vectors of four d, in chunks that fit the lines. */
  const vectors = Math.ceil(quads / down);
  const chunks = range(Math.ceil(vectors / (ACROSS / down))).map((chunk) => {
    const first = chunk * (ACROSS / down);
    return { first, count: Math.min(ACROSS / down, vectors - first) };
  });
  const sumName = (name: string, vector: number, q: number) => `${name}${vector}_${q}`;
  const weight = (i: number) => `weights[ownPart${i >> 2}][ownLine${i >> 2} + ${i & 3}u][yHigh][yLow]`;
  /**
   * Four tokens × four d at a time from storage at vector `chunk` on, turned,
   * into the lines of `stage` from `firstPart` on.
   */
  const stageTurned = (
    source: TokenRows,
    { tokens, firstPart, token }: { tokens: number; firstPart: number; token: (row: string) => string },
  ) => {
    const groups = tokens / 4;
    const blocks = groups * depth;
    const rounds = Math.ceil(blocks / size);
    const tail = quads % depth !== 0;
    const guarded = (round: number, text: string) =>
      (round + 1) * size > blocks ? `      if (lane < ${blocks - round * size}u) {\n${text}\n      }` : text;
    // Eight groups of tokens side by side: the lines fill without bank conflicts,
    // and fetches fill memory sectors.
    const load = (round: number) => {
      const one = (c: number) => {
        const value = source.at(
          source.base(token(`4u * group${round} + ${c}u`)),
          tail ? `min(d4, ${quads - 1}u)` : "d4",
        );
        return `        t${round}_${c} = ${tail ? `select(vec4<f32>(), ${value}, d4 < ${quads}u)` : value};`;
      };
      return `      let block${round} = lane + ${round * size}u;
      let group${round} = ${
        groups > 8 ? `block${round} % 8u + 8u * (block${round} / ${8 * depth}u)` : `block${round} % 8u`
      };
      let quad${round} = ${groups > 8 ? `(block${round} / 8u) % ${depth}u` : `block${round} / 8u`};
      ${range(4).map((c) => `var t${round}_${c} = vec4<f32>();`).join(" ")}
${guarded(round, `      {\n        let d4 = chunk + quad${round};\n${repeat(4, one)}\n      }`)}`;
    };
    const store = (round: number) =>
      guarded(
        round,
        `      {
        let part = ${firstPart}u + quad${round} / ${TURN}u;
        let line = 4u * (quad${round} % ${TURN}u);
${
          repeat(4, (q) =>
            `        stage[part][line + ${q}u][group${round} / ${down}u][group${round} % ${down}u] = vec4<f32>(${
              range(4).map((c) => `t${round}_${c}[${q}]`).join(", ")
            });`)
        }
      }`,
      );
    return `      {\n${repeat(rounds, load)}\n${repeat(rounds, store)}\n      }`;
  };
  /** Runs `body` for every slice, whose first vector is `chunk`. */
  const overSlices = (body: string) =>
    slices === 1
      ? `    {\n      let chunk = 0u;\n${body}\n    }`
      : `    for (var chunk = 0u; chunk < ${slices * depth}u; chunk += ${depth}u) {\n${body}\n    }`;
  return {
    name: `workgroup ${rows} × ${COLUMNS} / ${down} × ${headSize}`,
    invocations: size,
    rows,
    columns: COLUMNS,
    ownRows: own,
    balanced: true,
    workgroupBytes: () => 2 * lines * COLUMNS * 4,
    declarations: () => {
      const type = `array<array<array<array<vec4<f32>, ${down}>, ${ACROSS / down}>, ${UNROLLED}>, ${parts}>`;
      return `var<workgroup> stage: ${type};\nvar<workgroup> weights: ${type};\n`;
    },
    prologue: `  let x = lane / ${ACROSS}u;
  let y = lane % ${ACROSS}u;
  let yHigh = y / ${down}u;
  let yLow = y % ${down}u;
${
      repeat(own / 4, (group) =>
        `  let ownPart${group} = (x + ${group * down}u) / ${TURN}u;
  let ownLine${group} = 4u * ((x + ${group * down}u) % ${TURN}u);`)
    }`,
    firstColumn: `4u * (lane % ${ACROSS}u)`,
    row: (i) => `4u * x + ${(i >> 2) * 4 * down + (i & 3)}u`,
    fourRows: (group) => `x + ${group * down}u`,
    speaks: "x == 0u",
    product: (result, rowSource, { source }) =>
      `${repeat(own, (i) => `    var ${result}${i} = vec4<f32>();`)}
${
        overSlices(
          `      workgroupBarrier(); // the stage has been read
${
            stageTurned(source, {
              tokens: COLUMNS,
              firstPart: 0,
              token: (row) => `min(tileStart + ${row}, params.sequence - 1u)`,
            })
          }
${stageTurned(rowSource, { tokens: rows, firstPart: sliceParts, token: tokenOf })}
      workgroupBarrier();
      for (var part = 0u; part < ${sliceParts}u; part++) {
${
            repeat(UNROLLED, (line) =>
              `        {
          let c = stage[part][${line}][yHigh][yLow];
${repeat(own / 4, (g) => `          let r${g} = stage[part + ${sliceParts}u][${line}][${g}][x];`)}
${
                repeat(own, (i) =>
                  `          ${result}${i} = fma(vec4<f32>(r${i >> 2}[${i & 3}]), c, ${result}${i});`)
              }
        }`)
          }
      }`,
        )
      }`,
    declareSums: (name) =>
      repeat(
        vectors,
        (i) => `  ${range(4).map((q) => `var ${sumName(name, i, q)} = vec4<f32>();`).join(" ")}`,
      ),
    accumulate: (name, value, source, factor) =>
      `    workgroupBarrier(); // the weights and the stage have been read
${repeat(own, (i) => `    ${weight(i)} = ${value(i)};`)}
${
        chunks.map(({ first, count }) => {
          const chunkQuads = count * down;
          const elements = rows * chunkQuads;
          const stageRound = (round: number) =>
            `    ${(round + 1) * size > elements ? `if (lane < ${elements - round * size}u) ` : ""}{
      let element = lane + ${round * size}u;
      let row = element / ${chunkQuads}u;
      let quad = element % ${chunkQuads}u;
      stage[row / ${UNROLLED}u][row % ${UNROLLED}u][quad / ${down}u][quad % ${down}u] = ${
              source.at(source.base(tokenOf("row")), `min(quad + ${first * down}u, ${quads - 1}u)`)
            };
    }`;
          const own = range(count).map((i) => first + i);
          return `${first ? "    workgroupBarrier(); // the stage has been read\n" : ""}${
            repeat(Math.ceil(elements / size), stageRound)
          }
    workgroupBarrier();
${
            factor
              ? own.map((i) => `    ${range(4).map((q) => `${sumName(name, i, q)} *= ${factor};`).join(" ")}`)
                .join("\n")
              : ""
          }
    for (var part = 0u; part < ${parts}u; part++) {
${
            repeat(UNROLLED, (line) =>
              `      {
        let w = weights[part][${line}][yHigh][yLow];
${
                own.map((i) =>
                  `        let r${i} = stage[part][${line}][${i - first}][x];
        ${
                    range(4).map((q) =>
                      `${sumName(name, i, q)} = fma(vec4<f32>(r${i}[${q}]), w, ${sumName(name, i, q)});`
                    ).join(" ")
                  }`
                ).join("\n")
              }
      }`)
          }
    }`;
        }).join("\n")
      }`,
    hold: (_, i, value) => `    ${weight(i)} = ${value};`,
    held: (_, i) => weight(i),
    eachSum: (name, value, store) =>
      repeat(vectors, (i) =>
        `  ${(i + 1) * down > quads ? `if (x + ${i * down}u < ${quads}u) ` : ""}{
    let d4 = x + ${i * down}u;
    ${range(4).map((q) => `let ${value}${q} = ${sumName(name, i, q)};`).join(" ")}
${store}
  }`),
    rowNumbers: (name, type, of) =>
      repeat(
        own,
        (i) =>
          `    let ${name}${i}: ${type} = ${of(tokenOf(`(4u * x + ${(i >> 2) * 4 * down + (i & 3)}u)`))};`,
      ),
    rowNumber: (name, i) => `${name}${i}`,
    overRows: (name, partial, combine) =>
      `    workgroupBarrier(); // the weights have been read
    weights[x / ${UNROLLED}u][x % ${UNROLLED}u][yHigh][yLow] = ${partial};
    workgroupBarrier();
    ${name} = ${
        range(down).map((i) => `weights[${i / UNROLLED | 0}][${i % UNROLLED}][yHigh][yLow]`).reduce(combine)
      };`,
  };
}
