// adafactor, apply: the update of the weights — see adafactor.wgsl.
//
// Shapes    w, g: [rows, columns], and the first moment or the 16-bit copy of w
//           that `finish` may have.   slots: [rows].
//           roots: [columns].   scalars: [1].
// Mapping   as adafactor_rows. finish(block, i, weight, update, decay) stores vector i.

@compute @workgroup_size(WG)
fn adafactor_apply(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) workgroups: vec3<u32>,
  @builtin(local_invocation_index) invocation: u32,
) {
  let number = rowOfInvocation(workgroup, workgroups, invocation);
  let clip = load_clip(0u);
  if (number >= params.blocks || clip.z != 0.0) { return; }
  let lane = invocation % LANES;
  let block = block_at(number);
  let scalars = load_scratch(block.scalars);
  let decay = bitcast<f32>(block.decay) * scalars.y;
  let first = block.index * block.rows_per_block;
  let end = min(first + block.rows_per_block, block.rows);
  for (var row = first; row < end; row++) {
    let factor = clip.y * scalars.x * inverseSqrt(load_scratch(block.slots + row).z);
    let start = row * block.vectors;
    for (var i = lane; i < block.vectors; i += LANES) {
      let root = of_four(load_scratch(block.roots + i));
      let update = scalars.z * (factor * load_g(block.g + start + i) * root);
      finish(block, start + i, load_w(block.w + start + i), update, decay);
    }
  }
}
