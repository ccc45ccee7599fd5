// elementwise — activations and plain arithmetic, element by element, with their gradients.
//
//   gelu_tanh, gelu_erf   see gelu.wgsl, which has to come first
//   silu_mul    y = g · σ(g) · u           d_g = dy · u · σ(g)·(1 + g·(1 − σ(g)))       d_u = dy · g · σ(g)
//   tanh        y = tanh x                 dx = dy · (1 − y²)
//   add         c = a + b (in place of a)
//   cast        y = x in another type, clamped to its range
//   scale       y = factor · x
//
// Shapes    all operands have the same element count; shape does not matter.
// Dtypes    a_t, b_t, c_t, d_t as stored (32- or 16-bit floats); arithmetic in f32.
// Reads     by load_a(i) … load_d(i), writes by store_a(i, v) …: kernels/access.ts.
// Mapping   one vector per invocation, workgroups folded into grid x and y.
// Limits    2³² vectors per dispatch.
// Source    Hendrycks & Gimpel 2016, arXiv:1606.08415; Shazeer 2020, arXiv:2002.05202.

struct Params {
  count: u32, // vectors
  value: f32, // factor of scale, bound of cast
}
@group(1) @binding(0) var<uniform> params: Params;

@group(0) @binding(0) var<storage, read_write> a: array<a_t>;
@group(0) @binding(1) var<storage, read_write> b: array<b_t>;
@group(0) @binding(2) var<storage, read_write> c: array<c_t>;
@group(0) @binding(3) var<storage, read_write> d: array<d_t>;

struct Position {
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) local: u32,
}
fn index_of(at: Position) -> u32 {
  return (at.workgroup.y * at.grid.x + at.workgroup.x) * WG + at.local;
}

@compute @workgroup_size(WG)
fn gelu_tanh(at: Position) {
  let i = index_of(at);
  if (i >= params.count) { return; }
  store_b(i, gelu_tanh_of(load_a(i)));
}

@compute @workgroup_size(WG)
fn gelu_erf(at: Position) {
  let i = index_of(at);
  if (i >= params.count) { return; }
  store_b(i, gelu_erf_of(load_a(i)));
}

// a: x; b: dy, overwritten by dx.
@compute @workgroup_size(WG)
fn gelu_tanh_grad(at: Position) {
  let i = index_of(at);
  if (i >= params.count) { return; }
  store_b(i, load_b(i) * gelu_tanh_slope(load_a(i)));
}

@compute @workgroup_size(WG)
fn gelu_erf_grad(at: Position) {
  let i = index_of(at);
  if (i >= params.count) { return; }
  store_b(i, load_b(i) * gelu_erf_slope(load_a(i)));
}

// a: gate; b: up; c: y.
@compute @workgroup_size(WG)
fn silu_mul(at: Position) {
  let i = index_of(at);
  if (i >= params.count) { return; }
  let gate = load_a(i);
  store_c(i, gate * sigmoid(gate) * load_b(i));
}

// a: gate; b: up; c: dy, overwritten by the gate's gradient; d: the gradient of up.
@compute @workgroup_size(WG)
fn silu_mul_grad(at: Position) {
  let i = index_of(at);
  if (i >= params.count) { return; }
  let gate = load_a(i);
  let up = load_b(i);
  let dy = load_c(i);
  // 1 − σ = e · σ, in full precision where the difference has lost its digits.
  let e = exp(-clamped_exponent(gate));
  let s = 1.0 / (1.0 + e);
  store_c(i, dy * up * s * (1.0 + gate * (e * s)));
  store_d(i, dy * gate * s);
}

// Through exp, which was cheaper than tanh on a software adapter (2026-11-23);
// near zero by its series, where 1 − e^−2|x| cancels.
@compute @workgroup_size(WG)
fn tanh_forward(at: Position) {
  let i = index_of(at);
  if (i >= params.count) { return; }
  let x = load_a(i);
  let e = exp(-2.0 * min(abs(x), vec_t(40.0)));
  let q = x * x;
  let near = x * (1.0 - q * (1.0 / 3.0 - q * (2.0 / 15.0 - q * (17.0 / 315.0 - q * (62.0 / 2835.0)))));
  store_b(i, select(sign(x) * (1.0 - e) / (1.0 + e), near, abs(x) < vec_t(0.25)));
}

// a: y; b: dy, overwritten by dx.
@compute @workgroup_size(WG)
fn tanh_grad(at: Position) {
  let i = index_of(at);
  if (i >= params.count) { return; }
  let y = load_a(i);
  store_b(i, load_b(i) * (1.0 - y) * (1.0 + y));
}

@compute @workgroup_size(WG)
fn add(at: Position) {
  let i = index_of(at);
  if (i >= params.count) { return; }
  store_a(i, load_a(i) + load_b(i));
}

// WGSL leaves it open what a number outside the target's range becomes, hence the bound.
@compute @workgroup_size(WG)
fn cast_to(at: Position) {
  let i = index_of(at);
  if (i >= params.count) { return; }
  store_b(i, clamp(load_a(i), vec_t(-params.value), vec_t(params.value)));
}

@compute @workgroup_size(WG)
fn scale(at: Position) {
  let i = index_of(at);
  if (i >= params.count) { return; }
  store_b(i, params.value * load_a(i));
}
