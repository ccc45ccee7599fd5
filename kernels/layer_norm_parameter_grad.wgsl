// layer_norm_parameter_grad — see layer_norm.wgsl for the math, shapes and source.
//
//   dw[c] (+)= Σ_n dy[n,c] · xhat[n,c]        db[c] (+)= Σ_n dy[n,c]
//
// Dtypes    x: x_t; dy: dy_t; sums and outputs: f32.
// Mapping   stage 1: invocation (c, chunk) sums one vector of columns over the rows of a chunk into
//           partials[chunk][0 or 1][c]. Stage 2: one invocation per vector of columns sums the chunks in order, so the
//           result does not depend on how the work was scheduled.

struct Params {
  rows: u32, // of this window
  columns: u32, // vectors per row
  rows_per_chunk: u32,
  first_chunk: u32, // of this window
  chunks: u32, // of all windows
}
@group(1) @binding(0) var<uniform> params: Params;

@group(0) @binding(0) var<storage, read_write> x: array<x_t>;
@group(0) @binding(1) var<storage, read_write> mean: array<f32>;
@group(0) @binding(2) var<storage, read_write> rstd: array<f32>;
@group(0) @binding(3) var<storage, read_write> dy: array<dy_t>;
@group(0) @binding(4) var<storage, read_write> partials: array<vec_t>;

@compute @workgroup_size(32)
fn layer_norm_parameter_partials(
  @builtin(global_invocation_id) id: vec3<u32>,
) {
  let c = id.x;
  if (c >= params.columns) { return; }
  let first = id.y * params.rows_per_chunk;
  let end = min(first + params.rows_per_chunk, params.rows);
  var dw = vec_t(0.0);
  var db = vec_t(0.0);
  for (var row = first; row < end; row++) {
    let g = vec_t(dy[row * params.columns + c]);
    dw += g * ((vec_t(x[row * params.columns + c]) - mean[row]) * rstd[row]);
    db += g;
  }
  let slot = (params.first_chunk + id.y) * 2u * params.columns + c;
  partials[slot] = dw;
  partials[slot + params.columns] = db;
}

@group(0) @binding(0) var<storage, read_write> chunk_sums: array<vec_t>;
@group(0) @binding(1) var<storage, read_write> out_dw: array<vec_t>;
@group(0) @binding(2) var<storage, read_write> out_db: array<vec_t>;

@compute @workgroup_size(32)
fn layer_norm_parameter_total(@builtin(global_invocation_id) id: vec3<u32>) {
  let c = id.x;
  if (c >= params.columns) { return; }
  var dw = vec_t(0.0);
  var db = vec_t(0.0);
  for (var chunk = 0u; chunk < params.chunks; chunk++) {
    dw += chunk_sums[chunk * 2u * params.columns + c];
    db += chunk_sums[(chunk * 2u + 1u) * params.columns + c];
  }
  if (ACCUMULATE_DW) { dw += out_dw[c]; }
  if (ACCUMULATE_DB) { db += out_db[c]; }
  out_dw[c] = dw;
  out_db[c] = db;
}
