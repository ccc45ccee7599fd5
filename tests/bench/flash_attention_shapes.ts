// Every shape of workgroup that the kernels of flash attention may take, timed: TFLOP/s and ms of one layer, fastest first, and
// how far its results are from those of the first shape. The rules of kernels/flash_attention_workgroup.ts come from it.
// Usage: deno run -A tests/bench/flash_attention_shapes.ts [BATCHxTOKENS [HEAD_SIZE [REGEX of shapes]]]
import { GraphBuilder } from "../../engine/graph/builder.ts";
import type { Command, Dispatch } from "../../engine/graph/op.ts";
import { elementCount, type Value } from "../../engine/graph/types.ts";
import { planGraphs } from "../../engine/plan/plan.ts";
import { openGpu } from "../../engine/runtime/device.ts";
import { PipelineCache } from "../../engine/runtime/pipelines.ts";
import { idleAt } from "../../engine/runtime/readback.ts";
import { Session } from "../../engine/runtime/session.ts";
import { flashAttention, flashAttentionGrad } from "../../kernels/flash_attention.ts";
import {
  flashForwardCode,
  flashKeyValueGradCode,
  flashQueryGradCode,
} from "../../kernels/flash_attention_code.ts";
import { workgroupShapes, workgroupTile } from "../../kernels/flash_attention_workgroup.ts";
import { pack, unpack } from "../support/check_op.ts";
import { seededNumbers } from "../support/seeded.ts";

const KERNELS = {
  flash_attention: flashForwardCode,
  flash_attention_dq: flashQueryGradCode,
  flash_attention_dkv: flashKeyValueGradCode,
};

/** Milliseconds of one sample, rounds of which all shapes take turns in, and those at first that do not count. */
const SAMPLE_MS = 8;
const ROUNDS = 5;
const WARM_UP = 1;

interface Contender {
  name: string;
  difference: number;
  session: Session;
  repeats: number;
  samples: number[];
}

const [batch, tokens] = (Deno.args[0] ?? "4x1024").split("x").map(Number);
const headSize = Number(Deno.args[1] ?? 64);
const chosen = new RegExp(Deno.args[2] ?? "");

const gpu = await openGpu({ autotune: "off" });
const target = { ...gpu.target, software: false, subgroupSize: 0 };
const dtype = target.shaderF16 ? "f16" : "f32";
const heads = Math.max(1, Math.round(768 / headSize));
const attrs = {
  batch,
  heads,
  kvHeads: heads,
  sequence: tokens,
  headSize,
  causal: true,
  softmaxScale: 1 / Math.sqrt(headSize),
  segments: false,
  dropout: null,
};
const builder = new GraphBuilder();
const qkv = builder.persistents.declare(
  "qkv",
  { shape: [batch * tokens, 3 * heads * headSize], dtype },
  "inputs",
);
const dO = builder.persistents.declare("dO", { shape: [batch * tokens, heads * headSize], dtype }, "inputs");
const [o, logsumexp] = builder.call(flashAttention, [qkv], attrs);
const [dqkv] = builder.call(flashAttentionGrad, [qkv, o, logsumexp, dO], attrs);
const plan = planGraphs(
  [builder.finish("attention", [o, logsumexp, dqkv])],
  builder.persistents.all(),
  target,
);
const numbers = [qkv, dO].map((value, i) => pack(seededNumbers(elementCount(value), i + 1), value.dtype));
const pipelines = new PipelineCache(gpu);

async function open(commands: Command[]): Promise<Session> {
  const session = await Session.open(gpu, { ...plan, programs: [{ ...plan.programs[0], commands }] }, {
    pipelines,
  });
  [qkv, dO].forEach((value: Value, i) => session.write(value, numbers[i]));
  return session;
}

/** The launch of a kernel with another shape; nothing but its text differs, because all are 64 columns wide. */
function reshaped(launch: Dispatch, kernel: keyof typeof KERNELS, tile: ReturnType<typeof workgroupTile>) {
  const form = {
    headSize,
    dtype,
    causal: true,
    segments: false,
    dropout: null,
    words: true,
    texels: [],
  } as const;
  return { ...launch, kernel: { ...launch.kernel, code: KERNELS[kernel](form, tile) } };
}

const SHAPES = ([64, 32] as const).flatMap((rows) =>
  ([4, 8, 16] as const).filter((down) => rows / down >= 4).flatMap((down) =>
    [false, true].flatMap((keepsColumns) =>
      ([4, 8, 16] as const).map((unrolled) => ({
        name: `${rows} rows / ${down}, ${unrolled} lines a turn${keepsColumns ? ", columns kept" : ""}`,
        shape: { rows, down, unrolled, keepsColumns },
      }))
    )
  )
).filter(({ name, shape }) => {
  const { invocations, workgroupBytes } = workgroupTile(headSize, shape);
  return chosen.test(name) && invocations <= target.maxComputeInvocationsPerWorkgroup &&
    workgroupBytes(2) <= target.maxComputeWorkgroupStorageSize;
});

console.log(
  `${gpu.adapter.name}, ${gpu.adapter.providerVersion}: ${batch} × ${tokens} tokens, ${heads} heads of ${headSize}, ${dtype}`,
);
const commands = plan.programs[0].commands as Dispatch[];
for (
  const [kernel, sums] of [["flash_attention", 1], ["flash_attention_dq", 1], [
    "flash_attention_dkv",
    2,
  ]] as const
) {
  const at = commands.findIndex((command) => command.kernel.name === kernel);
  const contenders: Contender[] = [];
  let first: Float64Array[] | undefined;
  for (const { name, shape } of SHAPES) {
    const launch = reshaped(commands[at], kernel, workgroupTile(headSize, shape));
    const whole = await open(commands.map((command, i) => i === at ? launch : command));
    await whole.run();
    const results: Float64Array[] = [];
    for (const value of [o, logsumexp, dqkv]) results.push(unpack(await whole.read(value), value));
    whole.close();
    first ??= results;
    let difference = 0;
    results.forEach((result, i) =>
      result.forEach((value, j) => {
        const error = Math.abs(value - first![i][j]);
        if (!(error <= difference)) difference = error;
      })
    );
    contenders.push({ name, difference, session: await open([launch]), repeats: 1, samples: [] });
  }
  const run = async ({ session, repeats }: Contender) => {
    const encoded = session.encode(Array(repeats).fill(0));
    const started = performance.now();
    session.submit(encoded);
    return (await idleAt(gpu) - started) / repeats;
  };
  for (const contender of contenders) {
    await run(contender);
    contender.repeats = Math.max(1, Math.min(100, Math.round(SAMPLE_MS / await run(contender))));
  }
  for (let round = 0; round < ROUNDS; round++) {
    for (const contender of contenders) contender.samples.push(await run(contender));
  }
  const byRule = workgroupShapes(headSize, sums)[0];
  console.log(`${kernel}, by rule ${byRule.rows} rows / ${byRule.down}`);
  const times = contenders.map(({ name, difference, samples, session }) => {
    session.close();
    return { name, difference, ms: samples.slice(WARM_UP).sort((x, y) => x - y)[(ROUNDS - WARM_UP) >> 1] };
  });
  for (const { name, difference, ms } of times.sort((x, y) => x.ms - y.ms)) {
    const rate = commands[at].flops! / ms / 1e9;
    console.log(
      `  ${rate.toFixed(2).padStart(7)} ${ms.toFixed(3).padStart(8)}  ${name}  (differs by ${
        difference.toExponential(1)
      })`,
    );
  }
}
gpu.device.destroy();
