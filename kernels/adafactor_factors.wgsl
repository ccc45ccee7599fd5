// adafactor, factors: the column state, its inverse roots, the root of mean R, and the rate η — see adafactor.wgsl.
//
// Shapes    partials: [slabs, columns].   column_state, roots: [columns].   row_state, row_sums: [rows].
//           scalars: [4] = √(mean R), η, and room for `total`.
// Mapping   the first workgroup takes the means over all rows, the others share out the vectors of columns.
struct Params { rows: u32, vectors: u32, slabs: u32, eps1: f32, eps2: f32, scaled: u32 }
@group(0) @binding(0) var<storage, read_write> clip: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> partials: array<vec_t>;
@group(0) @binding(2) var<storage, read_write> column_state: array<vec_t>;
@group(0) @binding(3) var<storage, read_write> roots: array<vec_t>;
@group(0) @binding(4) var<storage, read_write> row_state: array<f32>;
@group(0) @binding(5) var<storage, read_write> row_sums: array<f32>;
@group(0) @binding(6) var<storage, read_write> scalars: array<vec4<f32>>;
@group(1) @binding(0) var<uniform> params: Params;

fn column_factors(column: u32) {
  var sum = vec_t(0.0);
  for (var slab = 0u; slab < params.slabs; slab++) { sum += partials[slab * params.vectors + column]; }
  let mean = sum / f32(params.rows) + params.eps1;
  let state = step.adafactorBeta2 * column_state[column] + (1.0 - step.adafactorBeta2) * mean;
  roots[column] = inverseSqrt(state);
  if (clip[0].z == 0.0) { column_state[column] = state; }
}

@compute @workgroup_size(WG)
fn adafactor_factors(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) workgroups: vec3<u32>,
  @builtin(local_invocation_index) invocation: u32,
) {
  let number = workgroup.x + workgroup.y * workgroups.x;
  if (number > 0u) {
    let stride = (workgroups.x * workgroups.y - 1u) * WG;
    for (var column = (number - 1u) * WG + invocation; column < params.vectors; column += stride) {
      column_factors(column);
    }
    return;
  }
  // Where one invocation takes a row, the others have none here: they add nothing, and reach the barriers all the same.
  let first = select(params.rows, invocation, invocation < LANES);
  var states = 0.0;
  var weights = 0.0;
  for (var row = first; row < params.rows; row += LANES) {
    states += row_state[row];
    weights += row_sums[row];
  }
  let mean_state = rowSum(states, invocation) / f32(params.rows);
  let mean_weight = rowSum(weights, invocation) / (f32(params.rows) * f32(params.vectors * WIDTH));
  let scale = select(1.0, max(params.eps2, sqrt(mean_weight)), params.scaled != 0u);
  if (invocation == 0u) { scalars[0] = vec4<f32>(sqrt(mean_state), step.adafactorStep * scale, 0.0, 0.0); }
}
