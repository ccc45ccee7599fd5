// adafactor, norm: the sum of squares of each row of U, before η — see adafactor.wgsl.
//
// Shapes    g: [rows, columns].   slots: [rows], whose second number is written.
//           roots: [columns].   scalars: [1].
// Mapping   as adafactor_rows.

@compute @workgroup_size(WG)
fn adafactor_norm(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) workgroups: vec3<u32>,
  @builtin(local_invocation_index) invocation: u32,
) {
  let number = rowOfInvocation(workgroup, workgroups, invocation);
  if (number >= params.blocks) { return; }
  let lane = invocation % LANES;
  let block = block_at(number);
  let factor = load_clip(0u).y * load_scratch(block.scalars).x;
  let first = block.index * block.rows_per_block;
  let end = min(first + block.rows_per_block, block.rows);
  for (var row = first; row < end; row++) {
    let slot = load_scratch(block.slots + row);
    let row_factor = factor * inverseSqrt(slot.z);
    let start = block.g + row * block.vectors;
    var squares = vec_t(0.0);
    for (var i = lane; i < block.vectors; i += LANES) {
      let update = row_factor * load_g(start + i) * of_four(load_scratch(block.roots + i));
      squares += update * update;
    }
    let sum = rowSum(sumOf(squares), lane);
    if (lane == 0u) { store_scratch(block.slots + row, vec4<f32>(slot.x, sum, slot.z, 0.0)); }
  }
}
