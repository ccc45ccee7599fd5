// tanh_of — hyperbolic tangent of a vector, in f32.
//
// Through exp, which was cheaper than tanh on a software adapter (2026-11-23);
// near zero by its series, where 1 − e^−2|x| cancels.
fn tanh_of(x: vec_t) -> vec_t {
  let e = exp(-2.0 * min(abs(x), vec_t(40.0)));
  let q = x * x;
  let near = x * (1.0 - q * (1.0 / 3.0 - q * (2.0 / 15.0 - q * (17.0 / 315.0 - q * (62.0 / 2835.0)))));
  return select(sign(x) * (1.0 - e) / (1.0 + e), near, abs(x) < vec_t(0.25));
}

