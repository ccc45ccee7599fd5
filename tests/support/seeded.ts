/** Deterministic numbers for tests: uniform in [−scale, scale). */
export function seededNumbers(count: number, seed = 1, scale = 1): Float64Array {
  const out = new Float64Array(count);
  let state = (seed * 2654435761) >>> 0 || 1;
  for (let i = 0; i < count; i++) {
    state = (Math.imul(state ^ (state >>> 15), 2246822519) + 3266489917 + i) >>> 0;
    state ^= state >>> 13;
    out[i] = (((Math.imul(state, 668265263) >>> 0) / 2 ** 32) * 2 - 1) * scale;
  }
  return out;
}

/** Deterministic integers in [0, below). */
export function seededIntegers(count: number, below: number, seed = 1): Float64Array {
  return seededNumbers(count, seed).map((x) => Math.min(below - 1, Math.floor(((x + 1) / 2) * below)));
}
