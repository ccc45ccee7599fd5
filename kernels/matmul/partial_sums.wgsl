// partial_sums — what parts of a product's terms add up to.
//
//   c[z, m, n] = Σ_s partials[s, z, m, n] (+ c[z, m, n])
//
// Shapes    partials: [parts, batches, M, N], of which `count` vectors from `first` on; c: strided and
//           batched as the product's.
// Dtypes    partials: f32.   c: as stored (f32 or f16), rounded once.   Sums f32,
//           in the order of the parts, c last.
// Mapping   one invocation per vector of WIDTH.
// Limits    none: grids are folded, and partials of one part split where they or c pass the binding limit.
// Source    split-K, as in NVIDIA's CUTLASS. Checked against the product in one part.
struct Params {
  count: u32, // vectors
  parts: u32,
  partLength: u32, // vectors of a part
  first: u32, // vector of the product that is the first of these
  partialsOffset: u32, // vectors from the start of what is bound
  rows: u32, // M
  columns: u32, // N, in vectors
  batch1: u32,
  batch2: u32,
  cOffset: u32, // of element 0 of the product from the start of what is bound, modulo 2³²
  cRow: u32,
  cBatch0: u32,
  cBatch1: u32,
  cBatch2: u32,
  gridWidth: u32,
}

@group(0) @binding(0) var<storage, read_write> partials: array<vec_t>;
@group(0) @binding(1) var<storage, read_write> c: array<c_t>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(64)
fn partial_sums(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (group.y * params.gridWidth + group.x) * 64u + lane;
  if (i >= params.count) { return; }
  let source = params.partialsOffset + i;
  var total = partials[source];
  for (var part = 1u; part < params.parts; part++) { total += partials[part * params.partLength + source]; }
  let place = params.first + i;
  let row = place / params.columns;
  let batch = row / params.rows;
  let z01 = batch / params.batch2;
  let to = params.cOffset + (z01 / params.batch1) * params.cBatch0 + (z01 % params.batch1) * params.cBatch1 +
    (batch % params.batch2) * params.cBatch2 + (row % params.rows) * params.cRow + place % params.columns;
  if (ACCUMULATE) { total += load_c(to); }
  store_c(to, total);
}
