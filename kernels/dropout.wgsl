// dropout — sets elements to zero at random and scales the others up, so that the expectation stays.
//
//   y[i] = keep(i) · x[i] / (1 − p)        keep(i) = word i of the stream ≥ p · 2³²
//
// Shapes    x, y: the same element count; the shape does not matter.
// Dtypes    x: a_t; y: b_t (32- or 16-bit floats).
// Mapping   one vector per invocation, workgroups folded into grid x and y. The mask comes from a counter
//           (random.ts), so the backward pass runs the same kernel on dy and no mask is stored.
// Limits    2⁶⁶ elements, 2³² of them in a window.
// Source    Srivastava et al. 2014, JMLR 15.

struct Params {
  count: u32, // vectors
  threshold: u32, // p · 2³²
  keep_scale: f32, // 1 / (1 − p)
  stream: u32,
  first_low: u32, // group of four elements that this window begins with, of 64 bits
  first_high: u32,
}
@group(1) @binding(0) var<uniform> params: Params;

fn group_at(i: u32) -> vec2<u32> {
  let low = params.first_low + i;
  return vec2<u32>(low, params.first_high + select(0u, 1u, low < i));
}

@group(0) @binding(0) var<storage, read_write> a: array<a_t>;
@group(0) @binding(1) var<storage, read_write> b: array<b_t>;

@compute @workgroup_size(WG)
fn dropout(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) local: u32,
) {
  let i = (workgroup.y * grid.x + workgroup.x) * WG + local;
  if (i >= params.count) { return; }
  let kept = keep(i);
  store_b(i, select(vec_t(0.0), params.keep_scale * load_a(i), kept));
}
