import {
  columnPrologue,
  declarations,
  load,
  range,
  repeat,
  storeRow,
  storeSums,
  tileWgsl,
} from "../matmul/text.ts";
import type { MatmulForm } from "../matmul/product.ts";
import { decodeFour, loadEightQuantized, quantizedPrologue } from "../matmul/quantized.ts";

/** Lanes of a subgroup, rows of its tile, and how many vec4s of columns each lane owns. */
export interface SubgroupTile {
  lanes: number;
  rows: number;
  columnVectors: number;
}

/**
 * Rows that a lane loads at once: one, or four where A is stored [k, m] and the
 * tile has so many for each lane.
 */
function rowsPerLane(form: MatmulForm, { lanes, rows }: SubgroupTile): number {
  return form.aTransposed && rows % (4 * lanes) === 0 ? 4 : 1;
}

/**
 * WGSL of a product for software adapters.
 *
 *   C[m, n] = alpha · Σ_k A[m, k] · B[k, n] (+ bias[n]) (+ residual[m, n]) (+ C[m, n])
 *   sums[m] = Σ_k A[m, k] or sums[n] = Σ_k B[k, n] (+ sums), where they are asked for
 *
 * Shapes    A: [m, k] or [k, m].   B: [k, n] or [n, k].   C, residual: [m, n].
 *           bias: [n].   All strided and batched.
 * Dtypes    each operand f32 or f16, or B codes (kernels/matmul/quantized.ts); products and sums f32, k in
 *           ascending order, so the bits do not depend on the tile.
 * Mapping   one workgroup = one subgroup = one tile; a lane owns 4 or 8 neighbouring columns per group. Rows
 *           are loaded one (or four) a lane and handed round by `subgroupShuffle` from a constant lane.
 * Limits    the adapter's subgroups have exactly `lanes` lanes. Any m, n, k ≥ 1: rows and columns outside are
 *           loaded from the last one inside and not stored, so nothing outside the operands is read.
 * Source    measured on Mesa lavapipe, which runs a load as a loop over the lanes: a vec4 costs some 20
 *           multiply-adds, so every loaded value meets as many others as registers allow; workgroup memory is
 *           another such loop. All loads of an iteration come first and an accumulator takes its k terms in
 *           one statement, else LLVM spills.
 */
export function subgroupMatmulCode(form: MatmulForm, tile: SubgroupTile): string {
  const { lanes, rows, columnVectors } = tile;
  const perLane = rowsPerLane(form, tile);
  const perGroup = perLane * lanes;
  const rowGroups = rows / perGroup;
  const sum = (row: number, j: number) => `s${row}_${j}`;
  const columnAt = (j: number) => columnOffset(form, lanes, j);

  // Register and lane that hold row `row` of A at the q-th k of an iteration.
  const rowValue = (row: number, q: number | undefined) => {
    const i = Math.floor(row / perGroup);
    const within = row % perGroup;
    if (!form.aTransposed) return `subgroupShuffle(a${i}${q === undefined ? "" : `[${q}]`}, ${within}u)`;
    if (perLane === 1) return `subgroupShuffle(a${i}_${q ?? 0}_0, ${within}u)`;
    const part = within % perLane;
    return `subgroupShuffle(a${i}_${q ?? 0}_${part >> 2}[${part & 3}], ${Math.floor(within / perLane)}u)`;
  };

  const multiplyAdd = (depth: number | undefined) =>
    repeat(rows, (row) => {
      const qs = range(depth ?? 1);
      const values = qs.map((q) => `let x${q} = ${rowValue(row, depth === undefined ? undefined : q)};`).join(
        " ",
      );
      const updates = range(columnVectors).map((j) =>
        `${sum(row, j)} = ${sum(row, j)}${qs.map((q) => ` + x${q} * b${j}_${q}`).join("")};`
      );
      return `    { ${values} ${updates.join(" ")} }`;
    }) + operandSums(depth ?? 1);

  // Sums of B in vec4s of columns, of A in those of rows, as the lanes hold them.
  const summed = form.sums?.of === "b"
    ? range(columnVectors).map((j) => ({
      first: `firstColumn + ${columnAt(j)}`,
      term: (q: number) => `b${j}_${q}`,
    }))
    : form.sums
    ? range(rowGroups * perLane / 4).map((v) => {
      const [i, part] = [Math.floor(4 * v / perLane), v % (perLane / 4)];
      return {
        first: `firstRow + ${i * perGroup + 4 * part}u + ${perLane}u * lane`,
        term: (q: number) => `a${i}_${q}_${part}`,
      };
    })
    : [];
  const operandSums = (depth: number) =>
    summed.map(({ term }, v) =>
      `\n    sum${v} = sum${v}${range(depth).map((q) => ` + ${term(q)}`).join("")};`
    )
      .join("");

  const step = (loadsOfB: string) =>
    `${repeat(rowGroups, (i) => aLoads(form, i, perLane))}\n${loadsOfB}\n${multiplyAdd(4)}`;

  return `${declarations(form)}
@compute @workgroup_size(${lanes})
fn matmul(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
${tileWgsl()}
  let aRow = params.aRow;
  let bRow = params.bRow;
  let cRow = params.cRow;
  let firstRow = tileM * ${rows}u;
  let firstColumn = tileN * ${lanes * 4 * columnVectors}u;
${repeat(rowGroups, (i) => aBases(form, i, `firstRow + ${i * perGroup}u`, perLane))}
${repeat(columnVectors, (j) => bBases(form, j, `firstColumn + ${columnAt(j)}`))}
${
    repeat(rows, (row) =>
      `  ${range(columnVectors).map((j) => `var ${sum(row, j)} = vec4<f32>();`).join(" ")}`)
  }
${repeat(summed.length, (v) => `  var sum${v} = vec4<f32>();`)}
${quantizedPrologue(form)}  let steps = ${form.single ? "0u" : "params.k / 4u"};
${
    form.single
      ? ""
      : form.quantized && form.bTransposed
      ? codesLoop(form, columnVectors, step)
      : `  for (var step4 = 0u; step4 < steps; step4++) {
${step(repeat(columnVectors, (j) => bLoads(form, j)))}
  }`
  }
${
    form.tail
      ? `  for (var k = 4u * steps; k < params.k; k++) {
${repeat(rowGroups, (i) => aTailLoad(form, i, perLane))}
${repeat(columnVectors, (j) => bTailLoad(form, j))}
${multiplyAdd(undefined)}
  }`
      : ""
  }
${repeat(columnVectors, (j) => columnPrologue(form, `column${j}`, `firstColumn + ${columnAt(j)}`))}
${
    repeat(rows, (row) =>
      repeat(columnVectors, (j) => storeRow(form, `firstRow + ${row}u`, `column${j}`, sum(row, j))))
  }
${form.sums ? storeSums(form, summed.map((_, v) => `sum${v}`), summed.map(({ first }) => first)) : ""}
}
`;
}

/**
 * The main loop where codes of B lie along k: scales are loaded once for
 * `scaleRun` loads, a word of NF4 once for two steps.
 *
 * @param step Text of one step of four k, `step4`, around its loads of B.
 */
function codesLoop(form: MatmulForm, columnVectors: number, step: (loadsOfB: string) => string): string {
  const { b: width } = form.widths;
  const each = (text: (place: string) => string) =>
    repeat(columnVectors, (j) => repeat(4, (x) => text(`${j}_${x}`)));
  const decoded = (codes: (place: string) => string) =>
    `${each((at) => `    let t${at} = ${decodeFour(form, codes(at), `scale${at}`)};`)}\n${
      repeat(columnVectors, turnB)
    }`;
  return `  let loads = params.k / ${width}u;
  for (var first = 0u; first < loads; first += params.scaleRun) {
${each((at) => `    let scale${at} = blockScale(bLine${at}, ${width}u * (bBase${at} + first));`)}
    let end = min(first + params.scaleRun, loads);
    for (var index = first; index < end; index++) {
${
    width === 8
      ? `${each((at) => `    let codes${at} = storage${form.slots.b}[bBase${at} + index];`)}
      for (var half = 0u; half < 2u; half++) {
        let step4 = 2u * index + half;
${step(decoded((at) => `codes${at} >> (16u * half)`))}
      }`
      : `      let step4 = index;
${step(decoded((at) => `codesOf(bBase${at} + index)`))}`
  }
    }
  }`;
}

/** Offset of the j-th vec4 of columns of a lane, as WGSL text. */
function columnOffset({ widths, bTransposed }: MatmulForm, lanes: number, j: number): string {
  return widths.b === 8 && !bTransposed
    ? `${(j >> 1) * 8 * lanes + 4 * (j & 1)}u + 8u * lane`
    : `${j * 4 * lanes}u + 4u * lane`;
}

/** Where lane `lane` finds its row (or four rows) of group `i`, outside the loop. */
function aBases(form: MatmulForm, i: number, first: string, perLane: number): string {
  if (!form.aTransposed) return `  let aBase${i} = aStart + min(${first} + lane, params.m - 1u) * aRow;`;
  const width = form.widths.a;
  if (width > 1) {
    return `  let aBase${i} = aStart + min((${first}) / ${width}u + lane, params.m / ${width}u - 1u);`;
  }
  return repeat(
    perLane,
    (x) => `  let aBase${i}_${x} = aStart + min(${first} + ${perLane}u * lane + ${x}u, params.m - 1u);`,
  );
}

function aLoads(form: MatmulForm, i: number, perLane: number): string {
  if (form.aTransposed) {
    return repeat(4, (q) => aColumnAt(form, i, q, `(4u * step4 + ${q}u) * aRow`, perLane));
  }
  if (form.widths.a === 4) return `    let a${i} = ${load(form, "a", `aBase${i} + step4`)};`;
  const parts = range(4).map((q) => load(form, "a", `aBase${i} + 4u * step4 + ${q}u`));
  return `    let a${i} = vec4<f32>(${parts.join(", ")});`;
}

/** Declares the rows that a lane holds of A, stored [k, m], at one k. */
function aColumnAt(form: MatmulForm, i: number, q: number, at: string, perLane: number): string {
  const name = `a${i}_${q}`;
  if (form.widths.a === 4) return `    let ${name}_0 = ${load(form, "a", `aBase${i} + ${at}`)};`;
  if (perLane === 1) return `    let ${name}_0 = ${load(form, "a", `aBase${i}_0 + ${at}`)};`;
  return `    let ${name}_0 = vec4<f32>(${
    range(4).map((x) => load(form, "a", `aBase${i}_${x} + ${at}`)).join(", ")
  });`;
}

function aTailLoad(form: MatmulForm, i: number, perLane: number): string {
  if (form.aTransposed) return aColumnAt(form, i, 0, "k * aRow", perLane);
  if (form.widths.a > 1) throw new TypeError("Cannot step singly through rows of A bound as vectors");
  return `    let a${i} = ${load(form, "a", `aBase${i} + k`)};`;
}

/**
 * Where lane `lane` finds its j-th vec4 of columns, outside the loop; of a pair
 * loaded together the first knows.
 */
function bBases(form: MatmulForm, j: number, first: string): string {
  const width = form.widths.b;
  if (form.bTransposed) {
    return repeat(
      4,
      (x) =>
        `  let bLine${j}_${x} = min(${first} + ${x}u, params.n - 1u);
  let bBase${j}_${x} = bStart + bLine${j}_${x} * bRow;`,
    );
  }
  if (width === 8 && j % 2 === 1) return "";
  if (width > 1) return `  let bBase${j} = bStart + min((${first}) / ${width}u, params.n / ${width}u - 1u);`;
  return repeat(4, (x) => `  let bBase${j}_${x} = bStart + min(${first} + ${x}u, params.n - 1u);`);
}

function bLoads(form: MatmulForm, j: number): string {
  if (!form.bTransposed) return repeat(4, (q) => bRowAt(form, j, q, `(4u * step4 + ${q}u)`));
  // Each lane loads four k of each of its four columns and turns the 4 × 4 block in registers.
  const loads = repeat(
    4,
    (x) =>
      form.widths.b === 4
        ? `    let t${j}_${x} = ${load(form, "b", `bBase${j}_${x} + step4`)};`
        : `    let t${j}_${x} = vec4<f32>(${
          range(4).map((q) => load(form, "b", `bBase${j}_${x} + 4u * step4 + ${q}u`, `bLine${j}_${x}`)).join(
            ", ",
          )
        });`,
  );
  return `${loads}\n${turnB(j)}`;
}

/** Declares four columns at four k each from the four k of each column. */
function turnB(j: number): string {
  return repeat(
    4,
    (q) => `    let b${j}_${q} = vec4<f32>(${range(4).map((x) => `t${j}_${x}[${q}]`).join(", ")});`,
  );
}

/** Declares four columns of B, stored [k, n], at one k; of a pair loaded together the first declares both. */
function bRowAt(form: MatmulForm, j: number, q: number, k: string): string {
  const at = `${k} * bRow`;
  if (form.widths.b === 8) {
    const names: [string, string] = [`b${j}_${q}`, `b${j + 1}_${q}`];
    return j % 2 === 1 ? "" : loadEightQuantized(form, `bBase${j} + ${at}`, k, names);
  }
  const value = form.widths.b === 4
    ? load(form, "b", `bBase${j} + ${at}`, k)
    : `vec4<f32>(${range(4).map((x) => load(form, "b", `bBase${j}_${x} + ${at}`, k)).join(", ")})`;
  return `    let b${j}_${q} = ${value};`;
}

function bTailLoad(form: MatmulForm, j: number): string {
  if (!form.bTransposed) return bRowAt(form, j, 0, "k");
  if (form.widths.b > 1) throw new TypeError("Cannot step singly through columns of B bound as vectors");
  return `    let b${j}_0 = vec4<f32>(${
    range(4).map((x) => load(form, "b", `bBase${j}_${x} + k`, `bLine${j}_${x}`)).join(", ")
  });`;
}
