// adafactor, apply: the update of the weights — see adafactor.wgsl.
//
// Shapes    w, g: [rows, columns], and the first moment or the 16-bit copy of w that `finish` may have.   row_state: [rows].
//           roots: [columns].   scalars: [4].
// Mapping   a matrix row is a row of row_kernel.ts. finish(i, weight, update, decay) stores vector i.
struct Params { rows: u32, vectors: u32, beta1: f32, decay: f32 }
@group(0) @binding(0) var<storage, read_write> clip: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> w: array<vec_t>;
@group(0) @binding(2) var<storage, read_write> g: array<vec_t>;
@group(0) @binding(3) var<storage, read_write> row_state: array<f32>;
@group(0) @binding(4) var<storage, read_write> roots: array<vec_t>;
@group(0) @binding(5) var<storage, read_write> scalars: array<vec4<f32>>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn adafactor_apply(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) workgroups: vec3<u32>,
  @builtin(local_invocation_index) invocation: u32,
) {
  let row = rowOfInvocation(workgroup, workgroups, invocation);
  if (row >= params.rows || clip[0].z != 0.0) { return; }
  let start = row * params.vectors;
  let factor = clip[0].y * scalars[0].x * inverseSqrt(row_state[row]);
  for (var i = invocation % LANES; i < params.vectors; i += LANES) {
    let update = scalars[0].z * (factor * g[start + i] * roots[i]);
    finish(start + i, w[start + i], update, params.decay * scalars[0].y);
  }
}
