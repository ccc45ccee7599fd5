// adamw — Adam with decoupled weight decay, over many tensors in one dispatch.
//
//   g = factor · g                   w -= learningRate · decay · w
//   m += (1 − beta1)·(g − m)         v = beta2·v + (1 − beta2)·g²
//   w -= (learningRate / biasCorrection1) · m / (sqrt(v) / sqrtBiasCorrection2 + eps)
//
// where learningRate is the step's, times rate_factor.
//
// Shapes    w, g, m, v (and copy, where there is one): any, alike.   clip: [4] =
//           norm, factor, found, 0 of global_norm.
// Dtypes    w, g, m, v: f32. The copy that the forward pass reads: 16-bit floats, clamped to their range.
// Mapping   one workgroup per block of a tensor; invocation i takes vectors i, i + WG, ... Nothing is written
//           where `found` is set: the step is skipped.
// Limits    those of kernels/tables/tensors.ts.
// Source    Loshchilov & Hutter 2019, arXiv:1711.05101, in the order of torch.optim.AdamW: decay first, bias
//           correction of v before eps is added.

@compute @workgroup_size(WG)
fn adamw(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) local: u32,
) {
  let number = workgroup.y * grid.x + workgroup.x;
  if (number >= params.blocks) { return; }
  let clip = load_clip(0u);
  if (clip.z != 0.0) { return; }
  let block = block_at(number);
  let learning_rate = step.learningRate * params.rate_factor;
  let keep = 1.0 - learning_rate * bitcast<f32>(block.word);
  let rate = learning_rate / step.biasCorrection1;
  let end = end_of(block);
  for (var i = first_of(block) + local; i < end; i += WG) {
    let g = clip.y * load_g(block.g + i);
    let m0 = load_m(block.m + i);
    let v0 = load_v(block.v + i);
    let w0 = load_w(block.w + i);
    let m = m0 + params.one_minus_beta1 * (g - m0);
    let v = params.beta2 * v0 + params.one_minus_beta2 * (g * g);
    let w = keep * w0 - rate * m / (sqrt(v) / step.sqrtBiasCorrection2 + params.eps);
    store_m(block.m + i, m);
    store_v(block.v + i, v);
    store_w(block.w + i, w);
  }
}
