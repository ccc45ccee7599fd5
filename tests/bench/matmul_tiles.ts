// Every tile that a product may take, timed: TFLOP/s, fastest first, at the shapes of GPT-2 (124 M and
// medium). On GPUs the clock chooses among these; the rules of kernels/matmul/tiles.ts come from this table.
// Usage: deno run -A tests/bench/matmul_tiles.ts [REGEX of shapes [REGEX of tiles]]
import { GraphBuilder } from "../../engine/graph/builder.ts";
import type { Dispatch } from "../../engine/graph/launch.ts";
import { elementCount, type Value } from "../../engine/graph/types.ts";
import { type Plan, planGraphs } from "../../engine/plan/plan.ts";
import { openGpu } from "../../engine/runtime/device.ts";
import type { Gpu } from "../../engine/runtime/gpu.ts";
import { PipelineCache } from "../../engine/runtime/pipelines.ts";
import { idleAt } from "../../engine/runtime/readback.ts";
import { Session } from "../../engine/runtime/session.ts";
import { pack } from "../support/check_op.ts";
import { matmulProbe } from "../support/matmul_probe.ts";
import { seededNumbers } from "../support/seeded.ts";
import { tuneLavapipe } from "../../engine/runtime/lavapipe/environment.ts";

tuneLavapipe();

type Form = "nn" | "nt" | "tn";
/** m, n, k and batches of C = A · B, how A and B are stored (t: transposed), and their type. */
type Shape = [Form, number, number, number, number?, ("f32" | "f16")?];

const SHAPES: readonly Shape[] = [
  ["nn", 4096, 4096, 4096],
  ["nn", 4096, 4096, 4096, 1, "f16"],
  // GPT-2, 4096 tokens: forward, by input, by weight; the head in chunks of 256 rows.
  ["nn", 4096, 3072, 768],
  ["nn", 4096, 3072, 768, 1, "f16"],
  ["nn", 4096, 768, 768],
  ["nt", 4096, 768, 3072],
  ["tn", 768, 3072, 4096],
  ["tn", 768, 768, 4096],
  ["nt", 256, 50260, 768],
  ["nn", 256, 768, 4188, 12],
  ["tn", 50260, 768, 256],
  // GPT-2 medium, 512 tokens.
  ["nn", 512, 1024, 1024],
  ["nn", 512, 4096, 1024],
  ["nt", 512, 1024, 4096],
  ["tn", 1024, 4096, 512],
  ["tn", 1024, 1024, 512],
  // Heads of attention.
  ["nt", 1024, 1024, 64, 48],
  ["nn", 1024, 64, 1024, 48],
  ["tn", 1024, 64, 1024, 48],
];

/**
 * Milliseconds of one sample, rounds of which all tiles take turns in, and those at first that do not count.
 */
const SAMPLE_MS = 8;
const ROUNDS = 4;
const WARM_UP = 1;

interface Contender {
  tile: string;
  session: Session;
  repeats: number;
  samples: number[];
}

async function run(gpu: Gpu, { session, repeats }: Contender): Promise<number> {
  const commands = session.encode(Array(repeats).fill(0));
  const started = performance.now();
  session.submit(commands);
  return (await idleAt(gpu) - started) / repeats;
}

/**
 * Medians by tile, ms. All are compiled before the first is timed: a GPU that
 * waits for compilers lowers its clock.
 */
async function timeTiles(gpu: Gpu, [form, m, n, k, batch = 1, dtype = "f32"]: Shape, tiles: RegExp) {
  const [aTransposed, bTransposed] = [form[0] === "t", form[1] === "t"];
  const builder = new GraphBuilder();
  const operand = (name: string, shape: number[]) =>
    builder.persistents.declare(name, { shape: [batch, ...shape], dtype }, "inputs");
  const a = operand("a", aTransposed ? [k, m] : [m, k]);
  const b = operand("b", bTransposed ? [n, k] : [k, n]);
  builder.call(matmulProbe, [a, b], {
    m,
    n,
    k,
    batch: [batch],
    a: { ld: aTransposed ? m : k, transposed: aTransposed, strides: [m * k] },
    b: { ld: bTransposed ? k : n, transposed: bTransposed, strides: [n * k] },
    c: { ld: n, strides: [m * n] },
    output: { shape: [batch, m, n], dtype },
  });
  const plan = planGraphs([builder.finish("product", [])], builder.persistents.all(), gpu.kernels);
  const launches = plan.programs[0].commands as Dispatch[];
  // A product past the binding limit has several launches; one whose operands lie
  // in the scratch texture has no choice.
  const names = launches[0].choice?.names ?? [];
  const numbers = [a, b].map((value, i) => pack(seededNumbers(elementCount(value), i + 1), dtype));
  const pipelines = new PipelineCache(gpu);
  const contenders: Contender[] = [];
  try {
    for (const tile of names.filter((name) => tiles.test(name))) {
      const commands = launches.map((launch) => launch.choice!.use(tile));
      const other: Plan = { ...plan, programs: [{ ...plan.programs[0], commands }] };
      const session = await Session.open(gpu, other, { pipelines });
      [a, b].forEach((value: Value, i) => session.write(value, numbers[i]));
      contenders.push({ tile, session, repeats: 2, samples: [] });
    }
    for (const contender of contenders) {
      const ms = await run(gpu, contender);
      contender.repeats = Math.max(1, Math.min(200, Math.round(SAMPLE_MS / ms)));
    }
    for (let round = 0; round < ROUNDS; round++) {
      for (const contender of contenders) contender.samples.push(await run(gpu, contender));
    }
    return {
      rule: launches[0].choice?.chosen ?? "none to choose from",
      times: contenders.map(({ tile, samples }) => {
        const counted = samples.slice(WARM_UP).sort((x, y) => x - y);
        return { tile, ms: counted[counted.length >> 1] };
      }).sort((x, y) => x.ms - y.ms),
    };
  } finally {
    contenders.forEach(({ session }) => session.close());
  }
}

const [shapes, tiles] = [0, 1].map((i) => new RegExp(Deno.args[i] ?? ""));
const gpu = await openGpu({ autotune: "off" });
console.log(`${gpu.adapter.name}, ${gpu.adapter.providerVersion}: TFLOP/s, ms`);
for (const shape of SHAPES) {
  const [form, m, n, k, batch = 1, dtype = "f32"] = shape;
  const name = `${form} ${m}×${n}×${k}${batch > 1 ? ` × ${batch}` : ""} ${dtype}`;
  if (!shapes.test(name) || (dtype === "f16" && !gpu.kernels.target.shaderF16)) continue;
  const { rule, times } = await timeTiles(gpu, shape, tiles);
  console.log(`${name}, by rule ${rule}`);
  for (const { tile, ms } of times) {
    const rate = 2 * m * n * k * batch / ms / 1e9;
    console.log(`  ${rate.toFixed(2).padStart(7)} ${ms.toFixed(3).padStart(8)}  ${tile}`);
  }
}
gpu.device.destroy();
