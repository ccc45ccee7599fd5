import { openWeights } from "../../engine/formats/safetensors.ts";
import { buildStep, type StepMethods } from "../../engine/passes/pipeline.ts";
import type { Parameter } from "../../engine/passes/step.ts";
import { planGraphs } from "../../engine/plan/plan.ts";
import { Session } from "../../engine/runtime/session.ts";
import { loadAdapter } from "../../engine/train/adapters.ts";
import { DataFeed } from "../../engine/train/data_feed.ts";
import { loadWeights } from "../../engine/train/weights.ts";
import { IGNORED_TARGET } from "../../kernels/cross_entropy.ts";
import { NEUTRAL_STEP } from "../../kernels/step_block.ts";
import type { ModelFixture } from "./model_fixture.ts";
import type { FixtureBatch } from "./model_gradients.ts";
import { sharedDevice } from "./with_device.ts";

/** Settings of a run over batches. */
export interface BatchRun {
  learningRate?: number;
  weightDecay?: number;
  /** PEFT folder that adapters start from. */
  adapter?: string;
  /** Looks at what was trained. */
  then?(session: Session, parameters: readonly Parameter[]): Promise<void>;
}

/**
 * Losses of one AdamW step per batch at torch's defaults, for models whose
 * batches are not windows of a token file.
 */
export async function lossesOnBatches(
  fixture: Pick<ModelFixture, "batchSize" | "sequenceLength" | "model" | "modelFolder">,
  batches: readonly FixtureBatch[],
  methods: StepMethods = {},
  { learningRate = 1e-3, weightDecay = 0.01, adapter, then }: BatchRun = {},
): Promise<number[]> {
  const { gpu, pipelines } = await sharedDevice();
  const { model, batchSize, sequenceLength } = fixture;
  const [beta1, beta2] = [0.9, 0.999];
  const graphs = buildStep({
    model,
    microBatchSize: batchSize,
    gradientAccumulationSteps: 1,
    sequenceLength,
    methods,
    optimizer: "adamw",
    optimizerOptions: { beta1, beta2, eps: 1e-8, weightDecay },
    clip: 0,
    dropout: 0,
    packed: batches[0].positions !== undefined,
    evaluate: false,
  });
  const plan = planGraphs(graphs.graphs, graphs.persistents, gpu.kernels);
  const session = await Session.open(gpu, plan, { pipelines });
  const source = await openWeights(fixture.modelFolder);
  try {
    await loadWeights(session, graphs.parameters, source!);
    if (adapter) await loadAdapter(session, graphs.parameters, adapter);
    const { vocabularySize } = model.config;
    const size = { batch: batchSize, sequence: sequenceLength, vocabularySize };
    const feed = new DataFeed(session, graphs.inputs, size);
    const losses: number[] = [];
    for (const [step, batch] of batches.entries()) {
      feed.tokens.set(batch.tokens);
      feed.targets.set(batch.targets);
      if (batch.tokenTypes) feed.tokenTypes.set(batch.tokenTypes);
      if (batch.segments) feed.segments.set(batch.segments);
      if (batch.positions) feed.positions.set(batch.positions);
      feed.upload();
      const targets = Array.from(batch.targets).filter((target) => target !== IGNORED_TARGET).length;
      session.writeStep({
        ...NEUTRAL_STEP,
        learningRate,
        biasCorrection1: 1 - beta1 ** (step + 1),
        sqrtBiasCorrection2: Math.sqrt(1 - beta2 ** (step + 1)),
        gradientScale: 1 / targets,
        stepIndex: step,
      });
      await session.run(graphs.programs.micro);
      losses.push(new Float32Array(await session.read(graphs.inputs.loss))[0] / targets);
    }
    await then?.(session, graphs.parameters);
    return losses;
  } finally {
    source?.close();
    session.close();
  }
}
