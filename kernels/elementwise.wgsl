// elementwise — activations and plain arithmetic, element by element, with their gradients.
//
//   gelu_tanh, gelu_erf   see gelu.wgsl, which has to come first
//   gelu_…_mul  y = gelu(g) · u            d_g = dy · u · gelu'(g)                      d_u = dy · gelu(g)
//   silu_mul    y = g · σ(g) · u           d_g = dy · u · σ(g)·(1 + g·(1 − σ(g)))       d_u = dy · g · σ(g)
//   relu        y = max(x, 0)              dx = dy · [y > 0]
//   tanh        y = tanh x, see tanh.wgsl  dx = dy · (1 − y²)
//   soft_cap    y = cap · tanh(x / cap)
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
  value: f32, // factor of scale, bound of cast, cap
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
fn gelu_tanh_mul(at: Position) {
  let i = index_of(at);
  if (i >= params.count) { return; }
  store_c(i, gelu_tanh_of(load_a(i)) * load_b(i));
}

// a: gate; b: up; c: dy, overwritten by the gate's gradient; d: the gradient of up.
@compute @workgroup_size(WG)
fn gelu_tanh_mul_grad(at: Position) {
  let i = index_of(at);
  if (i >= params.count) { return; }
  let gate = load_a(i);
  let dy = load_c(i);
  store_c(i, dy * load_b(i) * gelu_tanh_slope(gate));
  store_d(i, dy * gelu_tanh_of(gate));
}

// a: gate; b: up; c: y.
@compute @workgroup_size(WG)
fn gelu_erf_mul(at: Position) {
  let i = index_of(at);
  if (i >= params.count) { return; }
  store_c(i, gelu_erf_of(load_a(i)) * load_b(i));
}

// a: gate; b: up; c: dy, overwritten by the gate's gradient; d: the gradient of up.
@compute @workgroup_size(WG)
fn gelu_erf_mul_grad(at: Position) {
  let i = index_of(at);
  if (i >= params.count) { return; }
  let gate = load_a(i);
  let dy = load_c(i);
  store_c(i, dy * load_b(i) * gelu_erf_slope(gate));
  store_d(i, dy * gelu_erf_of(gate));
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

@compute @workgroup_size(WG)
fn relu(at: Position) {
  let i = index_of(at);
  if (i >= params.count) { return; }
  let x = load_a(i);
  // Not max(): a NaN must stay one.
  store_b(i, select(x, vec_t(0.0), x < vec_t(0.0)));
}

// a: y; b: dy, overwritten by dx.
@compute @workgroup_size(WG)
fn relu_grad(at: Position) {
  let i = index_of(at);
  if (i >= params.count) { return; }
  store_b(i, select(vec_t(0.0), load_b(i), load_a(i) > vec_t(0.0)));
}

@compute @workgroup_size(WG)
fn tanh_forward(at: Position) {
  let i = index_of(at);
  if (i >= params.count) { return; }
  store_b(i, tanh_of(load_a(i)));
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
fn soft_cap(at: Position) {
  let i = index_of(at);
  if (i >= params.count) { return; }
  store_b(i, params.value * tanh_of(load_a(i) / params.value));
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
