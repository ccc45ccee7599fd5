/**
 * What varies from step to step is data in one uniform block, never baked into a recorded dispatch. Every
 * kernel sees it as `step` (group 1, binding 1). The trainer writes it before each submit.
 */
export const STEP_FIELDS = [
  /** Learning rate of this update. */
  ["learningRate", "f32"],
  /** 1 − β1^t and √(1 − β2^t) of AdamW, t counting applied updates from 1. */
  ["biasCorrection1", "f32"],
  ["sqrtBiasCorrection2", "f32"],
  /** What the gradient of each row's loss starts with: lossScale ÷ unmasked targets of the whole step. */
  ["gradientScale", "f32"],
  /** 1 ÷ lossScale: applied to gradients once, before clipping. */
  ["inverseLossScale", "f32"],
  /** Adafactor's β2 of this update: 1 − t^decayRate. */
  ["adafactorBeta2", "f32"],
  /** Adafactor's relative step ρ of this update, or the learning rate. */
  ["adafactorStep", "f32"],
  /** Counter-based random numbers are keyed by these and by the op's stream and element. */
  ["seed", "u32"],
  ["stepIndex", "u32"],
  ["microStepIndex", "u32"],
] as const;
export type StepField = typeof STEP_FIELDS[number][0];
export type StepBlock = Record<StepField, number>;

/** Bytes of the block, a multiple of 16. */
export const STEP_BLOCK_BYTES = Math.ceil((STEP_FIELDS.length * 4) / 16) * 16;

/** The block as WGSL. */
export const STEP_BLOCK_WGSL = `struct Step {\n${
  STEP_FIELDS.map(([name, type]) => `  ${name}: ${type},`).join("\n")
}\n}
@group(1) @binding(1) var<uniform> step: Step;
`;

/**
 * The values a fresh block holds: scales of one, everything else zero. Tests of
 * single kernels run with these.
 */
export const NEUTRAL_STEP: StepBlock = {
  learningRate: 0,
  biasCorrection1: 1,
  sqrtBiasCorrection2: 1,
  gradientScale: 1,
  inverseLossScale: 1,
  adafactorBeta2: 0,
  adafactorStep: 0,
  seed: 0,
  stepIndex: 0,
  microStepIndex: 0,
};

/** Writes the block into `view` in the layout of the WGSL struct. */
export function writeStepBlock(view: DataView, block: StepBlock): void {
  STEP_FIELDS.forEach(([name, type], i) => {
    if (type === "f32") view.setFloat32(4 * i, block[name], true);
    else view.setUint32(4 * i, block[name] >>> 0, true);
  });
}
