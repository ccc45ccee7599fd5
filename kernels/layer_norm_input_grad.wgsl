// layer_norm_input_grad — see layer_norm.wgsl for the math, shapes and source.
//
//   g[n,c] = dy[n,c] · w[c]
//   dx[n,c] (+)= rstd[n] · (g[n,c] − mean_c g[n,·] − xhat[n,c] · mean_c(g · xhat)[n,·])
//
// Dtypes    x: x_t; w: w_t; dy: dy_t; dx: dx_t. `prior` gives the dx already there, or zero.
// Mapping   rows as rows/reduction.ts says.

const WIDTH_F: f32 = f32(WIDTH);
struct Params {
  rows: u32,
  columns: u32, // vectors per row
}
@group(1) @binding(0) var<uniform> params: Params;

@group(0) @binding(0) var<storage, read_write> x: array<x_t>;
@group(0) @binding(1) var<storage, read_write> w: array<w_t>;
@group(0) @binding(2) var<storage, read_write> mean: array<mean_t>;
@group(0) @binding(3) var<storage, read_write> rstd: array<rstd_t>;
@group(0) @binding(4) var<storage, read_write> dy: array<dy_t>;
@group(0) @binding(5) var<storage, read_write> dx: array<dx_t>;

@compute @workgroup_size(WG)
fn layer_norm_input_grad(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) local: u32,
) {
  let row = rowOfInvocation(workgroup, grid, local);
  if (row >= params.rows) { return; }
  let lane = local % LANES;
  let base = row * params.columns;
  let count = f32(params.columns) * WIDTH_F;
  let row_mean = load_mean(row);
  let row_rstd = load_rstd(row);

  // Vector accumulators: the elements of a vector are summed once, after the loop.
  var lane_g = vec_t(0.0);
  var lane_gx = vec_t(0.0);
  for (var c = lane; c < params.columns; c += LANES) {
    let xhat = (load_x(base + c) - row_mean) * row_rstd;
    let g = load_dy(base + c) * load_w(c);
    lane_g += g;
    lane_gx += g * xhat;
  }
  let mean_g = rowSum(sumOf(lane_g), lane) / count;
  let mean_gx = rowSum(sumOf(lane_gx), lane) / count;

  for (var c = lane; c < params.columns; c += LANES) {
    let xhat = (load_x(base + c) - row_mean) * row_rstd;
    let g = load_dy(base + c) * load_w(c);
    let dx_c = row_rstd * (g - mean_g - xhat * mean_gx) + prior(base + c);
    store_dx(base + c, dx_c);
  }
}
