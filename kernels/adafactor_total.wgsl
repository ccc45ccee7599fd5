// adafactor, total: what to multiply U with, η / max(1, rms(U) / clipThreshold) — see adafactor.wgsl.
//
// Shapes    row_sums: [rows].   scalars: [4], whose third number is written.
// Mapping   one row of row_kernel.ts sums all of them.
struct Params { rows: u32, columns: u32, clip_threshold: f32 }
@group(0) @binding(0) var<storage, read_write> row_sums: array<f32>;
@group(0) @binding(1) var<storage, read_write> scalars: array<vec4<f32>>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn adafactor_total(@builtin(local_invocation_index) invocation: u32) {
  // Where one invocation takes a row, the others have none here: they add nothing, and reach the barriers all the same.
  let first = select(params.rows, invocation, invocation < LANES);
  var sum = 0.0;
  for (var row = first; row < params.rows; row += LANES) { sum += row_sums[row]; }
  let rms = sqrt(rowSum(sum, invocation) / (f32(params.rows) * f32(params.columns)));
  if (invocation == 0u) { scalars[0].z = scalars[0].y / max(1.0, rms / params.clip_threshold); }
}
