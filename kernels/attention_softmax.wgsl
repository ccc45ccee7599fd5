// attention_softmax — softmax over the keys of every query row, in place on the scores.
//
//   p[r,j] = exp(s[r,j] − max_j s[r,j]) / Σ_j exp(s[r,j] − max_j s[r,j])   over the keys j that r may see,
//            s capped first where scores are; then slopes[r,j] is the slope of the cap there
//   d[r,j] = p[r,j] · keep(r,j) / (1 − dropout probability)                where there is dropout
//
// Shapes    probabilities (scores before, p after), dropped, slopes: [B·H·T, T]; row r =
//           (b·H + h)·T + query.   segments: [B·T].
// Dtypes    probabilities, dropped, slopes: as stored (f16 or f32); maximum and sum: f32.   segments: u32.
// Mapping   one row per LANES invocations; lane i takes vectors i, i + LANES, ...
//           of the row (rows/reduction.ts).
// Limits    a row without any visible key becomes zeros.   Only visible scores are read: behind the diagonal
//           of a causal row the product may have left anything.
// Source    online maximum and sum: Milakov & Gimelshein 2018, arXiv:1805.02867.
//           Checked against the f64 reference.
struct Params { rows: u32, firstRow: u32, sequence: u32, rowsPerSequence: u32, first: u32, firstDropped: u32, stream: u32, firstSlopes: u32 }

@group(1) @binding(0) var<uniform> params: Params;

const HIDDEN: f32 = -1e30; // finite: differences of it are zero, never NaN

@compute @workgroup_size(WG)
fn attention_softmax(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) workgroups: vec3<u32>,
  @builtin(local_invocation_index) invocation: u32,
) {
  let local = rowOfInvocation(workgroup, workgroups, invocation);
  if (local >= params.rows) { return; }
  let lane = invocation % LANES;
  let row = params.firstRow + local;
  let query = row % params.sequence;
  let sequenceStart = (row / params.rowsPerSequence) * params.sequence;
  let vectors = params.sequence / WIDTH;
  let reach = select(vectors, query / WIDTH + 1u, CAUSAL);
  let start = params.first + local * vectors;

  var highest = HIDDEN;
  var total = 0.0;
  for (var i = lane; i < reach; i += LANES) {
    let shown = visible(sequenceStart, query, index(i));
    let scores = select(vec_t(HIDDEN), capped(load_probabilities(start + i)), shown);
    let higher = max(highest, maxOf(scores));
    total = total * exp(highest - higher) + sumOf(select(vec_t(0.0), exp(scores - vec_t(higher)), shown));
    highest = higher;
  }
  let rowHighest = rowMax(highest, lane);
  let rowTotal = rowSum(total * exp(highest - rowHighest), lane);
  // `== 0` and not `> 0`: a NaN must stay one.
  let inverse = select(1.0 / rowTotal, 0.0, rowTotal == 0.0);

  for (var i = lane; i < vectors; i += LANES) {
    var p = vec_t(0.0);
    var slope = vec_t(0.0);
    if (i < reach) {
      let shown = visible(sequenceStart, query, index(i));
      let score = capped(load_probabilities(start + i));
      p = select(vec_t(0.0), exp(score - vec_t(rowHighest)) * inverse, shown);
      slope = select(vec_t(0.0), uncapped(vec_t(1.0), score), shown);
    }
    store_probabilities(start + i, p);
    storeDropped(row, params.firstDropped + local * vectors, i, p);
    storeSlopes(params.firstSlopes + local * vectors + i, slope);
  }
}
