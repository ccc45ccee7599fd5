// adafactor, vectors: the whole update of tensors of one dimension, whose second
// moment V is kept in full — see adafactor.wgsl.
//
// Shapes    w, g, v: [n], and the first moment or the 16-bit copy of w that `finish` may have.
// Mapping   one row of rows/reduction.ts, the only block of a tensor, walks it
//           twice: sums, then moments and the update.

fn second_moment(block: Block, i: u32, gradient: vec_t) -> vec_t {
  return step.adafactorBeta2 * load_v(block.v + i) +
    (1.0 - step.adafactorBeta2) * (gradient * gradient + params.eps1);
}

@compute @workgroup_size(WG)
fn adafactor_vector(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) workgroups: vec3<u32>,
  @builtin(local_invocation_index) invocation: u32,
) {
  let number = rowOfInvocation(workgroup, workgroups, invocation);
  if (number >= params.blocks) { return; }
  let lane = invocation % LANES;
  let clip = load_clip(0u);
  let block = block_at(number);
  var updates = vec_t(0.0);
  var weights = vec_t(0.0);
  for (var i = lane; i < block.vectors; i += LANES) {
    let gradient = clip.y * load_g(block.g + i);
    let update = gradient * inverseSqrt(second_moment(block, i, gradient));
    let weight = load_w(block.w + i);
    updates += update * update;
    weights += weight * weight;
  }
  let count = f32(block.vectors * WIDTH);
  let rms = sqrt(rowSum(sumOf(updates), lane) / count);
  let weight_rms = sqrt(rowSum(sumOf(weights), lane) / count);
  let rate = step.adafactorStep * select(1.0, max(params.eps2, weight_rms), params.scaled != 0u);
  let scale = rate / max(1.0, rms / params.clip_threshold);
  if (clip.z != 0.0) { return; }
  for (var i = lane; i < block.vectors; i += LANES) {
    let gradient = clip.y * load_g(block.g + i);
    let second = second_moment(block, i, gradient);
    let weight = load_w(block.w + i);
    store_v(block.v + i, second);
    let update = scale * (gradient * inverseSqrt(second));
    finish(block, i, weight, update, bitcast<f32>(block.decay) * rate);
  }
}
