// embedding — rows of a table by id.
//
//   y[n,c] = table[ids[n], c]        with ADD: y[n,c] += table[ids[n], c]
//
// Shapes    ids: [N].   table: [V, C], of which rows first_id … first_id +
//           id_count − 1 are bound.   y: [N, C].
// Dtypes    ids: u32; table and y: as stored (32- or 16-bit floats); the addition in f32.
// Mapping   LANES invocations per row n, lane i takes vectors i, i + LANES, ...; rows whose id is not in the
//           bound part are left alone, so one dispatch per part fills y.
// Source    the lookup of torch.nn.Embedding.

struct Params {
  rows: u32,
  columns: u32, // vectors per row
  first_id: u32,
  id_count: u32,
}
@group(1) @binding(0) var<uniform> params: Params;

@group(0) @binding(0) var<storage, read_write> ids: array<u32>;
@group(0) @binding(1) var<storage, read_write> table: array<table_t>;
@group(0) @binding(2) var<storage, read_write> y: array<y_t>;

@compute @workgroup_size(WG)
fn embedding(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) local: u32,
) {
  let row = (workgroup.y * grid.x + workgroup.x) * (WG / LANES) + local / LANES;
  if (row >= params.rows) { return; }
  // Ids before the bound part wrap around to large numbers.
  let id = ids[row] - params.first_id;
  if (id >= params.id_count) { return; }
  for (var c = local % LANES; c < params.columns; c += LANES) {
    let at = row * params.columns + c;
    if (ADD) {
      store_y(at, load_y(at) + load_table(id * params.columns + c));
    } else {
      y[at] = table[id * params.columns + c];
    }
  }
}
