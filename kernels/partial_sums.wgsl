// partial_sums — what parts of a product's terms add up to.
//
//   c[i] = Σ_s partials[s, i]
//
// Shapes    partials: [parts, count], c: [count], in vectors of WIDTH.
// Dtypes    partials: f32.   c: c_t (f32 or f16), rounded once.   Sums f32, in the order of the parts.
// Mapping   one invocation per vector.
// Limits    none: grids are folded.
// Source    split-K, as in NVIDIA's CUTLASS. Checked against the product in one part.
struct Params { count: u32, parts: u32, first: u32, gridWidth: u32 }

@group(0) @binding(0) var<storage, read_write> partials: array<vec_t>;
@group(0) @binding(1) var<storage, read_write> c: array<c_t>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(64)
fn partial_sums(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (group.y * params.gridWidth + group.x) * 64u + lane;
  if (i >= params.count) { return; }
  var total = partials[i];
  for (var part = 1u; part < params.parts; part++) { total += partials[part * params.count + i]; }
  c[params.first + i] = c_t(total);
}
