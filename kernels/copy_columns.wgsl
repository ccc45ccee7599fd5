// copy_columns — a window of a matrix's columns to or from a narrower matrix.
//
//   GATHER: narrow[n,c] = wide[n, first + c]        otherwise: wide[n, first + c] = narrow[n,c]
//
// Shapes    narrow: [N, P].   wide: [N, W], first + P ≤ W.
// Dtypes    one type for both, copied as it is stored.
// Mapping   one vector of `narrow` per invocation, workgroups folded into grid x and y.
// Limits    N·P below 2³² vectors; P, W and first are whole vectors.
// Source    none.
struct Params {
  count: u32, // vectors of narrow
  narrowVectors: u32, // per row
  wideVectors: u32,
  first: u32, // vector of wide that row 0 starts at
  narrowStart: u32, // vectors before row 0, where the binding begins earlier
}
@group(0) @binding(0) var<storage, read_write> narrow: array<element_t>;
@group(0) @binding(1) var<storage, read_write> wide: array<element_t>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn copy_columns(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) local: u32,
) {
  let i = (workgroup.y * grid.x + workgroup.x) * WG + local;
  if (i >= params.count) { return; }
  let at = (i / params.narrowVectors) * params.wideVectors + params.first + i % params.narrowVectors;
  if (GATHER) {
    narrow[params.narrowStart + i] = wide[at];
  } else {
    wide[at] = narrow[params.narrowStart + i];
  }
}
