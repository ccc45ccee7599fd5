// attention_dropout — the probabilities that attention multiplied its values
// with, made again for the backward pass.
//
//   d[r,j] = p[r,j] · keep(r,j) / (1 − dropout probability)
//
// Shapes    probabilities, dropped: [B·H·T, T]; row r = (b·H + h)·T + query.
// Dtypes    both as stored (f16 or f32).
// Mapping   one row per LANES invocations; lane i takes vectors i, i + LANES, ...
//           of the row (rows/reduction.ts).
// Limits    none beyond those of the row form.
// Source    Srivastava et al. 2014; the mask comes from the counter, never from memory (random.ts).
struct Params { rows: u32, firstRow: u32, sequence: u32, first: u32, firstDropped: u32, stream: u32, firstSlopes: u32 }

@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn attention_dropout(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) workgroups: vec3<u32>,
  @builtin(local_invocation_index) invocation: u32,
) {
  let local = rowOfInvocation(workgroup, workgroups, invocation);
  if (local >= params.rows) { return; }
  let vectors = params.sequence / WIDTH;
  let lane = invocation % LANES;
  for (var i = lane; i < vectors; i += LANES) {
    let p = load_probabilities(params.first + local * vectors + i);
    let scaled = p * keepScale(params.firstRow + local, i);
    store_dropped(params.firstDropped + local * vectors + i, scaled);
  }
}
