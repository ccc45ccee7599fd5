// rope — rotary position embedding of queries and keys, in place.
//
//   for every head of q and k, i < R/2, position p of the token:
//   x[i] ← x[i] · cos[p,i] − x[i + R/2] · sin[p,i]
//   x[i + R/2] ← x[i + R/2] · cos[p,i] + x[i] · sin[p,i]
//
// Shapes    qkv: [N, (H+2K)·D], of which the first R columns of the first H+K heads turn.   table: [P, R],
//           cos in the first half of the columns, sin in the second.   positions: [N].
// Dtypes    qkv: as stored (f16 or f32); table f32; products in f32.   positions: u32.
// Mapping   invocation (n, i) takes vector i of the half row of every head, so
//           that cos and sin are loaded once.
// Limits    R even, at most D; positions below P, else the last row of the table counts.
//           INVERSE turns back: the gradient.
// Source    Su et al. 2021, arXiv:2104.09864; halves rather than neighbours are
//           paired, as in Hugging Face's rotate_half.
struct Params {
  rows: u32,
  rowVectors: u32,
  headVectors: u32,
  halfVectors: u32,
  turningHeads: u32,
  positionCount: u32,
}

@group(0) @binding(0) var<storage, read_write> qkv: array<qkv_t>;
@group(0) @binding(1) var<storage, read_write> table: array<vec_t>;
@group(0) @binding(2) var<storage, read_write> positions: array<u32>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn rope(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) workgroups: vec3<u32>,
  @builtin(local_invocation_index) invocation: u32,
) {
  let at = (workgroup.x + workgroup.y * workgroups.x) * WG + invocation;
  let row = at / params.halfVectors;
  let i = at % params.halfVectors;
  if (row >= params.rows) { return; }
  let angle = min(positions[row], params.positionCount - 1u) * 2u * params.halfVectors + i;
  let c = table[angle];
  let s = select(table[angle + params.halfVectors], -table[angle + params.halfVectors], INVERSE);
  for (var head = 0u; head < params.turningHeads; head++) {
    let low = row * params.rowVectors + head * params.headVectors + i;
    let high = low + params.halfVectors;
    let a = load_qkv(low);
    let b = load_qkv(high);
    store_qkv(low, a * c - b * s);
    store_qkv(high, b * c + a * s);
  }
}
