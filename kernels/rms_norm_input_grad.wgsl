// rms_norm_input_grad — see rms_norm.wgsl for the math, shapes and source.
//
//   dx[n,c] (+)= rstd[n] · (g[n,c] − xhat[n,c] · mean_c(g · xhat)[n])   with g[n,c] = dy[n,c] · w[c]
//
// Dtypes    x, w, dy, dx: as stored; the sum: f32. ACCUMULATE adds to the dx already there.
// Mapping   rows as rows/reduction.ts says.
struct Params { rows: u32, vectors: u32 }

@group(0) @binding(0) var<storage, read_write> x: array<x_t>;
@group(0) @binding(1) var<storage, read_write> w: array<w_t>;
@group(0) @binding(2) var<storage, read_write> rstd: array<rstd_t>;
@group(0) @binding(3) var<storage, read_write> dy: array<dy_t>;
@group(0) @binding(4) var<storage, read_write> dx: array<dx_t>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn rms_norm_input_grad(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) workgroups: vec3<u32>,
  @builtin(local_invocation_index) invocation: u32,
) {
  let row = rowOfInvocation(workgroup, workgroups, invocation);
  if (row >= params.rows) { return; }
  let lane = invocation % LANES;
  let start = row * params.vectors;
  let scale = load_rstd(row);

  var products = vec_t(0.0);
  for (var i = lane; i < params.vectors; i += LANES) {
    products += load_dy(start + i) * weight(i) * (load_x(start + i) * scale);
  }
  let mean = rowSum(sumOf(products), lane) / f32(params.vectors * WIDTH);
  for (var i = lane; i < params.vectors; i += LANES) {
    var d = scale * (load_dy(start + i) * weight(i) - load_x(start + i) * (scale * mean));
    if (ACCUMULATE) { d += load_dx(start + i); }
    store_dx(start + i, d);
  }
}
