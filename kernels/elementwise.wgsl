// elementwise — activations and plain arithmetic, element by element, with their gradients.
//
//   gelu_tanh   y = x · Φ̃(x)   Φ̃(x) = (1 + tanh(√(2/π)·(x + 0.044715·x³))) / 2
//   gelu_erf    y = x · Φ(x)    Φ(x) = erfc(−x/√2) / 2
//   silu_mul    y = g · σ(g) · u           d_g = dy · u · σ(g)·(1 + g·(1 − σ(g)))       d_u = dy · g · σ(g)
//   tanh        y = tanh x                 dx = dy · (1 − y²)
//   add         c = a + b (in place of a)  cast  y = x in another type, clamped to its range   scale  y = factor · x
//
// Shapes    all operands have the same element count; shape does not matter.
// Dtypes    a_t, b_t, c_t, d_t as stored (32- or 16-bit floats); arithmetic in f32.
// Reads     by load_a(i) … load_c(i), from where kernels/texel_reads.ts says.
// Mapping   one vector per invocation, workgroups folded into grid x and y.
// Overflow  (1 + tanh u)/2 = σ(2u) and every exponent is clamped to ±87, so no intermediate leaves the range of f32.
// Limits    2³² vectors per dispatch.
// Source    Hendrycks & Gimpel 2016, arXiv:1606.08415; Shazeer 2020, arXiv:2002.05202. erfc: Chebyshev fit of Press et al.,
//           Numerical Recipes, §6.2, relative error below 1.2e-7.

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

// 1 − σ(v) is written σ(−v): the difference would lose all digits where σ(v) is near one.
fn sigmoid(v: vec_t) -> vec_t {
  return 1.0 / (1.0 + exp(clamp(-v, vec_t(-87.0), vec_t(87.0))));
}

const GELU_RATE = 1.5957691216057308; // 2·√(2/π)
const GELU_CUBIC = 0.044715;
// Beyond ±10 Φ̃ and Φ are 0 or 1 to within f32; clamping keeps x³ finite.
fn gelu_bound(x: vec_t) -> vec_t {
  return clamp(x, vec_t(-10.0), vec_t(10.0));
}
fn tanh_argument(v: vec_t) -> vec_t {
  return GELU_RATE * v * (1.0 + GELU_CUBIC * v * v);
}
fn erf_phi(x: vec_t) -> vec_t {
  let z = abs(gelu_bound(x)) * 0.7071067811865476;
  let t = 1.0 / (1.0 + 0.5 * z);
  let tail = 0.5 * t * exp(-z * z - 1.26551223 + t * (1.00002368 + t * (0.37409196 + t * (0.09678418 +
    t * (-0.18628806 + t * (0.27886807 + t * (-1.13520398 + t * (1.48851587 + t * (-0.82215223 +
    t * 0.17087277)))))))));
  return select(tail, 1.0 - tail, x > vec_t(0.0));
}

@compute @workgroup_size(WG)
fn gelu_tanh(at: Position) {
  let i = index_of(at);
  if (i >= params.count) { return; }
  let x = load_a(i);
  b[i] = b_t(x * sigmoid(tanh_argument(gelu_bound(x))));
}

@compute @workgroup_size(WG)
fn gelu_erf(at: Position) {
  let i = index_of(at);
  if (i >= params.count) { return; }
  let x = load_a(i);
  b[i] = b_t(x * erf_phi(x));
}

// a: x; b: dy, overwritten by dx.
@compute @workgroup_size(WG)
fn gelu_tanh_grad(at: Position) {
  let i = index_of(at);
  if (i >= params.count) { return; }
  let x = load_a(i);
  let v = gelu_bound(x);
  let u = tanh_argument(v);
  let phi = sigmoid(u);
  let slope = GELU_RATE * (1.0 + 3.0 * GELU_CUBIC * v * v);
  b[i] = b_t(load_b(i) * (phi + v * slope * phi * sigmoid(-u)));
}

@compute @workgroup_size(WG)
fn gelu_erf_grad(at: Position) {
  let i = index_of(at);
  if (i >= params.count) { return; }
  let x = load_a(i);
  let v = gelu_bound(x);
  let density = 0.3989422804014327 * exp(-0.5 * v * v);
  b[i] = b_t(load_b(i) * (erf_phi(x) + x * density));
}

// a: gate; b: up; c: y.
@compute @workgroup_size(WG)
fn silu_mul(at: Position) {
  let i = index_of(at);
  if (i >= params.count) { return; }
  let gate = load_a(i);
  c[i] = c_t(gate * sigmoid(gate) * load_b(i));
}

// a: gate; b: up; c: dy, overwritten by the gate's gradient; d: the gradient of up.
@compute @workgroup_size(WG)
fn silu_mul_grad(at: Position) {
  let i = index_of(at);
  if (i >= params.count) { return; }
  let gate = load_a(i);
  let up = load_b(i);
  let dy = load_c(i);
  let s = sigmoid(gate);
  c[i] = c_t(dy * up * s * (1.0 + gate * sigmoid(-gate)));
  d[i] = d_t(dy * gate * s);
}

// Through exp, which is cheaper than tanh on the adapters measured; near zero by its series, where 1 − e^−2|x| cancels.
@compute @workgroup_size(WG)
fn tanh_forward(at: Position) {
  let i = index_of(at);
  if (i >= params.count) { return; }
  let x = load_a(i);
  let e = exp(-2.0 * min(abs(x), vec_t(40.0)));
  let q = x * x;
  let near = x * (1.0 - q * (1.0 / 3.0 - q * (2.0 / 15.0 - q * (17.0 / 315.0 - q * (62.0 / 2835.0)))));
  b[i] = b_t(select(sign(x) * (1.0 - e) / (1.0 + e), near, abs(x) < vec_t(0.25)));
}

// a: y; b: dy, overwritten by dx.
@compute @workgroup_size(WG)
fn tanh_grad(at: Position) {
  let i = index_of(at);
  if (i >= params.count) { return; }
  let y = load_a(i);
  b[i] = b_t(load_b(i) * (1.0 - y) * (1.0 + y));
}

@compute @workgroup_size(WG)
fn add(at: Position) {
  let i = index_of(at);
  if (i >= params.count) { return; }
  a[i] = a_t(load_a(i) + load_b(i));
}

// WGSL leaves it open what a number outside the target's range becomes, hence the bound.
@compute @workgroup_size(WG)
fn cast_to(at: Position) {
  let i = index_of(at);
  if (i >= params.count) { return; }
  b[i] = b_t(clamp(load_a(i), vec_t(-params.value), vec_t(params.value)));
}

@compute @workgroup_size(WG)
fn scale(at: Position) {
  let i = index_of(at);
  if (i >= params.count) { return; }
  b[i] = b_t(params.value * load_a(i));
}
