// gelu — the functions of the Gaussian error linear unit, for kernels that apply
// it: alone, or to a product's result.
//
//   gelu_tanh_of(x) = x · Φ̃(x)   Φ̃(x) = (1 + tanh(√(2/π)·(x + 0.044715·x³))) / 2
//   gelu_erf_of(x)  = x · Φ(x)    Φ(x) = erfc(−x/√2) / 2
//   gelu_tanh_slope(x), gelu_erf_slope(x): their derivatives
//
// Needs     `vec_t`: f32 or a vector of f32.
// Bits      every product that something is added to is an `fma`: a compiler that fuses some of the others,
//           here and not there, would give kernels that apply the same function other bits.
// Overflow  (1 + tanh u)/2 = σ(2u) and every exponent is clamped to ±87, so no intermediate leaves the range
//           of f32.
// Source    Hendrycks & Gimpel 2016, arXiv:1606.08415. erfc: Chebyshev fit of Press et al., Numerical
//           Recipes, §6.2, relative error below 1.2e-7.

fn clamped_exponent(v: vec_t) -> vec_t {
  return clamp(v, vec_t(-87.0), vec_t(87.0));
}
fn sigmoid(v: vec_t) -> vec_t {
  return 1.0 / (1.0 + exp(-clamped_exponent(v)));
}

const GELU_RATE = 1.5957691216057308; // 2·√(2/π)
const GELU_CUBIC = 0.044715;
// Beyond ±10 Φ̃ and Φ are 0 or 1 to within f32; clamping keeps x³ finite.
fn gelu_bound(x: vec_t) -> vec_t {
  return clamp(x, vec_t(-10.0), vec_t(10.0));
}
fn tanh_argument(v: vec_t) -> vec_t {
  return GELU_RATE * v * fma(GELU_CUBIC * v, v, vec_t(1.0));
}
fn erf_phi(x: vec_t) -> vec_t {
  let z = abs(gelu_bound(x)) * 0.7071067811865476;
  let t = 1.0 / fma(vec_t(0.5), z, vec_t(1.0));
  var fit = fma(t, vec_t(0.17087277), vec_t(-0.82215223));
  fit = fma(t, fit, vec_t(1.48851587));
  fit = fma(t, fit, vec_t(-1.13520398));
  fit = fma(t, fit, vec_t(0.27886807));
  fit = fma(t, fit, vec_t(-0.18628806));
  fit = fma(t, fit, vec_t(0.09678418));
  fit = fma(t, fit, vec_t(0.37409196));
  fit = fma(t, fit, vec_t(1.00002368));
  let tail = 0.5 * t * exp(fma(t, fit, fma(-z, z, vec_t(-1.26551223))));
  return select(tail, 1.0 - tail, x > vec_t(0.0));
}

fn gelu_tanh_of(x: vec_t) -> vec_t {
  return x * sigmoid(tanh_argument(gelu_bound(x)));
}
fn gelu_tanh_slope(x: vec_t) -> vec_t {
  let v = gelu_bound(x);
  let e = exp(-clamped_exponent(tanh_argument(v)));
  let phi = 1.0 / (1.0 + e);
  let slope = GELU_RATE * fma(3.0 * GELU_CUBIC * v, v, vec_t(1.0));
  // 1 − Φ̃ = e · Φ̃, in full precision where the difference has lost its digits.
  return fma(v * slope * phi, e * phi, phi);
}
fn gelu_erf_of(x: vec_t) -> vec_t {
  return x * erf_phi(x);
}
fn gelu_erf_slope(x: vec_t) -> vec_t {
  let v = gelu_bound(x);
  let density = 0.3989422804014327 * exp(-0.5 * v * v);
  return fma(x, density, erf_phi(x));
}
