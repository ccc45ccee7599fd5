import { type TileForm, tokenOf, type TokenRows } from "../flash/tile.ts";
import { range, repeat } from "../matmul/text.ts";

/** Rows walked at a time: scores of 32 × 4 columns are what registers hold. */
const ROWS = 32;

/**
 * For software adapters: a workgroup is one subgroup, a lane owns four columns and all 32 rows. Rows are
 * loaded one per lane and handed round by `subgroupShuffle` from a constant lane: nothing is staged, nothing
 * waits. See `subgroupMatmulCode` for why loads are what counts there.
 */
export function flashSubgroupTile(lanes: number, headSize: number): TileForm {
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
  return {
    name: `subgroup ${lanes} × ${headSize}`,
    invocations: lanes,
    rows: ROWS,
    columns: 4 * lanes,
    ownRows: ROWS,
    balanced: false,
    workgroupBytes: (sums) => sums * 64 * quads * lanes,
    // In workgroup memory, although each lane keeps to its own: as a local array,
    // indexed by the loop over d, they take Mesa 20 seconds to compile instead of
    // one; as named variables the loop over d would have to be unrolled.
    declarations: (sums) =>
      repeat(sums.length, (i) => `var<workgroup> ${sums[i]}: array<vec4<f32>, ${4 * quads * lanes}>;`),
    firstColumn: "4u * lane",
    row: (i) => `${i}u`,
    fourRows: (group) => `${group}u`,
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
    prologue: "",
    hold: (name, i, value) => `    let ${name}${i} = ${value};`,
    held: (name, i) => `${name}${i}`,
    accumulate: (name, weight, rows, factor) =>
      `    {
${rowBases(rows)}
    for (var d4 = 0u; d4 < ${quads}u; d4++) {
${rowLoads(rows)}
${repeat(4, (q) => `      var t${q} = ${sum(name, q)}${factor ? ` * ${factor}` : ""};`)}
${
        repeat(ROWS / 4, (g) =>
          repeat(4, (q) =>
            `      t${q} = t${q}${
              range(4).map((i) => ` + ${component(4 * g + i, q)} * ${weight(4 * g + i)}`).join("")
            };`))
      }
${
        repeat(4, (q) => `      ${sum(name, q)} = t${q};`)
      }
    }
    }`,
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
