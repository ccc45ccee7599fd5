// sgd — gradient descent with weight decay and momentum, over many tensors in one dispatch.
//
//   d = factor · g + decay · w         with momentum: b = momentum·b + d, d = b         w -= learningRate · d
//
// Shapes    w, g (and b, where there is momentum): any, alike.   clip: [4] =
//           norm, factor, found, 0 of global_norm.
// Dtypes    w, g, b: f32. The copy that the forward pass reads: 16-bit floats, clamped to their range.
// Mapping   one workgroup per block of a tensor; invocation i takes vectors i, i + WG, ... Nothing is written
//           where `found` is set: the step is skipped.
// Limits    those of kernels/tables/tensors.ts.
// Source    torch.optim.SGD; its first step, b = d, is the same as momentum·0 + d.

@compute @workgroup_size(WG)
fn sgd(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) local: u32,
) {
  let number = workgroup.y * grid.x + workgroup.x;
  if (number >= params.blocks) { return; }
  let clip = load_clip(0u);
  if (clip.z != 0.0) { return; }
  let block = block_at(number);
  let decay = bitcast<f32>(block.word);
  let end = end_of(block);
  for (var i = first_of(block) + local; i < end; i += WG) {
    let w0 = load_w(block.w + i);
    let d = clip.y * load_g(block.g + i) + decay * w0;
    let w = w0 - step.learningRate * with_momentum(block, i, d);
    store_w(block.w + i, w);
  }
}
