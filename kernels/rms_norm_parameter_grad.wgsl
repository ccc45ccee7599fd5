// rms_norm_parameter_grad — see rms_norm.wgsl for the math, shapes and source.
//
//   dw[c] (+)= Σ_n dy[n,c] · x[n,c] · rstd[n]
//
// Dtypes    x: x_t; dy: dy_t; sums and dw: f32. ACCUMULATE adds to the dw already there.
// Mapping   stage 1: invocation (i, chunk) sums vector i of the columns over the rows of a chunk into chunkSums[chunk][i].
//           Stage 2: one invocation per vector sums the chunks in order, so that the result depends on no schedule.
struct Params { rows: u32, vectors: u32, rowsPerChunk: u32, firstChunk: u32, chunks: u32 }

@group(0) @binding(0) var<storage, read_write> x: array<x_t>;
@group(0) @binding(1) var<storage, read_write> rstd: array<f32>;
@group(0) @binding(2) var<storage, read_write> dy: array<dy_t>;
@group(0) @binding(3) var<storage, read_write> chunkSums: array<vec_t>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(32)
fn rms_norm_chunk_sums(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x >= params.vectors) { return; }
  let first = id.y * params.rowsPerChunk;
  let end = min(first + params.rowsPerChunk, params.rows);
  var total = vec_t(0.0);
  for (var row = first; row < end; row++) {
    let at = row * params.vectors + id.x;
    total += vec_t(dy[at]) * (vec_t(x[at]) * rstd[row]);
  }
  chunkSums[(params.firstChunk + id.y) * params.vectors + id.x] = total;
}

@group(0) @binding(0) var<storage, read_write> finishedSums: array<vec_t>;
@group(0) @binding(1) var<storage, read_write> dw: array<vec_t>;

@compute @workgroup_size(32)
fn rms_norm_total(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x >= params.vectors) { return; }
  var total = vec_t(0.0);
  for (var chunk = 0u; chunk < params.chunks; chunk++) { total += finishedSums[chunk * params.vectors + id.x]; }
  if (ACCUMULATE) { total += dw[id.x]; }
  dw[id.x] = total;
}
