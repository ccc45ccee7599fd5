// attention_softmax_grad — gradient of the scores from that of the probabilities, in place.
//
//   g[r,j] = dp[r,j] · keep(r,j) / (1 − dropout probability)
//   ds[r,j] = p[r,j] · (g[r,j] − Σ_j g[r,j] · p[r,j])        times slopes[r,j] where scores are capped
//
// Shapes    probabilities, slopes, gradient (dp before, ds after): [B·H·T, T]; row r = (b·H + h)·T + query.
// Dtypes    all as stored (f16 or f32); the sum: f32.
// Mapping   one row per LANES invocations; lane i takes vectors i, i + LANES, ...
//           of the row (rows/reduction.ts).
// Limits    behind the diagonal of a causal row nothing is read and zeros are
//           written. Masked keys have p = 0, hence ds = 0.
// Source    derivative of softmax. Checked against the f64 reference.
struct Params { rows: u32, firstRow: u32, sequence: u32, first: u32, firstGradient: u32, stream: u32, firstSlopes: u32 }

@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn attention_softmax_grad(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) workgroups: vec3<u32>,
  @builtin(local_invocation_index) invocation: u32,
) {
  let local = rowOfInvocation(workgroup, workgroups, invocation);
  if (local >= params.rows) { return; }
  let lane = invocation % LANES;
  let row = params.firstRow + local;
  let vectors = params.sequence / WIDTH;
  let reach = select(vectors, (row % params.sequence) / WIDTH + 1u, CAUSAL);
  let start = params.first + local * vectors;
  let startGradient = params.firstGradient + local * vectors;

  var partial = vec_t(0.0);
  for (var i = lane; i < reach; i += LANES) {
    // Behind the diagonal, inside its last vector, p is a stored zero; the
    // product there is finite or already lost.
    partial += load_probabilities(start + i) * load_gradient(startGradient + i) * keepScale(row, i);
  }
  let dot = rowSum(sumOf(partial), lane);
  for (var i = lane; i < vectors; i += LANES) {
    var ds = vec_t(0.0);
    if (i < reach) {
      let g = load_gradient(startGradient + i) * keepScale(row, i);
      ds = sloped(load_probabilities(start + i) * (g - vec_t(dot)), params.firstSlopes + local * vectors + i);
    }
    store_gradient(startGradient + i, ds);
  }
}
