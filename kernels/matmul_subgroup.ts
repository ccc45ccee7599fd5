import {
  columnPrologue,
  declarations,
  load,
  type MatmulForm,
  range,
  repeat,
  storeRow,
  TILE_WGSL,
} from "./matmul_code.ts";

/** Lanes of a subgroup and how many register groups of rows and of columns one subgroup owns. */
export interface SubgroupTile {
  lanes: number;
  rowGroups: number;
  columnGroups: number;
}

/** Rows that the lanes of a subgroup load at once: one each, or four each where A is stored [k, m]. */
export function rowsPerGroup(form: Pick<MatmulForm, "aTransposed">, lanes: number): number {
  return form.aTransposed ? 4 * lanes : lanes;
}

/**
 * WGSL of a product for software adapters.
 *
 *   C[m, n] = alpha · Σ_k A[m, k] · B[k, n] (+ bias[n]) (+ residual[m, n]) (+ C[m, n])
 *
 * Shapes    A: [m, k] or [k, m].   B: [k, n] or [n, k].   C, residual: [m, n].   bias: [n].   All strided and batched.
 * Dtypes    each operand f32 or f16; products and sums f32, k in ascending order, so the bits do not depend on the tile.
 * Mapping   one workgroup = one subgroup = one tile; a lane owns 4 neighbouring columns per column group. Rows are loaded
 *           one (or four) per lane and handed round by `subgroupShuffle` from a constant lane.
 * Limits    the adapter's subgroups have exactly `lanes` lanes. Any m, n, k ≥ 1: rows and columns outside are loaded from
 *           the last one inside and not stored, so nothing outside the operands is read.
 * Source    measured on Mesa lavapipe, which runs a load as a loop over the lanes: a vec4 costs some 20 multiply-adds, so
 *           every loaded value meets as many others as registers allow; workgroup memory is another such loop. All loads
 *           of an iteration come first and an accumulator takes its k terms in one statement, else LLVM spills.
 */
export function subgroupMatmulCode(
  form: MatmulForm,
  { lanes, rowGroups, columnGroups }: SubgroupTile,
): string {
  const perGroup = rowsPerGroup(form, lanes);
  const rows = perGroup * rowGroups;
  const sum = (row: number, j: number) => `s${row}_${j}`;

  // Register and lane that hold row `row` of A at the q-th k of an iteration.
  const rowValue = (row: number, q: number | undefined) => {
    const i = Math.floor(row / perGroup);
    const within = row % perGroup;
    if (form.aTransposed) {
      return `subgroupShuffle(a${i}_${q ?? 0}[${within % 4}], ${Math.floor(within / 4)}u)`;
    }
    return `subgroupShuffle(a${i}${q === undefined ? "" : `[${q}]`}, ${within}u)`;
  };

  const multiplyAdd = (depth: number | undefined) =>
    repeat(rows, (row) => {
      const qs = range(depth ?? 1);
      const values = qs.map((q) => `let x${q} = ${rowValue(row, depth === undefined ? undefined : q)};`).join(
        " ",
      );
      const updates = range(columnGroups).map((j) =>
        `${sum(row, j)} = ${sum(row, j)}${qs.map((q) => ` + x${q} * b${j}_${q}`).join("")};`
      );
      return `    { ${values} ${updates.join(" ")} }`;
    });

  return `${declarations(form)}
@compute @workgroup_size(${lanes})
fn matmul(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
${TILE_WGSL}
  let aRow = params.aRow;
  let bRow = params.bRow;
  let cRow = params.cRow;
  let firstRow = tileM * ${rows}u;
  let firstColumn = tileN * ${lanes * 4 * columnGroups}u;
${repeat(rowGroups, (i) => aBases(form, i, `firstRow + ${i * perGroup}u`))}
${repeat(columnGroups, (j) => bBases(form, j, `firstColumn + ${j * lanes * 4}u + 4u * lane`))}
${repeat(rows, (row) => `  ${range(columnGroups).map((j) => `var ${sum(row, j)} = vec4<f32>();`).join(" ")}`)}
  let steps = params.k / 4u;
  for (var step4 = 0u; step4 < steps; step4++) {
${repeat(rowGroups, (i) => aLoads(form, i))}
${repeat(columnGroups, (j) => bLoads(form, j))}
${multiplyAdd(4)}
  }
${
    form.tail
      ? `  for (var k = 4u * steps; k < params.k; k++) {
${repeat(rowGroups, (i) => aTailLoad(form, i))}
${repeat(columnGroups, (j) => bTailLoad(form, j))}
${multiplyAdd(undefined)}
  }`
      : ""
  }
${
    repeat(columnGroups, (j) =>
      columnPrologue(form, `column${j}`, `firstColumn + ${j * lanes * 4}u + 4u * lane`))
  }
${
    repeat(rows, (row) =>
      repeat(columnGroups, (j) => storeRow(form, `firstRow + ${row}u`, `column${j}`, sum(row, j))))
  }
}
`;
}

/** Where lane `lane` finds its row (or four rows) of group `i`, outside the loop. */
function aBases(form: MatmulForm, i: number, first: string): string {
  if (!form.aTransposed) return `  let aBase${i} = aStart + min(${first} + lane, params.m - 1u) * aRow;`;
  if (form.aVector) return `  let aBase${i} = aStart + min((${first}) / 4u + lane, params.m / 4u - 1u);`;
  return repeat(
    4,
    (x) => `  let aBase${i}_${x} = aStart + min(${first} + 4u * lane + ${x}u, params.m - 1u);`,
  );
}

function aLoads(form: MatmulForm, i: number): string {
  if (form.aTransposed) {
    return repeat(4, (q) => {
      const at = `(4u * step4 + ${q}u) * aRow`;
      return `    let a${i}_${q} = ${aColumnAt(form, i, at)};`;
    });
  }
  if (form.aVector) return `    let a${i} = ${load(form, "a", `aBase${i} + step4`)};`;
  const parts = range(4).map((q) => load(form, "a", `aBase${i} + 4u * step4 + ${q}u`));
  return `    let a${i} = vec4<f32>(${parts.join(", ")});`;
}

/** Four rows of A, stored [k, m], at one k. */
function aColumnAt(form: MatmulForm, i: number, at: string): string {
  if (form.aVector) return load(form, "a", `aBase${i} + ${at}`);
  return `vec4<f32>(${range(4).map((x) => load(form, "a", `aBase${i}_${x} + ${at}`)).join(", ")})`;
}

function aTailLoad(form: MatmulForm, i: number): string {
  if (form.aTransposed) return `    let a${i}_0 = ${aColumnAt(form, i, "k * aRow")};`;
  if (form.aVector) throw new TypeError("Cannot step singly through rows of A bound as vec4");
  return `    let a${i} = ${load(form, "a", `aBase${i} + k`)};`;
}

/** Where lane `lane` finds its four columns of group `j`, outside the loop. */
function bBases(form: MatmulForm, j: number, first: string): string {
  if (form.bTransposed) {
    return repeat(4, (x) => `  let bBase${j}_${x} = bStart + min(${first} + ${x}u, params.n - 1u) * bRow;`);
  }
  if (form.bVector) return `  let bBase${j} = bStart + min((${first}) / 4u, params.n / 4u - 1u);`;
  return repeat(4, (x) => `  let bBase${j}_${x} = bStart + min(${first} + ${x}u, params.n - 1u);`);
}

function bLoads(form: MatmulForm, j: number): string {
  if (!form.bTransposed) {
    return repeat(4, (q) => `    let b${j}_${q} = ${bRowAt(form, j, `(4u * step4 + ${q}u) * bRow`)};`);
  }
  // Each lane loads four k of each of its four columns and turns the 4 × 4 block in registers.
  const loads = repeat(
    4,
    (x) =>
      form.bVector
        ? `    let t${j}_${x} = ${load(form, "b", `bBase${j}_${x} + step4`)};`
        : `    let t${j}_${x} = vec4<f32>(${
          range(4).map((q) => load(form, "b", `bBase${j}_${x} + 4u * step4 + ${q}u`)).join(", ")
        });`,
  );
  const turned = repeat(
    4,
    (q) => `    let b${j}_${q} = vec4<f32>(${range(4).map((x) => `t${j}_${x}[${q}]`).join(", ")});`,
  );
  return `${loads}\n${turned}`;
}

/** Four columns of B, stored [k, n], at one k. */
function bRowAt(form: MatmulForm, j: number, at: string): string {
  if (form.bVector) return load(form, "b", `bBase${j} + ${at}`);
  return `vec4<f32>(${range(4).map((x) => load(form, "b", `bBase${j}_${x} + ${at}`)).join(", ")})`;
}

function bTailLoad(form: MatmulForm, j: number): string {
  if (!form.bTransposed) return `    let b${j}_0 = ${bRowAt(form, j, "k * bRow")};`;
  if (form.bVector) throw new TypeError("Cannot step singly through columns of B bound as vec4");
  return `    let b${j}_0 = vec4<f32>(${
    range(4).map((x) => load(form, "b", `bBase${j}_${x} + k`)).join(", ")
  });`;
}
