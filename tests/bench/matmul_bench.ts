// GFLOP/s of the matrix product at the shapes of small transformers, beside a naive kernel.
// Columns: by wall time; by processor time of this process over all cores, which a busy machine distorts less
// (software adapters only); milliseconds of the first run, which compiles.
// Usage: deno run -A tests/bench/matmul_bench.ts [--seconds 2] [--rows TILE_ROWS] [--workgroup] [--no-texels]
//        [--f16] [--naive] [FILTER]
import process from "node:process";
import { GraphBuilder } from "../../engine/graph/builder.ts";
import { u32, whole } from "../../engine/graph/launch.ts";
import { defineOp } from "../../kernels/define_op.ts";
import type { OpDefinition } from "../../engine/graph/op.ts";
import { elementCount } from "../../engine/graph/types.ts";
import { planGraphs } from "../../engine/plan/plan.ts";
import type { Gpu } from "../../engine/runtime/gpu.ts";
import { openGpu } from "../../engine/runtime/device.ts";
import { PipelineCache } from "../../engine/runtime/pipelines.ts";
import { Session } from "../../engine/runtime/session.ts";
import { matmulProbe, type ProbeAttrs } from "../support/matmul_probe.ts";
import { pack } from "../support/check_op.ts";
import { seededNumbers } from "../support/seeded.ts";
import { tuneLavapipe } from "../../engine/runtime/lavapipe/environment.ts";
import { changed } from "../support/kernel_changes.ts";

tuneLavapipe();

interface Shape {
  name: string;
  attrs: ProbeAttrs;
  inputs: number[][];
}

/** An unbatched product of packed operands. */
function plain(m: number, n: number, k: number, form: "nn" | "nt" | "tn"): Shape {
  const [ta, tb] = [form[0] === "t", form[1] === "t"];
  return {
    name: `${form} ${m}×${n}×${k}`,
    inputs: [ta ? [k, m] : [m, k], tb ? [n, k] : [k, n]],
    attrs: {
      m,
      n,
      k,
      a: { ld: ta ? m : k, transposed: ta },
      b: { ld: tb ? k : n, transposed: tb },
      c: { ld: n },
      output: { shape: [m, n], dtype: "f32" },
    },
  };
}

/** Attention over 4 × 4 heads, interleaved in [B, T, C]: scores (nt), values (nn) or their gradients (tn). */
function heads(T: number, D: number, form: "nn" | "nt" | "tn"): Shape {
  const [B, H] = [4, 4];
  const C = H * D;
  const rows = { ld: C, strides: [T * C, D] };
  const scores = { ld: T, strides: [H * T * T, T * T] };
  const [wide, square] = [[B, T, C], [B, H, T, T]];
  const operands = form === "nt"
    ? {
      m: T,
      n: T,
      k: D,
      a: rows,
      b: { ...rows, transposed: true },
      c: scores,
      inputs: [wide, wide],
      output: square,
    }
    : {
      m: T,
      n: D,
      k: T,
      a: { ...scores, transposed: form === "tn" },
      b: rows,
      c: rows,
      inputs: [square, wide],
      output: wide,
    };
  const { inputs, output, ...product } = operands;
  return {
    name: `${form} 16 heads ${product.m}×${product.n}×${product.k}`,
    inputs,
    attrs: { ...product, batch: [B, H], output: { shape: output, dtype: "f32" } },
  };
}

const SHAPES = [
  plain(512, 512, 512, "nn"),
  plain(512, 128, 512, "nn"),
  plain(512, 512, 128, "nn"),
  plain(512, 512, 128, "nt"),
  plain(512, 384, 1536, "nn"),
  plain(512, 384, 1536, "nt"),
  plain(128, 512, 512, "tn"),
  plain(128, 128, 512, "tn"),
  plain(384, 1536, 512, "tn"),
  plain(512, 8192, 384, "nn"),
  plain(512, 8192, 384, "nt"),
  plain(8192, 384, 512, "tn"),
  heads(128, 32, "nt"),
  heads(128, 32, "nn"),
  heads(128, 32, "tn"),
  heads(64, 64, "nt"),
];

/** One output per invocation, operands read element by element: what the tiles are compared with. */
const naive: OpDefinition<ProbeAttrs> = defineOp<ProbeAttrs>({
  ...matmulProbe,
  name: "matmul_naive",
  lower: ({ inputs: [a, b], outputs: [c], attrs: { m, n, k, a: aPlace, b: bPlace } }) => [{
    kernel: {
      name: "matmul_naive",
      entryPoint: "main",
      writes: [2],
      code: `@group(0) @binding(0) var<storage, read_write> a: array<f32>;
@group(0) @binding(1) var<storage, read_write> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> c: array<f32>;
struct Params { m: u32, n: u32, k: u32, aRow: u32, aColumn: u32, bRow: u32, bColumn: u32 }
@group(1) @binding(0) var<uniform> params: Params;
@compute @workgroup_size(8, 8) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x >= params.n || id.y >= params.m) { return; }
  var sum = 0.0;
  for (var k = 0u; k < params.k; k++) {
    sum += a[id.y * params.aRow + k * params.aColumn] * b[k * params.bRow + id.x * params.bColumn];
  }
  c[id.y * params.n + id.x] = sum;
}`,
    },
    bindings: [a, b, c].map(whole),
    params: [
      m,
      n,
      k,
      ...(aPlace.transposed ? [1, aPlace.ld] : [aPlace.ld, 1]),
      ...(bPlace.transposed ? [1, bPlace.ld] : [bPlace.ld, 1]),
    ].map(u32),
    workgroups: [Math.ceil(n / 8), Math.ceil(m / 8), 1],
  }],
});

/** Milliseconds of one product, by wall time and by processor time spread over all cores. */
interface Sample {
  ms: number;
  cpuMs: number;
}

/** Medians over `seconds`, and milliseconds of the first run, which compiles. */
async function measure(
  gpu: Gpu,
  pipelines: PipelineCache,
  op: OpDefinition<ProbeAttrs>,
  { attrs, inputs }: Shape,
  seconds: number,
): Promise<Sample & { firstMs: number }> {
  const copies = 8;
  const builder = new GraphBuilder();
  const values = inputs.map((shape, i) =>
    builder.persistents.declare(`input${i}`, { shape, dtype: f16 ? "f16" : "f32" }, "inputs")
  );
  for (let i = 0; i < copies; i++) builder.call(op, values, attrs);
  const plan = planGraphs([builder.finish("bench", [])], builder.persistents.all(), gpu.kernels);
  const session = await Session.open(gpu, plan, { pipelines });
  try {
    values.forEach((value, i) =>
      session.write(value, pack(seededNumbers(elementCount(value), i + 1), value.dtype))
    );
    const once = async (repeats: number): Promise<Sample> => {
      const [start, cpu] = [performance.now(), process.cpuUsage()];
      session.submit(session.encode(Array(repeats).fill(0)));
      // The call itself waits for the queue in Deno; awaiting the promise costs 10 ms more.
      const done = gpu.device.queue.onSubmittedWorkDone();
      const [ms, { user, system }] = [performance.now() - start, process.cpuUsage(cpu)];
      await done;
      const cpuMs = (user + system) / 1000 / navigator.hardwareConcurrency;
      return { ms: ms / (repeats * copies), cpuMs: cpuMs / (repeats * copies) };
    };
    const firstMs = (await once(1)).ms * copies;
    const repeats = Math.max(1, Math.round(100 / ((await once(1)).ms * copies)));
    const samples: Sample[] = [];
    for (const start = performance.now(); performance.now() - start < 1000 * seconds;) {
      samples.push(await once(repeats));
    }
    const median = (field: keyof Sample) =>
      samples.map((x) => x[field]).sort((x, y) => x - y)[samples.length >> 1];
    return { ms: median("ms"), cpuMs: median("cpuMs"), firstMs };
  } finally {
    session.close();
  }
}

const flags = [...Deno.args];
const option = (name: string) => {
  const at = flags.indexOf(name);
  return at < 0 ? undefined : Number(flags.splice(at, 2)[1]);
};
const toggle = (name: string) => flags.includes(name) && flags.splice(flags.indexOf(name), 1).length > 0;
const seconds = option("--seconds") ?? 2;
const tileRows = option("--rows");
const [workgroup, withNaive] = [toggle("--workgroup"), toggle("--naive")];
const [noTexels, f16] = [toggle("--no-texels"), toggle("--f16")];
const opened = await openGpu();
const gpu: Gpu = {
  ...opened,
  kernels: changed(opened.kernels, {
    ...(workgroup ? { kind: "gpu", subgroupSize: 0 } : {}),
    ...(noTexels ? { scratchBytes: 0 } : {}),
  }),
};
const pipelines = new PipelineCache(gpu);
console.log(`${gpu.adapter.name}, GFLOP/s (median over ${seconds} s), first run in ms`);
for (const shape of SHAPES) {
  if (flags.length && !flags.some((flag) => shape.name.includes(flag))) continue;
  const { m, n, k, batch = [] } = shape.attrs;
  const flops = 2 * m * n * k * batch.reduce((product, extent) => product * extent, 1);
  const tiled = await measure(
    gpu,
    pipelines,
    matmulProbe,
    { ...shape, attrs: { ...shape.attrs, tileRows } },
    seconds,
  );
  const rates = ({ ms, cpuMs }: Sample) =>
    [ms, cpuMs].map((x) => (flops / x / 1e6).toFixed(1).padStart(7)).join("");
  let line = `${shape.name.padEnd(28)}${rates(tiled)}${tiled.firstMs.toFixed(0).padStart(7)}`;
  if (withNaive && !batch.length) {
    line += `   naive${rates(await measure(gpu, pipelines, naive, shape, seconds / 2))}`;
  }
  console.log(line);
}
