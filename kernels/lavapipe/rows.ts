import { type Reduction, type RowForm, rowFormWgsl } from "../rows/reduction.ts";

/** Rows a workgroup where the adapter has no subgroups: an invocation takes a row alone. */
const ROWS_ALONE = 64;

/**
 * One row per subgroup, reduced by shuffles, in workgroups of one subgroup, so that nothing needs a barrier;
 * without subgroups, one row per invocation.
 */
export function lavapipeRowForm(lanes: number): RowForm {
  return lanes === 0
    ? { wgsl: rowFormWgsl(ROWS_ALONE, 1, itself), lanes: 1, rowsPerWorkgroup: ROWS_ALONE, workgroupBytes: 0 }
    : { wgsl: rowFormWgsl(lanes, lanes, butterfly), lanes, rowsPerWorkgroup: 1, workgroupBytes: 0 };
}

const itself: Reduction = () => "  return value;";

const butterfly: Reduction = (combine, lanes) => {
  const lines = ["  var v = value;"];
  for (let distance = 1; distance < lanes; distance *= 2) {
    lines.push(`  v = ${combine("v", `subgroupShuffleXor(v, ${distance}u)`)};`);
  }
  return [...lines, "  return v;"].join("\n");
};
