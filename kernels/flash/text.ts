import { type AttentionAttrs, attentionDropoutWgsl, PADDING_SEGMENT } from "../attention_shapes.ts";
import type { TileForm, TokenRows } from "./tile.ts";
import { range, repeat } from "../matmul/text.ts";
import { copiedFour } from "../access.ts";
import { softCapWgsl } from "../soft_cap.ts";
import { HALF_WORDS, type StorageForm, storageFormOf, storageWgsl } from "../storage_forms.ts";

/** What the text of a kernel depends on; extents and offsets are uniforms. */
export interface FlashForm {
  headSize: number;
  dtype: string;
  causal: boolean;
  segments: boolean;
  dropout: AttentionAttrs["dropout"];
  window?: AttentionAttrs["window"];
  scoreCap?: AttentionAttrs["scoreCap"];
  /**
   * Whether matrices in f16 are read as pairs of 32-bit words: GPUs' compilers load vectors of f16 poorly.
   */
  halvesAsWords: boolean;
  /**
   * Matrices read from copies, which needs a head size that is a multiple of
   * four, and the WGSL that reads those.
   */
  copied: { names: readonly string[]; wgsl: string };
}

/**
 * Fields of the uniform block. `…Row`, `…First` and `head` count vec4s where the
 * head size is a multiple of four.
 */
export const FLASH_PARAMS = [
  "sequence",
  "heads",
  "groups", // query heads per key/value head
  "tiles", // tiles of columns per head
  "workgroups",
  "gridWidth",
  "head",
  "qkvRow",
  "oRow",
  "qkvFirst",
  "oFirst",
  "dqkvFirst",
  "firstBatch",
  "stream",
] as const;

/** The sums over rows that each kernel keeps. */
export const FLASH_SUMS = {
  flash_attention: ["sums"],
  flash_attention_dq: ["sums"],
  flash_attention_dkv: ["keySums", "valueSums"],
} as const;

/**
 * Score of a key that a query does not see; and what the maximum starts from, so
 * that `exp` of their difference is nothing.
 */
const HIDDEN = "-1e30";
const LOWEST = "-1e29";

/** A storage buffer of a kernel: its name and the type of its elements. */
type Bound = readonly [name: string, element: string];

function declarations(form: FlashForm, bound: readonly Bound[], tileWgsl = ""): string {
  return `${
    bound.map(([name, element], i) =>
      `@group(0) @binding(${i}) var<storage, read_write> ${name}: array<${element}>;`
    ).join("\n")
  }
struct Params {
${FLASH_PARAMS.map((field) => `  ${field}: u32,`).join("\n")}
  softmaxScale: f32,
${form.copied.names.map((name) => `  ${name}_copy: u32,`).join("\n")}
}
@group(1) @binding(0) var<uniform> params: Params;
${form.copied.wgsl}${storageWgsl([storageFormOf(form.dtype)])}
${tileWgsl}
${
    bound.filter(([name, element]) => ["qkv", "o", "dO"].includes(name) && element === loaded(form)).map((
      [name],
    ) => loadWgsl(form, name)).join("\n")
  }
${
    bound.filter(([name, element]) => ["o", "dqkv"].includes(name) && element === stored(form)).map((
      [name],
    ) => storeWgsl(form, name)).join("\n")
  }
${form.dropout ? attentionDropoutWgsl({ dropout: form.dropout } as AttentionAttrs) : ""}${
    form.scoreCap === undefined ? "" : softCapWgsl(form.scoreCap).replaceAll("vec_t", "vec4<f32>")
  }
`;
}

/** Elements that one access of the big matrices takes: fours where every head starts on one. */
const widthOf = ({ headSize }: FlashForm) => headSize % 4 === 0 ? 4 : 1;

/** How the big matrices are read. */
function readStorage({ dtype, halvesAsWords }: FlashForm): StorageForm {
  return dtype === "f16" && halvesAsWords ? HALF_WORDS : storageFormOf(dtype);
}

/** Element type of those that are written. */
const stored = (form: FlashForm) => storageFormOf(form.dtype).element(widthOf(form));
/** Element type of those that are read. */
const loaded = (form: FlashForm) => readStorage(form).element(widthOf(form));

function loadWgsl(form: FlashForm, name: string): string {
  const storage = readStorage(form);
  const { headSize } = form;
  const element = (q: number) =>
    `select(0.0, ${
      storage.load(`${name}[base + min(4u * d4 + ${q}u, ${headSize - 1}u)]`, 1)
    }, 4u * d4 + ${q}u < ${headSize}u)`;
  const value = form.copied.names.includes(name)
    ? copiedFour(storageFormOf(form.dtype), `params.${name}_copy`, "base + d4")
    : widthOf(form) === 4
    ? storage.load(`${name}[base + d4]`, 4)
    : `vec4<f32>(${range(4).map(element).join(", ")})`;
  return `fn load_${name}(base: u32, d4: u32) -> vec4<f32> { return ${value}; }`;
}

function storeWgsl(form: FlashForm, name: string): string {
  const { store } = storageFormOf(form.dtype);
  const body = widthOf(form) === 4
    ? `  ${name}[base + d4] = ${store("value", 4)};`
    : repeat(4, (q) =>
      `  if (4u * d4 + ${q}u < ${form.headSize}u) { ${name}[base + 4u * d4 + ${q}u] = ${
        store(`value[${q}]`, 1)
      }; }`);
  return `fn store_${name}(base: u32, d4: u32, value: vec4<f32>) {\n${body}\n}`;
}

/** Rows of a head whose first token's first element is at `start`. */
function tokenRows(name: string, start: string, row: string): TokenRows {
  return {
    base: (token) => `${start} + ${token} * params.${row}`,
    at: (base, d4) => `load_${name}(${base}, ${d4})`,
  };
}

/**
 * The invocation's place: tile of columns, head and sequence. A folded grid can have workgroups to spare:
 * they compute the last tile and store nothing (`limit` is 0), because a `return` would put the rest of the
 * kernel under an execution mask.
 */
function place(
  form: FlashForm,
  tile: TileForm,
  headCount: string,
  lastFirst: boolean,
): string {
  // With a causal mask tiles differ in work: begun in descending order, the short
  // ones fill the gaps at the end.
  const tileSlowest = tile.balanced && form.causal;
  return `${tile.prologue}
  let surplusIndex = group.y * params.gridWidth + group.x;
  let limit = select(0u, params.sequence, surplusIndex < params.workgroups);
  let index = min(surplusIndex, params.workgroups - 1u);
  ${
    tileSlowest
      ? `let perTile = params.workgroups / params.tiles;
  let tileIndex = index / perTile;
  let headIndex = index % perTile;`
      : `let tileIndex = index % params.tiles;
  let headIndex = index / params.tiles;`
  }
  let tileStart = ${lastFirst ? "(params.tiles - 1u - tileIndex)" : "tileIndex"} * ${tile.columns}u;
  let ownHead = headIndex % (${headCount});
  let batch = headIndex / (${headCount});
  let sequenceStart = (params.firstBatch + batch) * params.sequence;
  let qkvStart = params.qkvFirst + batch * params.sequence * params.qkvRow;
  let oStart = params.oFirst + batch * params.sequence * params.oRow;
  let kvHeads = params.heads / params.groups;
  let firstColumn = tileStart + ${tile.firstColumn};
  let columns = vec4<u32>(firstColumn, firstColumn + 1u, firstColumn + 2u, firstColumn + 3u);
  let columnTokens = min(columns, vec4<u32>(params.sequence - 1u));`;
}

/** Declares the bases of the invocation's four columns, `<name>0 … 3`. */
function columnBases(name: string, source: TokenRows): string {
  return repeat(4, (c) => `  let ${name}${c} = ${source.base(`columnTokens[${c}]`)};`);
}

/** A number per column, as `let name: vec4`. */
function columnNumbers(name: string, type: string, of: (token: string) => string): string {
  return `  let ${name} = vec4<${type}>(${range(4).map((c) => of(`columnTokens[${c}]`)).join(", ")});`;
}

/** Which of the invocation's scores count: row `i` against its columns. */
function visible(form: FlashForm, tile: TileForm, i: number, columnsAre: "queries" | "keys"): string {
  const row = `vec4<u32>(first + ${tile.row(i)})`;
  const tests = [`(${row} < vec4<u32>(params.sequence))`];
  // Columns past the end are not stored, but where keys are columns they would count for queries.
  if (columnsAre === "keys") tests.push("(columns < vec4<u32>(params.sequence))");
  if (form.causal) tests.push(columnsAre === "queries" ? `(${row} <= columns)` : `(columns <= ${row})`);
  if (form.window !== undefined) {
    const reach = `vec4<u32>(${form.window}u)`;
    tests.push(columnsAre === "queries" ? `(${row} + ${reach} > columns)` : `(columns + ${reach} > ${row})`);
  }
  if (form.segments) {
    tests.push(`(vec4<u32>(${tile.rowNumber("rowSegment", i)}) == columnSegments)`);
    tests.push(`(columnSegments != vec4<u32>(${PADDING_SEGMENT}u))`);
  }
  return tests.join(" & ");
}

/**
 * Replaces own scores `<name>i` that do not count by `hidden`. On GPUs only in tiles that have such scores:
 * those on the diagonal, and the last ones.
 */
function hideScores(
  form: FlashForm,
  tile: TileForm,
  name: string,
  hidden: string,
  columnsAre: "queries" | "keys",
): string {
  const lines = repeat(
    tile.ownRows,
    (i) =>
      `    ${name}${i} = select(vec4<f32>(${hidden}), ${name}${i}, ${visible(form, tile, i, columnsAre)});`,
  );
  if (!tile.balanced || form.segments) return lines;
  const ends = [`first + ${tile.rows}u > params.sequence`];
  if (columnsAre === "keys") ends.push(`tileStart + ${tile.columns}u > params.sequence`);
  if (form.causal) {
    ends.push(
      columnsAre === "queries"
        ? `first + ${tile.rows - 1}u > tileStart`
        : `tileStart + ${tile.columns - 1}u > first`,
    );
  }
  if (form.window !== undefined) {
    ends.push(
      columnsAre === "queries"
        ? `first + ${form.window}u < tileStart + ${tile.columns}u`
        : `tileStart + ${form.window}u < first + ${tile.rows}u`,
    );
  }
  return `    if (${ends.join(" || ")}) {\n${lines}\n    }`;
}

/** Where the walk over the keys begins: at the first tile that the window of the first query reaches. */
function firstKey({ window }: FlashForm, { rows }: TileForm): string {
  if (window === undefined) return "0u";
  return `(max(tileStart, ${window - 1}u) - ${window - 1}u) / ${rows}u * ${rows}u`;
}

/** The cap on scores `<name>i`, where there is one. */
function capScores({ scoreCap }: FlashForm, { ownRows }: TileForm, name: string): string {
  return scoreCap === undefined ? "" : repeat(ownRows, (i) => `    ${name}${i} = capped(${name}${i});`);
}

/**
 * Makes probabilities `s<i>` of products of queries and keys, and where scores are capped what keeps the
 * capped ones, `score<i>`, for the slope.
 */
function probabilities(form: FlashForm, tile: TileForm, logsumexp: (i: number) => string): string {
  return repeat(
    tile.ownRows,
    (i) =>
      form.scoreCap === undefined
        ? `    s${i} = exp(s${i} * params.softmaxScale - ${logsumexp(i)});`
        : `    let score${i} = capped(s${i} * params.softmaxScale);
    s${i} = exp(score${i} - ${logsumexp(i)});`,
  );
}

/** A gradient of a capped score, before the cap. */
function beforeCap({ scoreCap }: FlashForm, gradient: string, i: number): string {
  return scoreCap === undefined ? gradient : `uncapped(${gradient}, score${i})`;
}

function columnSegments({ segments }: FlashForm): string {
  return segments
    ? columnNumbers("columnSegments", "u32", (token) => `segments[sequenceStart + ${token}]`)
    : "";
}

function rowSegments({ segments }: FlashForm, tile: TileForm): string {
  return segments
    ? tile.rowNumbers("rowSegment", "u32", (token) => `segments[sequenceStart + ${token}]`)
    : "";
}

/**
 * Declares `keep<i>`, what dropout multiplies the own scores with; the groups of
 * random numbers are per query row.
 */
function keepScales(form: FlashForm, tile: TileForm, columnsAre: "queries" | "keys"): string {
  if (!form.dropout) return "";
  const words = (query: string, keyGroup: string) =>
    `dropoutScale(params.stream, dropoutStart + ${query}, params.sequence, ${keyGroup})`;
  const start =
    `    let dropoutStart = ((params.firstBatch + batch) * params.heads + head) * params.sequence;`;
  if (columnsAre === "keys") {
    const ofRow = (i: number) => `    let keep${i} = ${words(`first + ${tile.row(i)}`, "firstColumn / 4u")};`;
    return `${start}\n${repeat(tile.ownRows, ofRow)}`;
  }
  return `${start}\n${
    repeat(tile.ownRows / 4, (g) =>
      `${
        repeat(4, (c) =>
          `    let scales${g}_${c} = ${words(`columnTokens[${c}]`, `first / 4u + ${tile.fourRows(g)}`)};`)
      }
${
        repeat(4, (q) =>
          `    let keep${4 * g + q} = vec4<f32>(${
            range(4).map((c) => `scales${g}_${c}[${q}]`).join(", ")
          });`)
      }`)
  }`;
}

/** Stores the sums of the invocation's columns, times a factor, from element `start` on. */
function storeSums(
  tile: TileForm,
  sums: string,
  into: string,
  start: string,
  row: string,
  factor: string,
): string {
  const store = repeat(
    4,
    (c) =>
      `    if (columns[${c}] < limit) { store_${into}(${start} + columns[${c}] * params.${row}, d4, vec4<f32>(${
        range(4).map((q) => `value${q}[${c}]`).join(", ")
      }) * ${factor ? `${factor}[${c}]` : "1.0"}); }`,
  );
  return tile.eachSum(sums, "value", store);
}

const entry = (tile: TileForm, name: string) =>
  `@compute @workgroup_size(${tile.invocations})
fn ${name}(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {`;

/**
 * WGSL of flash attention's forward pass.
 *
 *   s[j] = τ · q · k[j]                logsumexp = max s + log Σ_j exp(s[j] − max s)
 *   o = Σ_j exp(s[j] − max s) · v[j] / Σ_j exp(s[j] − max s)
 *
 * Shapes    qkv: [N, (H+2K)·D].   o: [N, H·D].   logsumexp: [B, H, T].   segments: [B·T].
 * Dtypes    qkv, o: f32 or f16; everything between: f32.
 * Mapping   one workgroup per tile of queries (columns of the tile) and head; walks over the keys, rescaling
 *           the sums as the maximum grows. Causal: stops at the diagonal.
 * Limits    D ≤ 128 for speed: sums are D vectors per invocation. A query that sees no key gives zeros and a
 *           logsumexp of 1e30, with which every probability is zero again.
 * Source    Dao 2023, arXiv:2307.08691, algorithm 1. Checked against the f64
 *           reference, and against unfused attention.
 */
export function flashForwardCode(form: FlashForm, tile: TileForm): string {
  const q = tokenRows("qkv", "qStart", "qkvRow");
  const k = tokenRows("qkv", "kStart", "qkvRow");
  const v = tokenRows("qkv", "vStart", "qkvRow");
  const rows = range(tile.ownRows);
  return `${
    declarations(form, [
      ["qkv", loaded(form)],
      ["o", stored(form)],
      ["logsumexp", "f32"],
      ...(form.segments ? [["segments", "u32"] as const] : []),
    ], tile.declarations(FLASH_SUMS.flash_attention))
  }
${entry(tile, "flash_attention")}
${place(form, tile, "params.heads", form.causal)}
  let head = ownHead;
  let qStart = qkvStart + head * params.head;
  let kStart = qkvStart + (params.heads + head / params.groups) * params.head;
  let vStart = kStart + kvHeads * params.head;
${columnBases("queryColumns", q)}

${columnSegments(form)}
${tile.declareSums("sums")}
  var highest = vec4<f32>(${LOWEST});
  var total = vec4<f32>();
  let end = ${form.causal ? `min(params.sequence, tileStart + ${tile.columns}u)` : "params.sequence"};
  for (var first = ${firstKey(form, tile)}; first < end; first += ${tile.rows}u) {
${rowSegments(form, tile)}
${tile.product("s", k, { name: "queryColumns", source: q })}
${repeat(tile.ownRows, (i) => `    s${i} *= params.softmaxScale;`)}
${capScores(form, tile, "s")}
${hideScores(form, tile, "s", HIDDEN, "queries")}
    var tileHighest = ${pairwise(rows.map((i) => `s${i}`), (a, b) => `max(${a}, ${b})`)};
${tile.overRows("tileHighest", "tileHighest", (a, b) => `max(${a}, ${b})`)}
    let higher = max(highest, tileHighest);
    let factor = exp(highest - higher);
    highest = higher;
${repeat(tile.ownRows, (i) => `    let p${i} = exp(s${i} - higher);`)}
    total = total * factor + (${pairwise(rows.map((i) => `p${i}`), (a, b) => `(${a} + ${b})`)});
${keepScales(form, tile, "queries")}
${form.dropout ? repeat(tile.ownRows, (i) => `    let w${i} = p${i} * keep${i};`) : ""}
${tile.accumulate("sums", (i) => form.dropout ? `w${i}` : `p${i}`, v, "factor")}
  }
${tile.overRows("total", "total", (a, b) => `${a} + ${b}`)}
  let empty = highest == vec4<f32>(${LOWEST});
  let inverse = select(vec4<f32>(1.0) / total, vec4<f32>(), empty);
${storeSums(tile, "sums", "o", "oStart + head * params.head", "oRow", "inverse")}
  if (${tile.speaks}) {
    let row = ((params.firstBatch + batch) * params.heads + head) * params.sequence;
    let value = select(highest + log(total), vec4<f32>(1e30), empty);
${repeat(4, (c) => `    if (columns[${c}] < limit) { logsumexp[row + columns[${c}]] = value[${c}]; }`)}
  }
}
`;
}

/**
 * WGSL of `D`, what the softmax subtracts from the gradient of every probability of a row.
 *
 *   D[b,h,t] = Σ_d dO[b,t,h,d] · o[b,t,h,d]
 *
 * Shapes    o, dO: [N, H·D].   D: [B, H, T].
 * Dtypes    o, dO: f32 or f16; the sum: f32.
 * Mapping   one invocation per (b, h, t).
 * Source    Dao 2023, arXiv:2307.08691, algorithm 2, line 4.
 */
export function flashRowDotCode(form: FlashForm): string {
  return `${declarations(form, [["o", loaded(form)], ["dO", loaded(form)], ["rowDot", "f32"]])}
@compute @workgroup_size(64)
fn flash_attention_row_dot(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let row = (group.y * params.gridWidth + group.x) * 64u + lane;
  if (row >= params.tiles) { return; } // here: the number of rows
  let head = (row / params.sequence) % params.heads;
  let batch = row / (params.sequence * params.heads);
  let token = batch * params.sequence + row % params.sequence;
  let base = params.oFirst + token * params.oRow + head * params.head;
  var total = vec4<f32>();
  for (var d4 = 0u; d4 < ${
    Math.ceil(form.headSize / 4)
  }u; d4++) { total += load_dO(base, d4) * load_o(base, d4); }
  rowDot[params.firstBatch * params.heads * params.sequence + row] = (total.x + total.y) + (total.z + total.w);
}
`;
}

/** Bindings of both gradient kernels. */
function gradientBindings(form: FlashForm): Bound[] {
  return [
    ["qkv", loaded(form)],
    ["dO", loaded(form)],
    ["logsumexp", "f32"],
    ["rowDot", "f32"],
    ["dqkv", stored(form)],
    ...(form.segments ? [["segments", "u32"] as const] : []),
  ];
}

/**
 * WGSL of the gradient of the queries.
 *
 *   p[j] = exp(τ · q · k[j] − logsumexp)                ds[j] = p[j] · (keep[j] · dO · v[j] − D)
 *   dq = τ · Σ_j ds[j] · k[j]
 *
 * Shapes    qkv, dqkv: [N, (H+2K)·D], of dqkv the columns of q.   dO: [N, H·D].   logsumexp, D: [B, H, T].
 * Dtypes    qkv, dO, dqkv: f32 or f16; everything between: f32.
 * Mapping   one workgroup per tile of queries and head; walks over the keys. No other
 *           workgroup adds to its rows, which is why scores are made twice: WGSL has
 *           no atomics on floats, and their order would differ from run to run.
 * Limits    as the forward pass.
 * Source    Dao 2023, arXiv:2307.08691, algorithm 2, split in two. Checked against the f64 reference.
 */
export function flashQueryGradCode(form: FlashForm, tile: TileForm): string {
  const q = tokenRows("qkv", "qStart", "qkvRow");
  const k = tokenRows("qkv", "kStart", "qkvRow");
  const v = tokenRows("qkv", "vStart", "qkvRow");
  const dO = tokenRows("dO", "dOStart", "oRow");
  const keep = (i: number) => form.dropout ? ` * keep${i}` : "";
  return `${declarations(form, gradientBindings(form), tile.declarations(FLASH_SUMS.flash_attention_dq))}
${entry(tile, "flash_attention_dq")}
${place(form, tile, "params.heads", form.causal)}
  let head = ownHead;
  let qStart = qkvStart + head * params.head;
  let kStart = qkvStart + (params.heads + head / params.groups) * params.head;
  let vStart = kStart + kvHeads * params.head;
  let dOStart = oStart + head * params.head;
  let rowStart = ((params.firstBatch + batch) * params.heads + head) * params.sequence;
${columnBases("queryColumns", q)}

${columnBases("gradColumns", dO)}
${columnSegments(form)}
${columnNumbers("columnLogsumexp", "f32", (token) => `logsumexp[rowStart + ${token}]`)}
${columnNumbers("columnDot", "f32", (token) => `rowDot[rowStart + ${token}]`)}
${tile.declareSums("sums")}
  let end = ${form.causal ? `min(params.sequence, tileStart + ${tile.columns}u)` : "params.sequence"};
  for (var first = ${firstKey(form, tile)}; first < end; first += ${tile.rows}u) {
${rowSegments(form, tile)}
${tile.product("s", k, { name: "queryColumns", source: q })}
${probabilities(form, tile, () => "columnLogsumexp")}
${hideScores(form, tile, "s", "0.0", "queries")}
${repeat(tile.ownRows, (i) => tile.hold("p", i, `s${i}`))}
${tile.product("g", v, { name: "gradColumns", source: dO })}
${keepScales(form, tile, "queries")}
${
    repeat(tile.ownRows, (i) =>
      `    let w${i} = ${beforeCap(form, `${tile.held("p", i)} * (g${i}${keep(i)} - columnDot)`, i)};`)
  }
${tile.accumulate("sums", (i) => `w${i}`, k)}
  }
  let scale = vec4<f32>(params.softmaxScale);
${
    storeSums(
      tile,
      "sums",
      "dqkv",
      "params.dqkvFirst + batch * params.sequence * params.qkvRow + head * params.head",
      "qkvRow",
      "scale",
    )
  }
}
`;
}

/**
 * WGSL of the gradients of keys and values.
 *
 *   dv = Σ_i keep[i] · p[i] · dO[i]        dk = τ · Σ_i ds[i] · q[i]        with p and ds as for the queries
 *
 * Shapes    qkv, dqkv: [N, (H+2K)·D], of dqkv the columns of k and v.   dO: [N,
 *           H·D].   logsumexp, D: [B, H, T].
 * Dtypes    qkv, dO, dqkv: f32 or f16; everything between: f32.
 * Mapping   one workgroup per tile of keys (columns of the tile) and key/value head; walks over the query
 *           heads of its group and over their queries, both in order. Causal: starts at the diagonal.
 * Limits    as the forward pass; twice its sums.
 * Source    Dao 2023, arXiv:2307.08691, algorithm 2, split in two. Checked against the f64 reference.
 */
export function flashKeyValueGradCode(form: FlashForm, tile: TileForm): string {
  return `${declarations(form, gradientBindings(form), tile.declarations(FLASH_SUMS.flash_attention_dkv))}
${entry(tile, "flash_attention_dkv")}
${place(form, tile, "params.heads / params.groups", false)}
${keyColumns(form)}
${tile.declareSums("keySums")}
${tile.declareSums("valueSums")}
${overQueries(form, tile, keyValueStep(form, tile))}
${storeKeyValueSums(tile)}
}
`;
}

/** Declares the bases and segments of columns that are keys. */
function keyColumns(form: FlashForm): string {
  const k = tokenRows("qkv", "kStart", "qkvRow");
  return `  let kStart = qkvStart + (params.heads + ownHead) * params.head;
  let vStart = kStart + kvHeads * params.head;
${columnBases("keyColumns", k)}

${columnBases("valueColumns", tokenRows("qkv", "vStart", "qkvRow"))}
${columnSegments(form)}`;
}

/**
 * Runs `step` for every tile of queries that see keys of the tile at `tileStart`,
 * of every query head of the group.
 */
function overQueries(form: FlashForm, tile: TileForm, step: string): string {
  return `  let start = ${form.causal ? `tileStart / ${tile.rows}u * ${tile.rows}u` : "0u"};
  for (var inGroup = 0u; inGroup < params.groups; inGroup++) {
  let head = ownHead * params.groups + inGroup;
  let qStart = qkvStart + head * params.head;
  let dOStart = oStart + head * params.head;
  let rowStart = ((params.firstBatch + batch) * params.heads + head) * params.sequence;
  for (var first = start; first < ${
    form.window === undefined
      ? "params.sequence"
      : `min(params.sequence, tileStart + ${tile.columns + form.window - 1}u)`
  }; first += ${tile.rows}u) {
${step}
  }
  }`;
}

/**
 * One tile of queries: adds to `keySums` and `valueSums`, and leaves the gradients of the scores in `w<i>`.
 */
function keyValueStep(form: FlashForm, tile: TileForm): string {
  const q = tokenRows("qkv", "qStart", "qkvRow");
  const k = tokenRows("qkv", "kStart", "qkvRow");
  const v = tokenRows("qkv", "vStart", "qkvRow");
  const dO = tokenRows("dO", "dOStart", "oRow");
  const keep = (i: number) => form.dropout ? ` * keep${i}` : "";
  return `${rowSegments(form, tile)}
${tile.rowNumbers("rowLogsumexp", "f32", (token) => `logsumexp[rowStart + ${token}]`)}
${tile.rowNumbers("dot", "f32", (token) => `rowDot[rowStart + ${token}]`)}
${tile.product("s", q, { name: "keyColumns", source: k })}
${probabilities(form, tile, (i) => tile.rowNumber("rowLogsumexp", i))}
${hideScores(form, tile, "s", "0.0", "keys")}
${keepScales(form, tile, "keys")}
${form.dropout ? repeat(tile.ownRows, (i) => `    let kept${i} = s${i} * keep${i};`) : ""}
${tile.accumulate("valueSums", (i) => form.dropout ? `kept${i}` : `s${i}`, dO)}
${tile.product("g", dO, { name: "valueColumns", source: v })}
${
    repeat(tile.ownRows, (i) => {
      const p = form.dropout ? `s${i}` : tile.held("s", i);
      const gradient = `${p} * (g${i}${keep(i)} - ${tile.rowNumber("dot", i)})`;
      return `    let w${i} = ${beforeCap(form, gradient, i)};`;
    })
  }
${tile.accumulate("keySums", (i) => `w${i}`, q)}`;
}

function storeKeyValueSums(tile: TileForm): string {
  const store = (sums: string, factor: string, offset: string) =>
    storeSums(
      tile,
      sums,
      "dqkv",
      `params.dqkvFirst + batch * params.sequence * params.qkvRow + (${offset}) * params.head`,
      "qkvRow",
      factor,
    );
  return `  let keyScale = vec4<f32>(params.softmaxScale);
${store("keySums", "keyScale", "params.heads + ownHead")}
${store("valueSums", "", "params.heads + kvHeads + ownHead")}`;
}

/** Combines terms as a balanced tree: short dependency chains, and smaller rounding errors in sums. */
function pairwise(terms: readonly string[], combine: (a: string, b: string) => string): string {
  if (terms.length === 1) return terms[0];
  const half = Math.ceil(terms.length / 2);
  return combine(pairwise(terms.slice(0, half), combine), pairwise(terms.slice(half), combine));
}
