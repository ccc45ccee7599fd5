import tanh from "./tanh.wgsl" with { type: "text" };

/**
 * WGSL of `capped(x)`, cap · tanh(x / cap), and of `uncapped(d, y)`, what a gradient `d` of a capped value
 * `y` is before the cap; without a cap both leave a value as it is. Gemma Team 2024, arXiv:2408.00118.
 */
export function softCapWgsl(cap: number | undefined): string {
  if (cap === undefined) {
    return `fn capped(x: vec_t) -> vec_t { return x; }
fn uncapped(d: vec_t, y: vec_t) -> vec_t { return d; }
`;
  }
  return `${tanh}fn capped(x: vec_t) -> vec_t { return f32(${cap}) * tanh_of(x / f32(${cap})); }
fn uncapped(d: vec_t, y: vec_t) -> vec_t {
  let t = y / f32(${cap});
  return d * ((1.0 - t) * (1.0 + t));
}
`;
}

/** The same in f64. */
export function cappedReference(x: number, cap: number | undefined): number {
  return cap === undefined ? x : cap * Math.tanh(x / cap);
}

/** Slope of the cap where its value is `y`. */
export function capSlopeReference(y: number, cap: number | undefined): number {
  return cap === undefined ? 1 : 1 - (y / cap) ** 2;
}
