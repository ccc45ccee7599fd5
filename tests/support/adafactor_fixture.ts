import { adafactorOptimizer } from "../../engine/passes/optimizers/adafactor.ts";
import type { AdafactorAttrs } from "../../kernels/adafactor_tensors.ts";
import { NEUTRAL_STEP, type StepBlock } from "../../kernels/step_block.ts";
import { readOptimizerFixture } from "./optimizer_fixture.ts";

/** One run of tests/fixtures/adafactor. */
export interface AdafactorRun {
  name: string;
  attrs: AdafactorAttrs;
  steps: number;
  tensors: { name: string; shape: readonly number[]; initial: Float32Array }[];
  gradient(tensor: string, step: number): Float32Array;
  /** Step block of a step, counted from 0. */
  stepBlock(step: number): Pick<StepBlock, "adafactorBeta2" | "adafactorStep">;
  /** Parameters after a step, counted from 0; undefined where the fixture did not keep them. */
  after(tensor: string, step: number): Float32Array | undefined;
  /** State after the last step, in the order of the op's inputs. */
  states(tensor: string): Float32Array[];
}

interface Settings {
  lr: number | null;
  eps: [number, number];
  clipThreshold: number;
  decayRate: number;
  beta1: number | null;
  weightDecay: number;
  scaleParameter: boolean;
  relativeStep: boolean;
  warmupInit: boolean;
}

/** Every run of the fixture: presets, warm-up, first moment, decay. */
export async function adafactorRuns(): Promise<AdafactorRun[]> {
  const fixture = await readOptimizerFixture<unknown>("adafactor");
  const { runs, keptSteps } = fixture.runs as unknown as {
    runs: Record<string, Settings>;
    keptSteps: Record<string, number[]>;
  };
  return Object.entries(runs).map(([name, settings]) => ({
    name,
    attrs: {
      eps1: settings.eps[0],
      eps2: settings.eps[1],
      clipThreshold: settings.clipThreshold,
      beta1: settings.beta1,
      scaleParameter: settings.scaleParameter,
      weightDecay: fixture.tensors.map(() => settings.weightDecay),
    },
    steps: fixture.steps,
    tensors: fixture.tensors.map((tensor) => ({ ...tensor, initial: fixture.initial(tensor.name) })),
    gradient: fixture.gradient,
    stepBlock: (step) => {
      const { decayRate, relativeStep, warmupInit, lr } = settings;
      const time = { t: step + 1, learningRate: lr ?? NaN };
      const { stepFields } = adafactorOptimizer;
      return { ...NEUTRAL_STEP, ...stepFields(time, { decayRate, relativeStep, warmupInit }) };
    },
    after: (tensor, step) => {
      const kept = keptSteps[tensor].indexOf(step + 1);
      return kept < 0 ? undefined : fixture.after(name, tensor, kept);
    },
    states: (tensor) => {
      const isMatrix = fixture.tensors.find((t) => t.name === tensor)!.shape.length > 1;
      const keys = isMatrix ? ["exp_avg_sq_row", "exp_avg_sq_col"] : ["exp_avg_sq"];
      return [...keys, ...(settings.beta1 === null ? [] : ["exp_avg"])]
        .map((key) => fixture.state(name, key, tensor));
    },
  }));
}

/** Types of the values of one tensor, in the order of the op's inputs after w and g. */
export function adafactorStateShapes(
  shape: readonly number[],
  beta1: number | null,
): (readonly number[])[] {
  const second = shape.length > 1 ? shape.map((extent) => [extent]) : [shape];
  return beta1 === null ? second : [...second, shape];
}
