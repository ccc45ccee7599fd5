// adafactor — Adam with the second moment of a matrix kept as means of its rows
// and columns, and updates clipped by their size.
//
//   u = g² + eps1
//   R[r] = β2·R[r] + (1 − β2)·mean_c u                     C[c] = β2·C[c] + (1 − β2)·mean_r u
//   U[r,c] = g[r,c] / √(R[r] / mean R) / √C[c]             for vectors V = β2·V + (1 − β2)·u and U = g / √V
//   η = ρ · max(eps2, rms(w)), or ρ               U = η · U / max(1, rms(U) / clipThreshold)
//   with β1: M = β1·M + (1 − β1)·U, U = M         w = w − decay·η·w − U
//
// Six passes over the matrices of a batch, in this order: rows (this file), columns, factors, norm, total,
// apply; one over all vectors. Each is one dispatch over a table of tensors (kernels/tables/dispatch.ts).
//
// Shapes    w, g, M: [rows, columns].   R: [rows].   C: [columns].   clip: [4] of
//           global_norm, whose factor scales g. scratch, in vectors of four, of each
//           matrix: slots [rows] = Σ_c w², Σ_c U², R; partials [slabs, columns] and roots
//           [columns] of C; one of scalars = √(mean R), η, what U is multiplied with.
// Dtypes    f32 throughout. u is at least 1e-30, a normal number, and so are the roots made of it.
// Mapping   a matrix row is a row of rows/reduction.ts; a block of the table has rows_per_block of them, one
//           after another. Weights are read only where η depends on them (SCALED).
// Limits    those of tables/dispatch.ts. Where clip says that a gradient of the step is not finite, weights
//           and state stay; scratch memory may then hold anything.
// Source    Shazeer & Stern 2018, arXiv:1804.04235; details and order of transformers.optimization.Adafactor.

@compute @workgroup_size(WG)
fn adafactor_rows(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) workgroups: vec3<u32>,
  @builtin(local_invocation_index) invocation: u32,
) {
  let number = rowOfInvocation(workgroup, workgroups, invocation);
  if (number >= params.blocks) { return; }
  let lane = invocation % LANES;
  let clip = load_clip(0u);
  let block = block_at(number);
  let first = block.index * block.rows_per_block;
  let end = min(first + block.rows_per_block, block.rows);
  for (var row = first; row < end; row++) {
    let start = row * block.vectors;
    var squares = vec_t(0.0);
    var weights = vec_t(0.0);
    for (var i = lane; i < block.vectors; i += LANES) {
      let gradient = clip.y * load_g(block.g + start + i);
      squares += gradient * gradient;
      weights += square_of_weight(block, start + i);
    }
    let mean = rowSum(sumOf(squares), lane) / f32(block.vectors * WIDTH) + params.eps1;
    let weight_sum = rowSum(sumOf(weights), lane);
    if (lane == 0u) {
      let at = block.row_state + row;
      let state = step.adafactorBeta2 * load_row_state(at) + (1.0 - step.adafactorBeta2) * mean;
      store_scratch(block.slots + row, vec4<f32>(weight_sum, 0.0, state, 0.0));
      if (clip.z == 0.0) { store_row_state(at, state); }
    }
  }
}
