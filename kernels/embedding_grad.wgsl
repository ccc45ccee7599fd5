// embedding_grad — sums the output gradients of equal ids into the table's gradient.
//
//   dtable[v,c] += Σ_{n : ids[n] = v} dy[n,c], in ascending order of n
//
// Shapes    ids, order: [N], order = positions sorted by id, ties by position.   dy: [N, C], of which rows
//           first_row … first_row + row_count − 1 are bound.   dtable: [V, C], of which rows first_id …
//           first_id + id_count − 1 are bound.
// Dtypes    dy: as stored; sums and dtable: f32.
// Mapping   LANES invocations per sorted position. A position leads when the one before has another id; the
//           leader alone sums the run of its id, so nothing is added atomically and the order of summation is
//           fixed. A lane keeps four vectors of columns in registers, because finding the row costs more than
//           loading one vector of it.
// Limits    the longest run is summed one after another: a frequent token costs
//           time, not accuracy or repeatability.
// Source    sort-and-segment form of torch.nn.Embedding's backward pass.

struct Params {
  positions: u32,
  columns: u32, // vectors per row
  first_id: u32,
  id_count: u32,
  first_row: u32,
  row_count: u32,
  padding: u32, // id without a gradient
}
@group(1) @binding(0) var<uniform> params: Params;

@group(0) @binding(0) var<storage, read_write> ids: array<u32>;
@group(0) @binding(1) var<storage, read_write> order: array<u32>;
@group(0) @binding(2) var<storage, read_write> dy: array<dy_t>;
@group(0) @binding(3) var<storage, read_write> dtable: array<vec_t>;

@compute @workgroup_size(WG)
fn embedding_grad(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) local: u32,
) {
  let leader = (workgroup.y * grid.x + workgroup.x) * (WG / LANES) + local / LANES;
  if (leader >= params.positions) { return; }
  let id = ids[order[leader]];
  if (id - params.first_id >= params.id_count || id == params.padding) { return; }
  if (leader > 0u) {
    if (ids[order[leader - 1u]] == id) { return; }
  }
  var end = leader + 1u;
  loop {
    if (end >= params.positions) { break; }
    if (ids[order[end]] != id) { break; }
    end++;
  }

  let last = params.columns - 1u;
  let base = (id - params.first_id) * params.columns;
  for (var c0 = local % LANES; c0 < params.columns; c0 += 4u * LANES) {
    // Columns past the last are loaded from the last and not stored.
    let c1 = min(c0 + LANES, last);
    let c2 = min(c0 + 2u * LANES, last);
    let c3 = min(c0 + 3u * LANES, last);
    var sum0 = dtable[base + c0];
    var sum1 = dtable[base + c1];
    var sum2 = dtable[base + c2];
    var sum3 = dtable[base + c3];
    for (var i = leader; i < end; i++) {
      let row = order[i] - params.first_row;
      if (row < params.row_count) {
        let at = row * params.columns;
        sum0 += load_dy(at + c0);
        sum1 += load_dy(at + c1);
        sum2 += load_dy(at + c2);
        sum3 += load_dy(at + c3);
      }
    }
    dtable[base + c0] = sum0;
    if (c0 + LANES <= last) { dtable[base + c1] = sum1; }
    if (c0 + 2u * LANES <= last) { dtable[base + c2] = sum2; }
    if (c0 + 3u * LANES <= last) { dtable[base + c3] = sum3; }
  }
}
