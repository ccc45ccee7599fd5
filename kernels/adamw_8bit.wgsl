// adamw_8bit — AdamW whose moments are stored as 8-bit codes in blocks of 256,
// each scaled by the largest in its block.
//
//   m = map1[code1] · absmax1            v = map2[code2] · absmax2          g = factor · g
//   m = β1·m + (1 − β1)·g                v = β2·v + (1 − β2)·g²
//   p = (p − learningRate · c2/c1 · m / (√v + c2·eps)) · (1 − learningRate · decay)
//   absmax1 = max|m|                     absmax2 = max v
//   code1 = nearest(map1, m / absmax1)   code2 = nearest(map2, v / absmax2)
//
// with c1 = 1 − β1^t and c2 = √(1 − β2^t). The update uses m and v before they are rounded to codes.
//
// Shapes    p, g: [n].   codes1, codes2: u8 [n], four to a word.   absmax1,
//           absmax2: [blocks].   clip: [4] of global_norm.
// Dtypes    all arithmetic f32, 1 − β included, as in bitsandbytes.
// Mapping   blocks of scales_per_block scales each (kernels/tables/dispatch.ts), one after another; those 256
//           elements are a row of rows/reduction.ts, 64 groups of four over LANES invocations. On a GPU that
//           is one group each, and the maps are copied to workgroup memory, since lookups differ between
//           invocations; on a CPU they are read where they are.
// Limits    an element whose gradient is not finite keeps its weight and starts its moments
//           anew; nothing is written where clip says that some gradient of the step is not.
// Source    Dettmers et al. 2022, arXiv:2110.02861; order of operations of bitsandbytes' block-wise AdamW on
//           CUDA: decay after the update, and a first moment other than zero keeps its sign.

// Below the smallest normal number a quotient may be anything; a block of zeros must give 0 / this = 0.
const TINY: f32 = 1.1754944e-38;

fn unpack(word: u32) -> vec4<u32> {
  return (vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(255u);
}

fn pack(codes: vec4<u32>) -> u32 {
  return codes.x | (codes.y << 8u) | (codes.z << 16u) | (codes.w << 24u);
}

// The signed map mirrors its positive half around code 127.
fn signed_value(code: u32) -> f32 {
  let distance = i32(code) - 127;
  let magnitude = lookup(SIGNED_VALUES + u32(abs(distance)));
  return select(magnitude, -magnitude, distance < 0);
}

// A code whose value is the last one at or below x in [0, 1], or a neighbour if x is all but equal to a
// value: then the middle above it decides rightly too. Hence no rounding in here matters. `double` is 1 for
// the unsigned map, whose decades have twice as many values.
fn code_below(x: f32, double: u32) -> u32 {
  let decade = clamp(i32(floor(log2(max(x, 1e-9)) * 0.30103)) + 7, 0, 6);
  let scaled = x * exp2(f32(6 - decade) * 3.3219281);
  let steps = 1 << (u32(decade) + double);
  let index = i32(floor((scaled - 0.1) * (f32(steps) / 0.9) - 0.5));
  return u32(steps - i32(double) + clamp(index, -1, steps - 1));
}

fn signed_code(m: f32, scale: f32) -> u32 {
  let x = abs(m) / scale;
  let below = code_below(x, 0u);
  let middle = lookup(SIGNED_MIDDLES + below);
  if (m < 0.0) { return 127u - clamp(below + u32(x >= middle), 1u, 127u); }
  return 127u + below + u32(x > middle);
}

fn unsigned_code(v: f32, scale: f32) -> u32 {
  let x = v / scale;
  let below = code_below(x, 1u);
  return below + u32(x > lookup(UNSIGNED_MIDDLES + below));
}

@compute @workgroup_size(WG)
fn adamw_8bit(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) local: u32,
) {
  fill_maps(local);
  let clip = load_clip(0u);
  let lane = local % LANES;
  let number = rowOfInvocation(workgroup, grid, local);
  // No return: barriers follow, and every invocation has to reach them.
  let idle = clip.z != 0.0 || number >= params.blocks;
  let block = block_at(min(number, params.blocks - 1u));
  let words = (block.count + 3u) / 4u;
  let end = select(words, 0u, idle);
  let c2 = step.sqrtBiasCorrection2;
  let rate = step.learningRate * c2 / step.biasCorrection1;
  let keep = 1.0 - step.learningRate * bitcast<f32>(block.decay);
  var m: array<vec4<f32>, WORDS_PER_LANE>;
  var v: array<vec4<f32>, WORDS_PER_LANE>;
  for (var next = 0u; next < params.scales_per_block; next++) {
    let scale = block.index * params.scales_per_block + next;
    if (64u * scale >= words) { break; }
    let scale1 = load_absmax1(block.absmax1 + scale);
    let scale2 = load_absmax2(block.absmax2 + scale);
    var largest_m = vec4<f32>(0.0);
    var largest_v = vec4<f32>(0.0);
    for (var k = 0u; k < WORDS_PER_LANE; k++) {
      let word = scale * 64u + k * LANES + lane;
      let bits = bits_of_four(block, word);
      let exponents = vec4<u32>(0x7f800000u);
      let finite = ((bits & exponents) != exponents) & inside(block, word) & vec4<bool>(word < end);
      let gradient = select(vec4<f32>(0.0), clip.y * bitcast<vec4<f32>>(bits), finite);
      let code1 = unpack(load_codes1(block.codes1 + word));
      let code2 = unpack(load_codes2(block.codes2 + word));
      let old_m = scale1 *
        vec4<f32>(signed_value(code1.x), signed_value(code1.y), signed_value(code1.z), signed_value(code1.w));
      let old_v = scale2 * vec4<f32>(
        lookup(UNSIGNED_VALUES + code2.x),
        lookup(UNSIGNED_VALUES + code2.y),
        lookup(UNSIGNED_VALUES + code2.z),
        lookup(UNSIGNED_VALUES + code2.w),
      );
      let new_m = old_m * params.beta1 + (1.0 - params.beta1) * gradient;
      let new_v = old_v * params.beta2 + (1.0 - params.beta2) * gradient * gradient;
      m[k] = select(vec4<f32>(0.0), new_m, finite);
      v[k] = select(vec4<f32>(0.0), new_v, finite);
      largest_m = max(largest_m, abs(m[k]));
      largest_v = max(largest_v, v[k]);
      let weight = four_weights(block, word);
      let moved = (weight - rate * (m[k] / (sqrt(v[k]) + c2 * params.eps))) * keep;
      if (word < end) { store_four_weights(block, word, select(weight, moved, finite)); }
    }
    let new_scale1 = rowMax(max(max(largest_m.x, largest_m.y), max(largest_m.z, largest_m.w)), lane);
    let new_scale2 = rowMax(max(max(largest_v.x, largest_v.y), max(largest_v.z, largest_v.w)), lane);
    let divisor1 = max(new_scale1, TINY);
    let divisor2 = max(new_scale2, TINY);
    for (var k = 0u; k < WORDS_PER_LANE; k++) {
      let word = scale * 64u + k * LANES + lane;
      if (word >= end) { continue; }
      let a = m[k];
      let b = v[k];
      store_codes1(block.codes1 + word, pack(vec4<u32>(
        signed_code(a.x, divisor1),
        signed_code(a.y, divisor1),
        signed_code(a.z, divisor1),
        signed_code(a.w, divisor1),
      )));
      store_codes2(block.codes2 + word, pack(vec4<u32>(
        unsigned_code(b.x, divisor2),
        unsigned_code(b.y, divisor2),
        unsigned_code(b.z, divisor2),
        unsigned_code(b.w, divisor2),
      )));
    }
    if (lane == 0u && !idle) {
      store_absmax1(block.absmax1 + scale, new_scale1);
      store_absmax2(block.absmax2 + scale, new_scale2);
    }
  }
}
