// adafactor — Adam with the second moment of a matrix kept as means of its rows and columns, and updates clipped by their size.
//
//   u = g² + eps1                         R[r] = β2·R[r] + (1 − β2)·mean_c u         C[c] = β2·C[c] + (1 − β2)·mean_r u
//   U[r,c] = g[r,c] / √(R[r] / mean R) / √C[c]             for vectors V = β2·V + (1 − β2)·u and U = g / √V
//   η = ρ · max(eps2, rms(w)), or ρ               U = η · U / max(1, rms(U) / clipThreshold)
//   with β1: M = β1·M + (1 − β1)·U, U = M         w = w − decay·η·w − U
//
// Six passes over a matrix, in this order: rows (this file), columns, factors, norm, total, apply; one over a vector.
//
// Shapes    w, g, M: [rows, columns].   R: [rows].   C: [columns].   clip: [4] of global_norm, whose factor scales g.
//           row_sums: [rows], scratch: Σ_c w² for `factors`, then Σ_c U² for `total`.
// Dtypes    f32 throughout. u is at least 1e-30, a normal number, and so are the roots made of it.
// Mapping   a matrix row is a row of row_kernel.ts. Weights are read only where η depends on them (SCALED).
// Limits    rows folded into grid x and y. Where clip says that a gradient of the step is not finite, weights and state stay;
//           scratch memory may then hold anything.
// Source    Shazeer & Stern 2018, arXiv:1804.04235; details and order of transformers.optimization.Adafactor.
struct Params { rows: u32, vectors: u32, eps1: f32 }
@group(0) @binding(0) var<storage, read_write> clip: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> g: array<vec_t>;
@group(0) @binding(2) var<storage, read_write> row_state: array<f32>;
@group(0) @binding(3) var<storage, read_write> w: array<vec_t>;
@group(0) @binding(4) var<storage, read_write> row_sums: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn adafactor_rows(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) workgroups: vec3<u32>,
  @builtin(local_invocation_index) invocation: u32,
) {
  let row = rowOfInvocation(workgroup, workgroups, invocation);
  if (row >= params.rows) { return; }
  let lane = invocation % LANES;
  let start = row * params.vectors;
  var squares = vec_t(0.0);
  var weights = vec_t(0.0);
  for (var i = lane; i < params.vectors; i += LANES) {
    let gradient = clip[0].y * g[start + i];
    squares += gradient * gradient;
    if (SCALED) { weights += w[start + i] * w[start + i]; }
  }
  let mean = rowSum(sumOf(squares), lane) / f32(params.vectors * WIDTH) + params.eps1;
  let weight_sum = rowSum(sumOf(weights), lane);
  if (lane == 0u) {
    row_sums[row] = weight_sum;
    if (clip[0].z == 0.0) {
      row_state[row] = step.adafactorBeta2 * row_state[row] + (1.0 - step.adafactorBeta2) * mean;
    }
  }
}
