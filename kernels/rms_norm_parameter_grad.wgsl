// rms_norm_parameter_grad — see rms_norm.wgsl for the math, shapes and source.
//
//   dw[c] (+)= Σ_n dy[n,c] · x[n,c] · rstd[n]
//
// Dtypes    x, dy: as stored; sums and dw: f32. ACCUMULATE adds to the dw already there.
// Mapping   stage 1: a lane sums a vector of columns over the rows of a chunk into chunkSums[chunk]. Stage 2:
//           over the chunks. In both, teams share the rows or chunks out (rows/teams.ts), always alike, so
//           that the result depends on no schedule.
struct Params { rows: u32, vectors: u32, rowsPerChunk: u32, firstChunk: u32, chunks: u32 }

@group(0) @binding(0) var<storage, read_write> x: array<x_t>;
@group(0) @binding(1) var<storage, read_write> rstd: array<rstd_t>;
@group(0) @binding(2) var<storage, read_write> dy: array<dy_t>;
@group(0) @binding(3) var<storage, read_write> chunkSums: array<vec_t>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn rms_norm_chunk_sums(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(local_invocation_index) local: u32,
) {
  let lane = local % LANES;
  let team = local / LANES;
  let vector = workgroup.x * LANES + lane;
  let column = min(vector, params.vectors - 1u);
  let first = workgroup.y * params.rowsPerChunk;
  let end = min(first + params.rowsPerChunk, params.rows);
  var total = vec_t(0.0);
  for (var row = first + team; row < end; row += TEAMS) {
    let at = row * params.vectors + column;
    total += load_dy(at) * (load_x(at) * load_rstd(row));
  }
  total = together(total, lane, team);
  if (team > 0u || vector > column) { return; }
  chunkSums[(params.firstChunk + workgroup.y) * params.vectors + column] = total;
}

@group(0) @binding(0) var<storage, read_write> finishedSums: array<vec_t>;
@group(0) @binding(1) var<storage, read_write> dw: array<vec_t>;

@compute @workgroup_size(WG)
fn rms_norm_total(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(local_invocation_index) local: u32,
) {
  let lane = local % LANES;
  let team = local / LANES;
  let vector = workgroup.x * LANES + lane;
  let column = min(vector, params.vectors - 1u);
  var total = vec_t(0.0);
  for (var chunk = team; chunk < params.chunks; chunk += TEAMS) {
    total += finishedSums[chunk * params.vectors + column];
  }
  total = together(total, lane, team);
  if (team > 0u || vector > column) { return; }
  if (ACCUMULATE) { total += dw[column]; }
  dw[column] = total;
}
