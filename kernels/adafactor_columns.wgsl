// adafactor, columns: sums of squares of each column over the rows of one slab — see adafactor.wgsl.
//
// Shapes    g: [rows, columns].   partials: [slabs, columns], of the piece.
// Mapping   an invocation owns one vector of columns and one slab; a block of the
//           table is LANES of them side by side.

@compute @workgroup_size(WG)
fn adafactor_columns(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) workgroups: vec3<u32>,
  @builtin(local_invocation_index) invocation: u32,
) {
  let number = rowOfInvocation(workgroup, workgroups, invocation);
  if (number >= params.blocks) { return; }
  let block = block_at(number);
  let across = (block.vectors + LANES - 1u) / LANES;
  let slab = block.index / across;
  let column = (block.index % across) * LANES + invocation % LANES;
  if (column >= block.vectors) { return; }
  let first = slab * block.rows_per_slab;
  let end = min(first + block.rows_per_slab, block.rows);
  let factor = load_clip(0u).y;
  var sum = vec_t(0.0);
  for (var row = first; row < end; row++) {
    let gradient = factor * load_g(block.g + row * block.vectors + column);
    sum += gradient * gradient;
  }
  store_scratch(block.partials + slab * block.vectors + column, in_four(sum));
}
