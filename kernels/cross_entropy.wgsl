// cross_entropy — loss of every row of logits, and in place of the logits their gradient.
//
//   loss[n] = log Σ_v exp(z[n,v]) − z[n, target[n]]
//   z is capped first where logits are, and dz then the gradient before the cap
//   dz[n,v] = (exp(z[n,v]) / Σ_v exp(z[n,v]) − [v = target[n]]) · step.gradientScale          where GRADIENT
//
// Shapes    logits: [rows, leading], columns V … leading − 1 are padding, zero
//           after.   targets, rowLosses: [N].
// Dtypes    all f32, targets i32: a softmax over 50 000 columns in f16 would lose most of its sum.
// Mapping   one row per LANES invocations; lane i takes vectors i, i + LANES, ...
//           of the row (rows/reduction.ts).
// Limits    rows whose target is −100, or no column, have loss and gradient zero.
// Source    online maximum and sum: Milakov & Gimelshein 2018, arXiv:1805.02867; gradient in place of the
//           logits: Liger Kernel, arXiv:2410.10989. Checked against the f64 reference.
struct Params { rows: u32, firstRow: u32, vocabulary: u32, vectors: u32, first: u32 }

@group(0) @binding(0) var<storage, read_write> logits: array<logits_t>;
@group(0) @binding(1) var<storage, read_write> targets: array<i32>;
@group(0) @binding(2) var<storage, read_write> rowLosses: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

const HIDDEN: f32 = -1e30; // finite: differences of it are zero, never NaN

@compute @workgroup_size(WG)
fn cross_entropy(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) workgroups: vec3<u32>,
  @builtin(local_invocation_index) invocation: u32,
) {
  let local = rowOfInvocation(workgroup, workgroups, invocation);
  if (local >= params.rows) { return; }
  let lane = invocation % LANES;
  let row = params.firstRow + local;
  let start = params.first + local * params.vectors;
  let expected = targets[row];
  let counts = expected >= 0 && expected < i32(params.vocabulary);
  let column = select(0u, u32(expected), counts);
  // Read before the first reduction, hence before any lane overwrites it.
  let expectedLogit = capped(load_logits(start + column / 4u))[column % 4u];

  var highest = HIDDEN;
  var total = 0.0;
  for (var i = lane; i < params.vectors; i += LANES) {
    let shown = index(i) < index_t(params.vocabulary);
    let z = select(vec_t(HIDDEN), capped(load_logits(start + i)), shown);
    let higher = max(highest, maxOf(z));
    total = total * exp(highest - higher) + sumOf(select(vec_t(0.0), exp(z - vec_t(higher)), shown));
    highest = higher;
  }
  let rowHighest = rowMax(highest, lane);
  let rowTotal = rowSum(total * exp(highest - rowHighest), lane);
  if (lane == 0u) {
    rowLosses[row] = select(0.0, log(rowTotal) + (rowHighest - expectedLogit), counts);
  }
  if (GRADIENT) {
    let scale = select(0.0, step.gradientScale, counts);
    let inverse = 1.0 / rowTotal;
    for (var i = lane; i < params.vectors; i += LANES) {
      let columns = index(i);
      let z = capped(load_logits(start + i));
      let p = exp(z - vec_t(rowHighest)) * inverse;
      let dz = uncapped((p - select(vec_t(0.0), vec_t(1.0), columns == index_t(column))) * scale, z);
      let kept = select(vec_t(0.0), dz, (columns < index_t(params.vocabulary)) & mask_t(counts));
      store_logits(start + i, kept);
    }
  }
}
