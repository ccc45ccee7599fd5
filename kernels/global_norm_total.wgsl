// global_norm, stage 2 — see global_norm.wgsl.

struct Params {
  slots: u32,
  max_norm: f32,
}
@group(1) @binding(0) var<uniform> params: Params;

@group(0) @binding(0) var<storage, read_write> partials: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> clip: array<vec4<f32>>;

@compute @workgroup_size(WG)
fn global_norm_total(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) local: u32,
) {
  if (rowOfInvocation(workgroup, grid, local) > 0u) { return; }
  let lane = local % LANES;
  var sum = 0.0;
  var found = 0.0;
  for (var i = lane; i < params.slots; i += LANES) {
    let partial = partials[i];
    // Where a gradient is not finite its sum is not either, and may not be computed with.
    sum += select(partial.x, 0.0, partial.y > 0.0);
    found = max(found, partial.y);
  }
  let total = rowSum(sum, lane);
  let norm = sqrt(total);
  let overflow = (bitcast<u32>(total) & 0x7f800000u) == 0x7f800000u;
  let bad = rowSum(found, lane) > 0.0 || overflow;
  var factor = step.inverseLossScale;
  if (params.max_norm > 0.0) { factor *= min(1.0, params.max_norm / (norm + 1e-6)); }
  if (lane == 0u) {
    clip[0] = vec4<f32>(norm, select(factor, 0.0, bad), select(0.0, 1.0, bad), 0.0);
  }
}
