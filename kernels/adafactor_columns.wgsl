// adafactor, columns: sums of squares of each column over the rows of one slab — see adafactor.wgsl.
//
// Shapes    g: [rows, columns].   partials: [slabs, columns].
// Mapping   an invocation owns one vector of columns and one slab; slabs lie along grid y.
struct Params { rows: u32, vectors: u32, rows_per_slab: u32, first_slab: u32 }
@group(0) @binding(0) var<storage, read_write> clip: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> g: array<vec_t>;
@group(0) @binding(2) var<storage, read_write> partials: array<vec_t>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(COLUMNS_WG)
fn adafactor_columns(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(local_invocation_index) invocation: u32,
) {
  let column = workgroup.x * COLUMNS_WG + invocation;
  if (column >= params.vectors) { return; }
  let slab = workgroup.y;
  let first = slab * params.rows_per_slab;
  let end = min(first + params.rows_per_slab, params.rows);
  let factor = clip[0].y;
  var sum = vec_t(0.0);
  for (var row = first; row < end; row++) {
    let gradient = factor * g[row * params.vectors + column];
    sum += gradient * gradient;
  }
  partials[(params.first_slab + slab) * params.vectors + column] = sum;
}
