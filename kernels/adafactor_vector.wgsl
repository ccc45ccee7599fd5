// adafactor, vectors: the whole update of a tensor of one dimension, whose second moment V is kept in full — see adafactor.wgsl.
//
// Shapes    w, g, v: [n], and the first moment or the 16-bit copy of w that `finish` may have.
// Mapping   one row of row_kernel.ts walks the vector twice: moments and sums, then the update.
struct Params { vectors: u32, eps1: f32, eps2: f32, scaled: u32, clip_threshold: f32, beta1: f32, decay: f32 }
@group(0) @binding(0) var<storage, read_write> clip: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> w: array<vec_t>;
@group(0) @binding(2) var<storage, read_write> g: array<vec_t>;
@group(0) @binding(3) var<storage, read_write> v: array<vec_t>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn adafactor_vector(@builtin(local_invocation_index) invocation: u32) {
  // Where one invocation takes a row, the others have none here: they add nothing, and reach the barriers all the same.
  let first = select(params.vectors, invocation, invocation < LANES);
  let factor = clip[0].y;
  let skipped = clip[0].z != 0.0; // no return: barriers follow
  var updates = vec_t(0.0);
  var weights = vec_t(0.0);
  for (var i = first; i < params.vectors; i += LANES) {
    let gradient = factor * g[i];
    let second = step.adafactorBeta2 * v[i] + (1.0 - step.adafactorBeta2) * (gradient * gradient + params.eps1);
    let update = gradient * inverseSqrt(second);
    let weight = w[i];
    updates += update * update;
    weights += weight * weight;
    if (!skipped) { v[i] = second; }
  }
  let count = f32(params.vectors * WIDTH);
  let rms = sqrt(rowSum(sumOf(updates), invocation) / count);
  let weight_rms = sqrt(rowSum(sumOf(weights), invocation) / count);
  let rate = step.adafactorStep * select(1.0, max(params.eps2, weight_rms), params.scaled != 0u);
  let scale = rate / max(1.0, rms / params.clip_threshold);
  for (var i = first; i < params.vectors; i += LANES) {
    if (skipped) { continue; }
    // Each invocation reads back what it wrote itself.
    finish(i, w[i], scale * (factor * g[i] * inverseSqrt(v[i])), params.decay * rate);
  }
}
