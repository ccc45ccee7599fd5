// adafactor, total: what to multiply U with, η / max(1, rms(U) / clipThreshold) — see adafactor.wgsl.
//
// Shapes    slots: [rows].   scalars: [1], whose third number is written.
// Mapping   one row of rows/reduction.ts, the only block of a matrix, sums all of its rows.

@compute @workgroup_size(WG)
fn adafactor_total(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) workgroups: vec3<u32>,
  @builtin(local_invocation_index) invocation: u32,
) {
  let number = rowOfInvocation(workgroup, workgroups, invocation);
  if (number >= params.blocks) { return; }
  let lane = invocation % LANES;
  let block = block_at(number);
  let scalars = load_scratch(block.scalars);
  var sum = 0.0;
  for (var row = lane; row < block.rows; row += LANES) { sum += load_scratch(block.slots + row).y; }
  let rms = sqrt(rowSum(sum, lane) / (f32(block.rows) * f32(block.columns)));
  if (lane == 0u) {
    let factor = scalars.y / max(1.0, rms / params.clip_threshold);
    store_scratch(block.scalars, vec4<f32>(scalars.x, scalars.y, factor, 0.0));
  }
}
