import { openSafetensors } from "../../engine/formats/safetensors.ts";
import { type AdamW8bitAttrs, blockCount8bit } from "../../kernels/adamw_8bit.ts";
import type { TensorType } from "../../engine/graph/types.ts";

/** tests/fixtures/adamw_8bit, the reference named "cuda" in its `generate.py`. */
export interface AdamW8bitFixture {
  attrs: AdamW8bitAttrs;
  learningRate: number;
  steps: number;
  tensors: { name: string; initial: Float32Array }[];
  gradient(tensor: string, step: number): Float32Array;
  /** Parameters after a step, counted from 0; undefined where the fixture did not keep them. */
  after(tensor: string, step: number): Float32Array | undefined;
  /** Codes of m and v, scales of m and v, after the first or the last step; undefined for others. */
  states(tensor: string, step: number): ArrayLike<number>[] | undefined;
  /** Differences between this reference in f32 and in f64, by tensor. */
  sensitivity: Record<string, { state1CodesThatDiffer: number; largestParameterDifference: number }>;
  /** Three steps; the gradient of the second holds infinities and NaN. */
  nonfinite: { initial: Float32Array; grads: Float32Array; after: Float32Array; states: ArrayLike<number>[] };
}

const STATES = ["state1", "state2", "absmax1", "absmax2"];

export async function readAdamW8bitFixture(): Promise<AdamW8bitFixture> {
  const folder = `${import.meta.dirname}/../fixtures/adamw_8bit/`;
  const settings = JSON.parse(await Deno.readTextFile(`${folder}settings.json`));
  using file = await openSafetensors(`${folder}steps.safetensors`);
  const data = new Map<string, Float32Array | Uint8Array>();
  for (const name of file.names()) {
    data.set(name, await (file.info(name).dtype === "U8" ? file.readBytes(name) : file.read(name)));
  }
  const get = (name: string) => data.get(name) as Float32Array;
  const statesOf = (prefix: string, suffix: string) => STATES.map((key) => data.get(prefix + key + suffix)!);
  const names = Object.keys(settings.sensitivity);
  return {
    attrs: {
      beta1: settings.betas[0],
      beta2: settings.betas[1],
      eps: settings.eps,
      weightDecay: names.map(() => settings.weightDecay),
    },
    learningRate: settings.lr,
    steps: settings.steps,
    tensors: names.map((name) => ({ name, initial: get(`initial.${name}`) })),
    gradient: (name, step) => {
      const base = get(`base.${name}`);
      const shift = settings.gradientShift * step;
      return base.map((_, i) =>
        step < 3 && i >= 1024 && i < 2048 ? 0 : base[(i + shift) % base.length] * settings.gradientScale[step]
      );
    },
    after: (name, step) => {
      const kept = settings.keptSteps.cuda.indexOf(step + 1);
      const n = get(`base.${name}`).length;
      return kept < 0 ? undefined : get(`cuda.${name}`).slice(kept * n, (kept + 1) * n);
    },
    states: (name, step) => {
      if (step === 0) return statesOf("cuda.step1.", `.${name}`);
      return step === settings.steps - 1 ? statesOf("cuda.", `.${name}`) : undefined;
    },
    sensitivity: settings.sensitivity,
    nonfinite: {
      initial: get("nonfinite.initial"),
      grads: get("nonfinite.grads"),
      after: get("nonfinite.after"),
      states: statesOf("nonfinite.", ""),
    },
  };
}

/** Types of the values of one tensor, in the order of the op's inputs. */
export function adamw8bitTypes(elements: number): TensorType[] {
  const blocks = blockCount8bit(elements);
  const all = [
    [elements, "f32"],
    [elements, "f32"],
    [elements, "u8"],
    [elements, "u8"],
    [blocks, "f32"],
    [blocks, "f32"],
  ] as const;
  return all.map(([extent, dtype]) => ({ shape: [extent], dtype }));
}
