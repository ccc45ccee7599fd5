// The kernels of flash attention in every shape of workgroup that kernels/flash/workgroup.ts chooses from,
// timed: TFLOP/s and ms of one layer as wide as GPT-2 (124 M), fastest first.
// Usage: deno run -A tests/bench/flash_attention_shapes.ts [BATCHxTOKENS [HEAD_SIZE]]
import { GraphBuilder } from "../../engine/graph/builder.ts";
import type { Dispatch } from "../../engine/graph/launch.ts";
import { elementCount } from "../../engine/graph/types.ts";
import { planGraphs } from "../../engine/plan/plan.ts";
import { openGpu } from "../../engine/runtime/device.ts";
import { PipelineCache } from "../../engine/runtime/pipelines.ts";
import { idleAt } from "../../engine/runtime/readback.ts";
import { Session } from "../../engine/runtime/session.ts";
import { flashAttention, flashAttentionGrad } from "../../kernels/flash_attention.ts";
import {
  FLASH_SUMS,
  type FlashForm,
  flashForwardCode,
  flashKeyValueGradCode,
  flashQueryGradCode,
} from "../../kernels/flash/text.ts";
import { type WorkgroupShape, workgroupShapes, workgroupTile } from "../../kernels/flash/workgroup.ts";
import { pack } from "../support/check_op.ts";
import { seededNumbers } from "../support/seeded.ts";
import { tuneLavapipe } from "../../engine/runtime/lavapipe/environment.ts";
import { kernelsFor } from "../../kernels/kernel_sets.ts";

tuneLavapipe();

const CODES = {
  flash_attention: flashForwardCode,
  flash_attention_dq: flashQueryGradCode,
  flash_attention_dkv: flashKeyValueGradCode,
};
const SHAPES: WorkgroupShape[] = [{ rows: 64, down: 8 }, { rows: 64, down: 16 }, { rows: 32, down: 8 }];
/** Milliseconds of one sample, and the rounds of samples that the shapes take turns in. */
const SAMPLE_MS = 50;
const ROUNDS = 5;

const [batch, sequence] = (Deno.args[0] ?? "4x1024").split("x").map(Number);
const headSize = Number(Deno.args[1] ?? 64);
const heads = Math.max(1, Math.round(768 / headSize));
const attrs = {
  batch,
  heads,
  kvHeads: heads,
  sequence,
  headSize,
  causal: true,
  softmaxScale: 1 / Math.sqrt(headSize),
  segments: false,
  dropout: null,
};

const gpu = await openGpu({ autotune: "off" });
const { target } = gpu.kernels;
const kernels = kernelsFor("gpu", target);
const dtype = target.shaderF16 ? "f16" : "f32";
const form: FlashForm = { ...attrs, dtype, halvesAsWords: true, copied: { names: [], wgsl: "" } };
const pipelines = new PipelineCache(gpu);

const builder = new GraphBuilder();
const input = (name: string, columns: number) =>
  builder.persistents.declare(name, { shape: [batch * sequence, columns], dtype }, "inputs");
const qkv = input("qkv", 3 * heads * headSize);
const dO = input("dO", heads * headSize);
const [o, logsumexp] = builder.call(flashAttention, [qkv], attrs);
const [dqkv] = builder.call(flashAttentionGrad, [qkv, o, logsumexp, dO], attrs);
const graph = builder.finish("attention", [o, logsumexp, dqkv]);
const plan = planGraphs([graph], builder.persistents.all(), kernels);
const numbers = [qkv, dO].map((value, i) => pack(seededNumbers(elementCount(value), i + 1), dtype));

/**
 * A session of two programs, all commands and one: the first has run, so that the other finds what it reads.
 */
async function open(launch: Dispatch) {
  const programs = [plan.programs[0], { ...plan.programs[0], commands: [launch] }];
  const session = await Session.open(gpu, { ...plan, programs }, { pipelines });
  [qkv, dO].forEach((value, i) => session.write(value, numbers[i]));
  await session.run(0);
  return session;
}

async function msOfEach(session: Session, repeats: number): Promise<number> {
  const encoded = session.encode(Array(repeats).fill(1));
  const started = performance.now();
  session.submit(encoded);
  return (await idleAt(gpu) - started) / repeats;
}

console.log(
  `${gpu.adapter.name}, ${gpu.adapter.providerVersion}: ${batch} × ${sequence} tokens, ${heads} heads of ${headSize}, ${dtype}`,
);
for (const command of plan.programs[0].commands as Dispatch[]) {
  const name = command.kernel.name as keyof typeof CODES;
  if (!(name in CODES)) continue;
  const contenders = [];
  for (const shape of SHAPES) {
    const tile = workgroupTile(headSize, shape);
    if (
      tile.invocations > target.maxComputeInvocationsPerWorkgroup ||
      tile.workgroupBytes(FLASH_SUMS[name].length) > target.maxComputeWorkgroupStorageSize
    ) continue;
    // Nothing but the text differs: all shapes have tiles of 64 columns.
    const kernel = { ...command.kernel, code: CODES[name](form, tile) };
    const session = await open({ ...command, kernel });
    await msOfEach(session, 1);
    const repeats = Math.max(1, Math.min(200, Math.round(SAMPLE_MS / await msOfEach(session, 1))));
    contenders.push({ ...shape, session, repeats, samples: [] as number[] });
  }
  for (let round = 0; round < ROUNDS; round++) {
    for (const { session, repeats, samples } of contenders) samples.push(await msOfEach(session, repeats));
  }
  const [rule] = workgroupShapes(headSize, FLASH_SUMS[name].length);
  console.log(`${name}, by rule ${rule.rows} rows, ${rule.down} down`);
  const times = contenders.map(({ rows, down, session, samples }) => {
    session.close();
    return { rows, down, ms: samples.sort((x, y) => x - y)[ROUNDS >> 1] };
  });
  for (const { rows, down, ms } of times.sort((x, y) => x.ms - y.ms)) {
    const rate = command.flops! / ms / 1e9;
    console.log(`  ${rate.toFixed(2).padStart(7)} ${ms.toFixed(3).padStart(8)}  ${rows} rows, ${down} down`);
  }
}
gpu.device.destroy();
