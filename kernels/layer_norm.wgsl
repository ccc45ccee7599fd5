// layer_norm — normalisation over the last axis to mean 0 and variance 1, then an
// affine map; with its gradients.
//
//   mean[n] = mean_c x[n,c]      rstd[n] = 1 / sqrt(mean_c (x[n,c] − mean[n])² + eps)
//   xhat[n,c] = (x[n,c] − mean[n]) · rstd[n]        y[n,c] = xhat[n,c] · w[c] + b[c]
//   g[n,c] = dy[n,c] · w[c]
//   dx[n,c] = rstd[n] · (g[n,c] − mean_c g[n,·] − xhat[n,c] · mean_c(g · xhat)[n,·])
//   dw[c] = Σ_n dy[n,c] · xhat[n,c]                 db[c] = Σ_n dy[n,c]
//
// Shapes    x, y, dy, dx: [N, C] row-major, N = B·T.   w, b, dw, db: [C].   mean, rstd: [N].
// Dtypes    x, y, dy, dx, w, b: as stored (32- or 16-bit floats).   Statistics, sums, dw, db: f32, since a
//           sum of C half-precision squares can overflow.
// Moments   per lane by Chan's update, one vector at a time, then merged over the lanes: two reads of x, and
//           no cancellation when |mean| is large against the deviation.
// Reads     by load_x(i) …, writes by store_y(i, v) …: kernels/access.ts.
// Mapping   rows as rows/reduction.ts says. Gradients: layer_norm_input_grad.wgsl,
//           layer_norm_parameter_grad.wgsl.
// Limits    rows folded into grid x and y; C up to 2³² / N.
// Source    Ba, Kiros & Hinton 2016, arXiv:1607.06450; Chan, Golub & LeVeque 1983.

const WIDTH_F: f32 = f32(WIDTH);
struct Params {
  rows: u32,
  columns: u32, // vectors per row
  eps: f32,
}
@group(1) @binding(0) var<uniform> params: Params;

// Forward: x, w, b, y, mean, rstd.
@group(0) @binding(0) var<storage, read_write> x: array<x_t>;
@group(0) @binding(1) var<storage, read_write> w: array<w_t>;
@group(0) @binding(2) var<storage, read_write> b: array<b_t>;
@group(0) @binding(3) var<storage, read_write> y: array<y_t>;
@group(0) @binding(4) var<storage, read_write> mean: array<mean_t>;
@group(0) @binding(5) var<storage, read_write> rstd: array<rstd_t>;

@compute @workgroup_size(WG)
fn layer_norm_forward(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) local: u32,
) {
  let row = rowOfInvocation(workgroup, grid, local);
  if (row >= params.rows) { return; }
  let lane = local % LANES;
  let base = row * params.columns;
  let count = f32(params.columns) * WIDTH_F;

  var seen = 0.0;
  var lane_mean = 0.0;
  var lane_m2 = 0.0;
  for (var c = lane; c < params.columns; c += LANES) {
    let v = load_x(base + c);
    let vector_mean = sumOf(v) * (1.0 / WIDTH_F);
    let d = v - vector_mean;
    let delta = vector_mean - lane_mean;
    let share = WIDTH_F / (seen + WIDTH_F);
    lane_m2 += sumOf(d * d) + delta * delta * seen * share;
    lane_mean += delta * share;
    seen += WIDTH_F;
  }
  let row_mean = rowSum(seen * lane_mean, lane) / count;
  let offset = lane_mean - row_mean;
  let variance = rowSum(lane_m2 + seen * offset * offset, lane) / count;
  let row_rstd = inverseSqrt(variance + params.eps);

  for (var c = lane; c < params.columns; c += LANES) {
    let xhat = (load_x(base + c) - row_mean) * row_rstd;
    store_y(base + c, xhat * load_w(c) + load_b(c));
  }
  if (lane == 0u) {
    store_mean(row, row_mean);
    store_rstd(row, row_rstd);
  }
}
