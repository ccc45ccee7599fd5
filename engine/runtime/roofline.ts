import { matmulCommands } from "../../kernels/matmul/matmul.ts";
import { GraphBuilder } from "../graph/builder.ts";
import { defineOp } from "../../kernels/define_op.ts";
import { planGraphs } from "../plan/plan.ts";
import type { Dtype } from "../graph/types.ts";
import { openGpu } from "./device.ts";
import { OutOfMemoryError } from "./errors.ts";
import type { Gpu } from "./gpu.ts";
import { PipelineCache } from "./pipelines.ts";
import { Session } from "./session.ts";
import { type Steadiness, STEADY_COUNT, steadyRate } from "./steady.ts";
import { submitAndTime } from "./timing.ts";

/** What a device can do at best, measured: the roof over every kernel. */
export interface Roofline {
  /** Of matrix products; f16 is null where the device has no such products. */
  matmulFlopsPerSecond: { f32: number; f16: number | null };
  /** Bytes read and written by a copy. */
  copyBytesPerSecond: number;
  /** How it was measured, in words. */
  how: string;
  /** How steady each figure was; f16 is null where there is none. */
  steadiness: { f32: Steadiness; f16: Steadiness | null; copy: Steadiness };
}

/** Settings of `measureRoofline`. */
export interface RooflineOptions {
  /**
   * Time for three measurements of each of the three figures, milliseconds; compiling comes on top, and more
   * measurements where three do not agree.
   */
  budgetMs?: number;
}

/** Square products tried, smallest first, until one is slow enough to be timed well. */
const MATMUL_EXTENTS = [512, 1024, 2048, 4096] as const;

/** A submit this long hides the cost of submitting. */
const LONG_ENOUGH_MS = 20;

/** Largest copy: past every cache, and inside every adapter's limits. */
const COPY_BYTES = 2 ** 26;

/**
 * Measures the ceilings of a device in one second to five: products of square matrices by the engine's own
 * kernels, f32 and f16 with f32 sums, and a copy from one buffer to another.
 *
 * A ceiling is the fastest of many runs, made until they are steady: what else the machine does can make a
 * run slower, never faster.
 *
 * @throws {NoAdapterError} without an adapter.
 */
export async function measureRoofline(options: RooflineOptions = {}): Promise<Roofline> {
  const { budgetMs = 400 } = options;
  const gpu = await openGpu();
  try {
    const f32 = await fastestMatmul(gpu, "f32", budgetMs);
    const f16 = gpu.kernels.target.shaderF16 ? await fastestMatmul(gpu, "f16", budgetMs) : null;
    const copy = await fastestCopy(gpu, budgetMs);
    const steadiness = { f32: f32.steadiness, f16: f16?.steadiness ?? null, copy: copy.steadiness };
    return {
      matmulFlopsPerSecond: { f32: f32.flopsPerSecond, f16: f16?.flopsPerSecond ?? null },
      copyBytesPerSecond: copy.bytesPerSecond,
      how:
        `fastest run: ${f32.extent}³ f32 product${
          f16 ? `, ${f16.extent}³ f16 product with f32 sums` : ""
        }, ` +
        `${copyBytes(gpu) / 2 ** 20} MiB copied from buffer to buffer (read and written bytes); ` +
        steadinessText(steadiness),
      steadiness,
    };
  } finally {
    gpu.device.destroy();
  }
}

/** Steadiness in words: `"last 3 of f32 3, f16 5, copy 12 measurements within 1 %, 4 %, 31 %"`. */
function steadinessText(steadiness: Roofline["steadiness"]): string {
  const measured = Object.entries(steadiness).filter((entry): entry is [string, Steadiness] =>
    entry[1] !== null
  );
  return `last ${STEADY_COUNT} of ${
    measured.map(([name, { measurements }]) => `${name} ${measurements}`).join(", ")
  } measurements within ${measured.map(([, { spread }]) => `${Math.ceil(100 * spread)} %`).join(", ")}`;
}

interface Ceiling {
  flopsPerSecond: number;
  extent: number;
  steadiness: Steadiness;
}

/** What timing came to. */
interface Fastest {
  /** Fastest time of one repeat in runs of many. */
  ms: number;
  /** Time of a run of one. */
  onceMs: number;
  steadiness: Steadiness;
}

/** The best rate over growing sizes: a small product leaves a large device idle. */
async function fastestMatmul(gpu: Gpu, dtype: "f32" | "f16", budgetMs: number): Promise<Ceiling> {
  let best: Ceiling = { flopsPerSecond: 0, extent: 0, steadiness: { measurements: 0, spread: 0 } };
  const pipelines = new PipelineCache(gpu);
  for (const extent of MATMUL_EXTENTS) {
    const time = await productMs(gpu, pipelines, { extent, dtype, budgetMs: budgetMs / 2 });
    if (time === null) break;
    const { ms, onceMs, steadiness } = time;
    const flopsPerSecond = (2 * extent ** 3) / ms * 1000;
    if (flopsPerSecond > best.flopsPerSecond) best = { flopsPerSecond, extent, steadiness };
    // The next size is eight times the work.
    if (8 * onceMs > budgetMs / 2) break;
  }
  return best;
}

/** C = A·B of square matrices. */
const product = defineOp<{ extent: number; dtype: Dtype }>({
  name: "roofline_matmul",
  inferTypes: (_, { extent, dtype }) => [{ shape: [extent, extent], dtype }],
  lower: ({ inputs: [a, b], outputs: [c], attrs: { extent }, kernels }) =>
    matmulCommands({
      name: "roofline_matmul",
      m: extent,
      n: extent,
      k: extent,
      a: { value: a, ld: extent },
      b: { value: b, ld: extent },
      c: { value: c, ld: extent },
    }, kernels),
  reference() {
    throw new TypeError("roofline_matmul has no reference: only its time matters");
  },
});

/**
 * Fastest time of one product in a long submit, and the time of a single one;
 * null where the device has no room for it.
 */
async function productMs(
  gpu: Gpu,
  pipelines: PipelineCache,
  { extent, dtype, budgetMs }: { extent: number; dtype: "f32" | "f16"; budgetMs: number },
): Promise<Fastest | null> {
  const builder = new GraphBuilder();
  const [a, b] = ["a", "b"].map((name) =>
    builder.persistents.declare(name, { shape: [extent, extent], dtype }, "inputs")
  );
  builder.call(product, [a, b], { extent, dtype });
  const plan = planGraphs([builder.finish("roofline", [])], builder.persistents.all(), gpu.kernels);
  let session: Session;
  try {
    session = await Session.open(gpu, plan, { pipelines });
  } catch (error) {
    // The smallest must fit: without it there is no figure.
    if (error instanceof OutOfMemoryError && extent > MATMUL_EXTENTS[0]) return null;
    throw error;
  }
  try {
    for (const value of [a, b]) session.write(value, noise(extent ** 2, dtype));
    return await fastest(
      (repeats) => submitAndTime(gpu, session.encode(Array(repeats).fill(0))),
      budgetMs,
    );
  } finally {
    session.close();
  }
}

/** Numbers of no pattern: GPUs multiply zeros with less power, and so faster, than other numbers. */
function noise(count: number, dtype: "f32" | "f16"): Float32Array<ArrayBuffer> | Float16Array<ArrayBuffer> {
  const some = Float32Array.from({ length: 4093 }, (_, i) => Math.sin(12.9898 * (i + 1)) * 43758.5453 % 1);
  const numbers = dtype === "f32" ? new Float32Array(count) : new Float16Array(count);
  for (let i = 0; i < count; i++) numbers[i] = some[i % some.length];
  return numbers;
}

function copyBytes({ device }: Gpu): number {
  return Math.min(COPY_BYTES, device.limits.maxBufferSize);
}

/** Bytes read and written in a second of copying. */
async function fastestCopy(
  gpu: Gpu,
  budgetMs: number,
): Promise<{ bytesPerSecond: number; steadiness: Steadiness }> {
  const { device } = gpu;
  const size = copyBytes(gpu);
  const usage = GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
  const [source, copy] = [0, 1].map(() => device.createBuffer({ label: "roofline copy", size, usage }));
  try {
    const { ms, steadiness } = await fastest((repeats) => {
      const encoder = device.createCommandEncoder();
      for (let i = 0; i < repeats; i++) encoder.copyBufferToBuffer(source, 0, copy, 0, size);
      return submitAndTime(gpu, encoder.finish());
    }, budgetMs);
    return { bytesPerSecond: (2 * size) / ms * 1000, steadiness };
  } finally {
    source.destroy();
    copy.destroy();
  }
}

/**
 * Times runs until they are steady; the first run, which compiles, is left out. @param budgetMs Time for as
 * few as may be.
 */
async function fastest(run: (repeats: number) => Promise<number>, budgetMs: number): Promise<Fastest> {
  await run(1);
  const onceMs = Math.max(await run(1), 1e-3);
  const repeats = Math.max(1, Math.min(256, Math.round(LONG_ENOUGH_MS / onceMs)));
  const { rate, steadiness } = await steadyRate(async () => {
    let ms = Infinity;
    const started = performance.now();
    while (ms === Infinity || performance.now() - started < budgetMs / STEADY_COUNT) {
      ms = Math.min(ms, await run(repeats) / repeats);
    }
    return 1 / ms;
  });
  return { ms: 1 / rate, onceMs, steadiness };
}
