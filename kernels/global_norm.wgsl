// global_norm — the norm of all gradients together, what to multiply them with,
// and whether they may be used at all.
//
//   norm = sqrt(Σ (g · inverseLossScale)²)       found = 1 if any g is infinite or NaN, else 0
//   factor = inverseLossScale · min(1, maxNorm / (norm + 1e-6)), without the
//   minimum where maxNorm is 0; 0 where found
//
// Shapes    gradients: any number of tensors of any size.   partials: one vec4
//           per block.   clip: [4] = norm, factor, found, 0.
// Dtypes    f32 throughout. Gradients are scaled before they are squared, since
//           g² of a scaled loss may overflow.
// Mapping   stage 1: LANES invocations per block of a tensor write (sum, found) to the block's slot. Stage 2:
//           one row of LANES invocations sums the slots. Blocks and slots depend on the tensors' sizes alone,
//           so the result does not depend on where the planner put them.
// Limits    2³² blocks. A norm beyond f32 counts as found.
// Source    torch.nn.utils.clip_grad_norm_ and torch.amp.GradScaler.unscale_, in one.

// Infinities and NaN have all exponent bits set; comparisons with them may be
// optimised away in WGSL, integers may not.
fn not_finite(bits: index_t) -> vec_t {
  let exponents = index_t(0x7f800000u);
  return select(vec_t(0.0), vec_t(1.0), (bits & exponents) == exponents);
}

@compute @workgroup_size(WG)
fn global_norm_partials(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) local: u32,
) {
  let number = rowOfInvocation(workgroup, grid, local);
  if (number >= params.blocks) { return; }
  let lane = local % LANES;
  let block = block_at(number);
  var sum = vec_t(0.0);
  var found = vec_t(0.0);
  let end = end_of(block);
  for (var i = first_of(block) + lane; i < end; i += LANES) {
    let g = load_g(block.g + i) * step.inverseLossScale;
    sum += g * g;
    found = max(found, not_finite(bits_g(block.g + i)));
  }
  let block_sum = rowSum(sumOf(sum), lane);
  let block_found = rowSum(sumOf(found), lane);
  if (lane == 0u) {
    store_partials(block.word + block.index, vec4<f32>(block_sum, block_found, 0.0, 0.0));
  }
}
