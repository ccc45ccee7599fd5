// cross_entropy_sum — adds the losses of all rows to the loss of the step.
//
//   loss[0] += Σ_n rowLosses[n]
//
// Shapes    rowLosses: [N].   loss: [1].
// Dtypes    f32. Lanes add blocks of 32 and then the blocks, so that N rows err
//           like √(32 + N / (32 · LANES)) sums, not √N.
// Mapping   one workgroup; lane i takes blocks i, i + LANES, ...; the order does
//           not depend on how rows were chunked.
// Limits    meant for N up to some 10^5: it is one workgroup.
// Source    plain. Checked against the f64 reference.
struct Params { rows: u32 }

@group(0) @binding(0) var<storage, read_write> rowLosses: array<f32>;
@group(0) @binding(1) var<storage, read_write> loss: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

const BLOCK: u32 = 32u;

@compute @workgroup_size(WG)
fn cross_entropy_sum(@builtin(local_invocation_index) invocation: u32) {
  // Where one invocation takes a row, the others have none here: they add
  // nothing, and reach the barriers all the same.
  let first = select(params.rows, invocation * BLOCK, invocation < LANES);
  var total = 0.0;
  for (var block = first; block < params.rows; block += LANES * BLOCK) {
    var blockTotal = 0.0;
    for (var n = block; n < min(block + BLOCK, params.rows); n++) { blockTotal += rowLosses[n]; }
    total += blockTotal;
  }
  let all = rowSum(total, invocation);
  if (invocation == 0u) { loss[0] += all; }
}
