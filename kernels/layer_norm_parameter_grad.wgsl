// layer_norm_parameter_grad — see layer_norm.wgsl for the math, shapes and source.
//
//   dw[c] (+)= Σ_n dy[n,c] · xhat[n,c]        db[c] (+)= Σ_n dy[n,c]
//
// Dtypes    x: x_t; dy: dy_t; sums and outputs: f32.
// Mapping   stage 1: a lane sums four vectors of columns over the rows of a chunk into partials[chunk][0 or
//           1][c]; four, because the statistics of a row cost as much to load as one vector. Stage 2: a lane
//           sums one vector over the chunks. In both, teams share the rows or chunks out (rows/teams.ts),
//           always alike, so that the result depends on no schedule.

struct Params {
  rows: u32, // of this window
  columns: u32, // vectors per row
  rows_per_chunk: u32,
  first_chunk: u32, // of this window
  chunks: u32, // of all windows
}
@group(1) @binding(0) var<uniform> params: Params;

@group(0) @binding(0) var<storage, read_write> x: array<x_t>;
@group(0) @binding(1) var<storage, read_write> mean: array<mean_t>;
@group(0) @binding(2) var<storage, read_write> rstd: array<rstd_t>;
@group(0) @binding(3) var<storage, read_write> dy: array<dy_t>;
@group(0) @binding(4) var<storage, read_write> partials: array<vec_t>;

@compute @workgroup_size(WG)
fn layer_norm_parameter_partials(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(local_invocation_index) local: u32,
) {
  let lane = local % LANES;
  let team = local / LANES;
  // Columns past the last are loaded from the last and not stored.
  let column = workgroup.x * 4u * LANES + lane;
  let last = params.columns - 1u;
  let c0 = min(column, last);
  let c1 = min(column + LANES, last);
  let c2 = min(column + 2u * LANES, last);
  let c3 = min(column + 3u * LANES, last);
  var dw0 = vec_t(0.0);
  var dw1 = vec_t(0.0);
  var dw2 = vec_t(0.0);
  var dw3 = vec_t(0.0);
  var db0 = vec_t(0.0);
  var db1 = vec_t(0.0);
  var db2 = vec_t(0.0);
  var db3 = vec_t(0.0);
  let first = workgroup.y * params.rows_per_chunk;
  let end = min(first + params.rows_per_chunk, params.rows);
  for (var row = first + team; row < end; row += TEAMS) {
    let at = row * params.columns;
    let m = load_mean(row);
    let r = load_rstd(row);
    let g0 = load_dy(at + c0);
    let g1 = load_dy(at + c1);
    let g2 = load_dy(at + c2);
    let g3 = load_dy(at + c3);
    dw0 += g0 * ((load_x(at + c0) - m) * r);
    dw1 += g1 * ((load_x(at + c1) - m) * r);
    dw2 += g2 * ((load_x(at + c2) - m) * r);
    dw3 += g3 * ((load_x(at + c3) - m) * r);
    db0 += g0;
    db1 += g1;
    db2 += g2;
    db3 += g3;
  }
  store_partials(workgroup.y, column, lane, team, dw0, db0);
  store_partials(workgroup.y, column + LANES, lane, team, dw1, db1);
  store_partials(workgroup.y, column + 2u * LANES, lane, team, dw2, db2);
  store_partials(workgroup.y, column + 3u * LANES, lane, team, dw3, db3);
}

fn store_partials(chunk: u32, c: u32, lane: u32, team: u32, dw: vec_t, db: vec_t) {
  let slot = (params.first_chunk + chunk) * 2u * params.columns + c;
  let dw_total = together(dw, lane, team);
  let db_total = together(db, lane, team);
  if (team == 0u && c < params.columns) {
    partials[slot] = dw_total;
    partials[slot + params.columns] = db_total;
  }
}

@group(0) @binding(0) var<storage, read_write> chunk_sums: array<vec_t>;
@group(0) @binding(1) var<storage, read_write> out_dw: array<vec_t>;
@group(0) @binding(2) var<storage, read_write> out_db: array<vec_t>;

@compute @workgroup_size(WG)
fn layer_norm_parameter_total(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(local_invocation_index) local: u32,
) {
  let lane = local % LANES;
  let team = local / LANES;
  let column = workgroup.x * LANES + lane;
  let c = min(column, params.columns - 1u);
  var dw = vec_t(0.0);
  var db = vec_t(0.0);
  for (var chunk = team; chunk < params.chunks; chunk += TEAMS) {
    dw += chunk_sums[chunk * 2u * params.columns + c];
    db += chunk_sums[(chunk * 2u + 1u) * params.columns + c];
  }
  dw = together(dw, lane, team);
  db = together(db, lane, team);
  if (team > 0u || column > c) { return; }
  if (ACCUMULATE_DW) { dw += out_dw[c]; }
  if (ACCUMULATE_DB) { db += out_db[c]; }
  out_dw[c] = dw;
  out_db[c] = db;
}
