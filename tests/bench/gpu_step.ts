// Steps of this engine on the GPU, as lines like those of peers/torch_gpu.py:
// deno run -A tests/bench/gpu_step.ts MODEL:bB:tT[:VARIANT,...] [STEPS] [WARMUP]
import { fileURLToPath } from "node:url";
import { InputError } from "../../engine/input_error.ts";
import { describeAdapter } from "../../mod.ts";
import { EXIT } from "../../suites/cli/command.ts";
import { median } from "../../results/stats.ts";

/** How the engine trains, by dtype and attention: memory methods of `deno task train`. */
export const ENGINE_VARIANTS: Readonly<Record<string, readonly string[]>> = {
  "f32-naive": [],
  "f32-flash": ["flash"],
  "f16-flash": ["flash", "fp16"],
  "f16-naive": ["fp16"],
};

/** Those that are run where none is named. */
export const DEFAULT_ENGINE_VARIANTS = ["f32-naive", "f32-flash", "f16-flash"];

/** A model with the sizes of its batches. */
export interface GpuCase {
  name: string;
  model: string;
  batchSize: number;
  sequenceLength: number;
}

/** How long to train. */
export interface GpuSteps {
  /** Timed steps. */
  steps: number;
  /** Steps before them. */
  warmup: number;
}

/** What a variant of either side did, or why it did not. */
export type GpuRun = GpuTimes | { case: string; dtype: string; attention: string; error: string };

export interface GpuTimes {
  case: string;
  dtype: string;
  attention: string;
  /** Timed steps, without the warm-up. */
  ms: readonly number[];
  medianMs: number;
  tokensPerSecond: number;
  /** Of all steps. */
  loss: readonly number[];
  /** Both sides add figures of their own. */
  [more: string]: unknown;
}

export interface EngineTimes extends GpuTimes {
  plannedPeakBytes: number;
  bookedPeakBytes: number;
  observedPeakBytes: number | null;
  dispatchesPerStep: number;
}

/** @param text `MODEL:bB:tT`. @throws {InputError} */
export function parseGpuCase(text: string): GpuCase {
  const [, model, batch, sequence] = /^([\w-]+):b(\d{1,4}):t(\d{1,5})$/.exec(text) ?? [];
  const sizes = { batchSize: Number(batch), sequenceLength: Number(sequence) };
  if (sizes.batchSize > 0 && sizes.sequenceLength > 0) return { name: text, model, ...sizes };
  throw new InputError(`Cannot read the case ${text}: expected MODEL:bB:tT, as in gpt2:b4:t1024`);
}

/** Names of variants, each once. @throws {InputError} for one that is not known. */
export function parseVariants(text: string, known: readonly string[]): string[] {
  const names = text.split(",");
  const unknown = names.find((name) => !known.includes(name));
  if (unknown === undefined) return [...new Set(names)];
  throw new InputError(`Unknown variant ${unknown}: expected ${known.join(", ")}`);
}

/** @param what For the message. @throws {InputError} */
export function parseCount(text: string, what: string): number {
  const count = Number(text);
  if (Number.isInteger(count) && count >= 1 && count <= 1000) return count;
  throw new InputError(`${what} is ${text}: expected a whole number from 1 to 1000`);
}

/** Flags of `deno task train` for a case. Tokens and labels are random: time does not depend on them. */
export function trainFlags(
  { model, batchSize, sequenceLength }: GpuCase,
  variant: string,
  { steps, warmup }: GpuSteps,
): string[] {
  const methods = ENGINE_VARIANTS[variant];
  return [
    ...["--model", model, "--data", "random", "--seq-len", `${sequenceLength}`],
    ...["--batch-size", `${batchSize}`, "--micro-batch-size", `${batchSize}`, "--steps", `${warmup + steps}`],
    ...methods.length > 0 ? ["--methods", methods.join(",")] : [],
    "--json",
  ];
}

/**
 * What `train --json` printed, as a line of a variant.
 *
 * @throws {Error} where it did not finish, or did not do all steps.
 */
export function readTraining(
  output: string,
  { name, batchSize, sequenceLength }: GpuCase,
  variant: string,
  { steps, warmup }: GpuSteps,
): EngineTimes {
  const lines = output.split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));
  const summary = lines.pop();
  if (!summary?.done) throw new Error("training did not finish");
  if (lines.length !== warmup + steps) {
    throw new Error(`training took ${lines.length} steps: expected ${warmup + steps}`);
  }
  const ms: number[] = lines.slice(warmup).map((step) => step.ms);
  const [dtype, attention] = variant.split("-");
  return {
    case: name,
    dtype,
    attention,
    ms,
    medianMs: median(ms),
    plannedPeakBytes: summary.plannedPeakBytes,
    bookedPeakBytes: summary.bookedPeakBytes,
    observedPeakBytes: summary.observedPeakBytes,
    observedHow: summary.observedHow,
    dispatchesPerStep: summary.dispatchesPerStep,
    tokensPerSecond: 1000 * batchSize * sequenceLength / median(ms),
    loss: lines.map(({ loss }) => loss),
    parameters: summary.parameters,
    warmup,
    kernelChoices: summary.kernelChoices,
  };
}

/** Trains one variant in a process of its own. A run that cannot work is a result. */
export async function runEngine(gpuCase: GpuCase, variant: string, steps: GpuSteps): Promise<GpuRun> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "-A", "--config", here("../../deno.json"), here("../../suites/cli/main.ts"), "train"],
      ...trainFlags(gpuCase, variant, steps),
    ],
    stdout: "piped",
    stderr: "piped",
  }).output();
  try {
    if (!success) throw new Error(lastLine(stderr));
    return readTraining(new TextDecoder().decode(stdout), gpuCase, variant, steps);
  } catch (error) {
    const [dtype, attention] = variant.split("-");
    return { case: gpuCase.name, dtype, attention, error: (error as Error).message };
  }
}

/** The last line that a process wrote to standard error, where it says why it ended; not one of a stack. */
export function lastLine(stderr: Uint8Array): string {
  const lines = new TextDecoder().decode(stderr).split("\n").filter((line) => /^\s*(?!at )\S/.test(line));
  return lines.at(-1)?.trim() ?? "it ended without a message";
}

/** The adapter and the WebGPU in use; null without one. Asked after measuring, as it opens a driver. */
export async function engineAdapter(): Promise<{ gpu: string; engine: string } | null> {
  try {
    const { name, driver, providerVersion } = await describeAdapter();
    return { gpu: `${name}, ${driver}`, engine: providerVersion };
  } catch {
    return null;
  }
}

function here(path: string): string {
  return fileURLToPath(new URL(path, import.meta.url));
}

async function main([text = "", steps = "15", warmup = "5"]: readonly string[]): Promise<number> {
  try {
    const [model, batch, sequence, ...list] = text.split(":");
    const gpuCase = parseGpuCase([model, batch, sequence].join(":"));
    const variants = list.length === 0
      ? DEFAULT_ENGINE_VARIANTS
      : parseVariants(list.join(":"), Object.keys(ENGINE_VARIANTS));
    const counts = { steps: parseCount(steps, "STEPS"), warmup: parseCount(warmup, "WARMUP") };
    const runs = [];
    for (const variant of variants) runs.push(await runEngine(gpuCase, variant, counts));
    const where = await engineAdapter();
    for (const run of runs) console.log(JSON.stringify({ ...run, ...where }));
    return runs.some((run) => "error" in run) ? EXIT.failed : EXIT.done;
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    console.error("Usage: deno run -A tests/bench/gpu_step.ts MODEL:bB:tT[:VARIANT,...] [STEPS] [WARMUP]");
    console.error(error.message);
    return EXIT.usage;
  }
}

if (import.meta.main) Deno.exit(await main(Deno.args));
