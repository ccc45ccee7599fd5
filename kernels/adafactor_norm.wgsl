// adafactor, norm: the sum of squares of each row of U, before η — see adafactor.wgsl.
//
// Shapes    g: [rows, columns].   row_state, row_sums: [rows].   roots: [columns].   scalars: [4].
// Mapping   a matrix row is a row of row_kernel.ts.
struct Params { rows: u32, vectors: u32 }
@group(0) @binding(0) var<storage, read_write> clip: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> g: array<vec_t>;
@group(0) @binding(2) var<storage, read_write> row_state: array<f32>;
@group(0) @binding(3) var<storage, read_write> roots: array<vec_t>;
@group(0) @binding(4) var<storage, read_write> scalars: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> row_sums: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn adafactor_norm(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) workgroups: vec3<u32>,
  @builtin(local_invocation_index) invocation: u32,
) {
  let row = rowOfInvocation(workgroup, workgroups, invocation);
  if (row >= params.rows) { return; }
  let lane = invocation % LANES;
  let start = row * params.vectors;
  let factor = clip[0].y * scalars[0].x * inverseSqrt(row_state[row]);
  var squares = vec_t(0.0);
  for (var i = lane; i < params.vectors; i += LANES) {
    let update = factor * g[start + i] * roots[i];
    squares += update * update;
  }
  let sum = rowSum(sumOf(squares), lane);
  if (lane == 0u) { row_sums[row] = sum; }
}
