// rms_norm — root-mean-square normalisation over the last axis, with its gradients.
//
//   rstd[n] = 1 / sqrt(mean_c x[n,c]² + eps)
//   xhat[n,c] = x[n,c] · rstd[n]        y[n,c] = xhat[n,c] · w[c], or · (1 + w[c]): `weight`
//   dx[n,c] = rstd[n] · (g[n,c] − xhat[n,c] · mean_c(g · xhat)[n])   with g[n,c] = dy[n,c] · w[c]
//   dw[c] = Σ_n dy[n,c] · xhat[n,c]
//
// Shapes    x, y, dy, dx: [N, C] row-major, N = B·T.   w, dw: [C].   rstd: [N], saved for the backward pass.
// Dtypes    x, y, w: as stored (f16 or f32).   rstd and the sum: f32, because a
//           sum of C f16 squares can overflow.
// Mapping   rows as rows/reduction.ts says. Gradients: rms_norm_input_grad.wgsl,
//           rms_norm_parameter_grad.wgsl.
// Limits    rows folded into grid x and y.
// Source    Zhang & Sennrich 2019, arXiv:1910.07467. Checked against the f64 reference.
struct Params { rows: u32, vectors: u32, eps: f32 }

@group(0) @binding(0) var<storage, read_write> x: array<x_t>;
@group(0) @binding(1) var<storage, read_write> w: array<w_t>;
@group(0) @binding(2) var<storage, read_write> y: array<y_t>;
@group(0) @binding(3) var<storage, read_write> rstd: array<rstd_t>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn rms_norm(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) workgroups: vec3<u32>,
  @builtin(local_invocation_index) invocation: u32,
) {
  let row = rowOfInvocation(workgroup, workgroups, invocation);
  if (row >= params.rows) { return; }
  let lane = invocation % LANES;
  let start = row * params.vectors;

  var squares = vec_t(0.0);
  for (var i = lane; i < params.vectors; i += LANES) {
    let v = load_x(start + i);
    squares += v * v;
  }
  let mean = rowSum(sumOf(squares), lane) / f32(params.vectors * WIDTH);
  let scale = inverseSqrt(mean + params.eps);
  for (var i = lane; i < params.vectors; i += LANES) {
    store_y(start + i, load_x(start + i) * scale * weight(i));
  }
  if (lane == 0u) { store_rstd(row, scale); }
}
