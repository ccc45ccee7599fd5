// adafactor, factors: the column state, its inverse roots, the root of mean R,
// and the rate η — see adafactor.wgsl.
//
// Shapes    partials: [slabs, columns].   column_state, roots: [columns].   slots: [rows].   scalars: [1].
// Mapping   the first block of a matrix takes the means over all rows, the others
//           LANES vectors of columns each.

fn column_factors(block: Block, column: u32) {
  if (column >= block.vectors) { return; }
  var sum = vec_t(0.0);
  for (var slab = 0u; slab < block.slabs; slab++) {
    sum += of_four(load_scratch(block.partials + slab * block.vectors + column));
  }
  let mean = sum / f32(block.rows) + params.eps1;
  let at = block.column_state + column;
  let state = step.adafactorBeta2 * load_column_state(at) + (1.0 - step.adafactorBeta2) * mean;
  store_scratch(block.roots + column, in_four(inverseSqrt(state)));
  if (load_clip(0u).z == 0.0) { store_column_state(at, state); }
}

@compute @workgroup_size(WG)
fn adafactor_factors(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) workgroups: vec3<u32>,
  @builtin(local_invocation_index) invocation: u32,
) {
  let number = rowOfInvocation(workgroup, workgroups, invocation);
  if (number >= params.blocks) { return; }
  let lane = invocation % LANES;
  let block = block_at(number);
  if (block.index > 0u) {
    column_factors(block, (block.index - 1u) * LANES + lane);
    return;
  }
  var states = 0.0;
  var weights = 0.0;
  for (var row = lane; row < block.rows; row += LANES) {
    let slot = load_scratch(block.slots + row);
    states += slot.z;
    weights += slot.x;
  }
  let mean_state = rowSum(states, lane) / f32(block.rows);
  let mean_weight = rowSum(weights, lane) / (f32(block.rows) * f32(block.vectors * WIDTH));
  let scale = select(1.0, max(params.eps2, sqrt(mean_weight)), params.scaled != 0u);
  if (lane == 0u) {
    store_scratch(block.scalars, vec4<f32>(sqrt(mean_state), step.adafactorStep * scale, 0.0, 0.0));
  }
}
