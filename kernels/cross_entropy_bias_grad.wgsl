// cross_entropy_bias_grad — sums the gradient of the logits over rows.
//
//   db[v] = Σ_n dz[n,v]  (+ db[v] where ACCUMULATE)
//
// Shapes    logits: [rows, leading].   db: [V].
// Dtypes    f32.
// Mapping   one invocation per column, so that neighbours read neighbours; rows in order.
// Limits    V ≤ 64 · 65535 per row of workgroups; larger V folds into y.
// Source    plain. Checked against the f64 reference.
struct Params { rows: u32, vocabulary: u32, leading: u32, first: u32 }

@group(0) @binding(0) var<storage, read_write> logits: array<f32>;
@group(0) @binding(1) var<storage, read_write> db: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(64)
fn cross_entropy_bias_grad(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) workgroups: vec3<u32>,
  @builtin(local_invocation_index) invocation: u32,
) {
  let column = (workgroup.x + workgroup.y * workgroups.x) * 64u + invocation;
  if (column >= params.vocabulary) { return; }
  var total = 0.0;
  for (var row = 0u; row < params.rows; row++) { total += logits[params.first + row * params.leading + column]; }
  db[column] = select(total, db[column] + total, ACCUMULATE);
}
