import type { StepGraphs, StepSettings } from "../passes/pipeline.ts";
import { buildStep } from "../passes/pipeline.ts";
import type { Model } from "../model/config.ts";
import { dropoutEverywhere, type DropoutRates } from "../model/dropout.ts";
import type { Plan } from "../plan/plan.ts";
import { planGraphs } from "../plan/plan.ts";
import type { KernelSet } from "../../kernels/kernel_set.ts";
import type { BytesByRole } from "../graph/types.ts";
import type { Gpu } from "../runtime/gpu.ts";
import { type EncodedCommands, Session, type SessionOptions } from "../runtime/session.ts";
import { profileStep } from "../runtime/timing.ts";
import type { StepProfile } from "../runtime/timing.ts";
import { NEUTRAL_STEP } from "../../kernels/step_block.ts";
import type { StepBlock } from "../../kernels/step_block.ts";
import { DataFeed } from "./data_feed.ts";
import { type HeldOutLoss, heldOutLoss, labelLogits } from "./held_out_loss.ts";
import type { StepReport, TrainOptions, TrainResult } from "./options.ts";
import { OPTIMIZERS } from "../passes/optimizer.ts";
import { LossScaler, type LossScaleState } from "./loss_scale.ts";
import { lossScaleSettings, stepMethods } from "./methods.ts";
import { learningRateAt, type Schedule, scheduleOf } from "./schedule.ts";
import { type BatchSource, type Sequences, trainingBatches } from "./sequences.ts";
import type { Prepared } from "./prepare.ts";

/** The settings of a step that `options` ask for. @param adapter The one that training goes on with. */
export function stepSettings(
  model: Model,
  options: Omit<TrainOptions, "data" | "model">,
  adapter?: Prepared["adapter"],
): StepSettings {
  return {
    model,
    microBatchSize: options.microBatchSize,
    gradientAccumulationSteps: options.gradientAccumulationSteps,
    sequenceLength: options.sequenceLength,
    methods: stepMethods(options, model, adapter),
    optimizer: options.optimizer,
    optimizerOptions: options.optimizerOptions,
    clip: options.clip,
    dropout: dropoutRates(options, model),
    packed: options.packing ?? false,
    evaluate: options.heldOutFraction > 0,
  };
}

/** What a run drops: one probability everywhere, or what the model's configuration has. */
export function dropoutRates(
  { dropout }: Pick<TrainOptions, "dropout">,
  { config }: Pick<Model, "config">,
): DropoutRates {
  return typeof dropout === "number"
    ? dropoutEverywhere(dropout)
    : dropout === "model"
    ? config.dropout
    : dropout;
}

/** Graphs and memory of a step. */
export function planStep(settings: StepSettings, kernels: KernelSet): { graphs: StepGraphs; plan: Plan } {
  const graphs = buildStep(settings);
  return { graphs, plan: planGraphs(graphs.graphs, graphs.persistents, kernels) };
}

/**
 * Live bytes by role over the dispatches of a planned step's micro-step and update, persistent ones included.
 */
export function stepTimeline(
  plan: Plan,
  { micro, update }: StepGraphs["programs"],
  points = 256,
): TrainResult["timeline"] {
  const held = plan.buffers.filter(({ kind }) => kind !== "arena");
  const all = [micro, ...(update === null ? [] : [update])].flatMap((index) => {
    const { nodeOf, live } = plan.programs[index];
    return nodeOf.map((node) => live[node]);
  });
  const stride = Math.max(1, Math.ceil(all.length / points));
  return all.flatMap((live, dispatch) => {
    if (dispatch % stride !== 0 && dispatch !== all.length - 1) return [];
    const bytes = { ...live };
    for (const { bytesByRole } of held) {
      for (const role of Object.keys(bytes) as (keyof BytesByRole)[]) bytes[role] += bytesByRole[role];
    }
    return [{ dispatch, bytes }];
  });
}

/** How a trainer is opened. */
export interface TrainerSettings extends Pick<SessionOptions, "pipelines" | "onProgress" | "onCompiled"> {
  /** Default: what the options say of a run that begins. */
  schedule?: Schedule;
}

/** A model on the device that can be trained step by step and evaluated. */
export class Trainer {
  readonly session: Session;
  readonly graphs: StepGraphs;
  readonly plan: Plan;
  readonly batches: BatchSource;
  readonly schedule: Schedule;
  readonly #options: TrainOptions;
  readonly #prepared: Prepared;
  readonly #feed: DataFeed;
  readonly #block: StepBlock;
  /** Null where no gradient is f16. */
  readonly #lossScaler: LossScaler | null;
  /** Commands of the step's last program, encoded while the device works on the step before. */
  #encoded: EncodedCommands | null = null;
  #step = 0;
  /** Updates applied: skipped ones do not count for schedule and bias correction. */
  #updates = 0;
  #tokens = 0;

  private constructor(
    session: Session,
    graphs: StepGraphs,
    prepared: Prepared,
    options: TrainOptions,
    schedule: Schedule,
  ) {
    this.session = session;
    this.schedule = schedule;
    this.graphs = graphs;
    this.plan = session.plan;
    this.#options = options;
    this.#prepared = prepared;
    this.#block = { ...NEUTRAL_STEP, seed: options.seed >>> 0 };
    const lossScale = lossScaleSettings(options);
    this.#lossScaler = lossScale && new LossScaler(lossScale);
    this.#feed = new DataFeed(session, graphs.inputs, {
      batch: options.microBatchSize,
      sequence: options.sequenceLength,
      vocabularySize: prepared.model.config.vocabularySize,
    });
    this.batches = trainingBatches(prepared.split.training, options);
  }

  /** @throws {OutOfMemoryError} when the device has no room for the plan. */
  static async open(
    gpu: Gpu,
    prepared: Prepared,
    options: TrainOptions,
    { schedule = scheduleOf(options), ...session }: TrainerSettings = {},
  ): Promise<Trainer> {
    const { graphs, plan } = planStep(stepSettings(prepared.model, options, prepared.adapter), gpu.kernels);
    return new Trainer(await Session.open(gpu, plan, session), graphs, prepared, options, schedule);
  }

  /** Steps done, counted over continued runs. */
  get step(): number {
    return this.#step;
  }

  get updates(): number {
    return this.#updates;
  }

  /** Tokens trained on so far, padding not counted. */
  get tokens(): number {
    return this.#tokens;
  }

  /** Whether every update is skipped however small the loss scale: the run has diverged. */
  get overflowsForever(): boolean {
    return this.#lossScaler?.hopeless ?? false;
  }

  /** State of loss scaling; null where no gradient is f16. */
  get lossScale(): LossScaleState | null {
    return this.#lossScaler?.state ?? null;
  }

  /** Continues where a saved run stopped. */
  seek(
    state: {
      step: number;
      updates: number;
      tokens: number;
      sequenceIndex: number;
      lossScale: LossScaleState | null;
    },
  ): void {
    if (state.lossScale) this.#lossScaler?.restore(state.lossScale);
    this.#step = state.step;
    this.#updates = state.updates;
    this.#tokens = state.tokens;
    this.batches.seek(state.sequenceIndex);
  }

  /** One optimizer step: all micro-steps, then one update. */
  async trainStep(): Promise<StepReport> {
    const { gradientAccumulationSteps: K, microBatchSize } = this.#options;
    const started = performance.now();
    const learningRate = learningRateAt(this.#updates, this.schedule);
    // Targets of the whole step are counted before its first micro-step, as each counts by those that it has.
    const { targets, tokens } = this.batches.counts(K * microBatchSize);
    this.#setBlock(learningRate, targets);
    for (let k = 0; k < K; k++) {
      this.batches.next(microBatchSize, this.#feed);
      this.#feed.upload();
      this.#block.microStepIndex = k;
      this.session.writeStep(this.#block);
      if (k < K - 1) this.session.submit(this.session.encode([this.graphs.programs.micro]));
    }
    this.session.submit(this.#encoded ?? this.#encodeLast());
    // Encoded now, while the device is busy; nothing in it depends on this step's results.
    this.#encoded = this.#encodeLast();
    const figures = new Float32Array(await this.session.readback.read(20));
    const [lossSum, gradientNorm, , overflow] = figures;
    const skipped = overflow !== 0;
    const report: StepReport = {
      step: this.#step,
      loss: lossSum / targets,
      tokens,
      targets,
      ms: performance.now() - started,
      gradientNorm,
      learningRate,
      lossScale: this.#lossScaler?.scale ?? 1,
      skipped,
      bytes: this.session.ledger.bytes,
    };
    this.#lossScaler?.update(skipped);
    this.#step++;
    if (!skipped) this.#updates++;
    this.#tokens += tokens;
    return report;
  }

  /** The last micro-step, the update, and the copies that bring loss and norm back. */
  #encodeLast(): EncodedCommands {
    const { programs: { micro, update }, inputs, clip } = this.graphs;
    return this.session.encode(update === null ? [micro] : [micro, update], [
      { value: inputs.loss, byteLength: 4 },
      { value: clip, byteLength: 16 },
    ]);
  }

  #setBlock(learningRate: number, targets: number): void {
    const { optimizer, optimizerOptions } = this.#options;
    const time = { t: this.#updates + 1, learningRate };
    Object.assign(this.#block, OPTIMIZERS[optimizer].stepFields(time, optimizerOptions));
    const lossScale = this.#lossScaler?.scale ?? 1;
    this.#block.gradientScale = lossScale / targets;
    this.#block.inverseLossScale = 1 / lossScale;
    this.#block.stepIndex = this.#step;
  }

  /**
   * Mean loss over held-out windows, and how many labels are right where the model predicts them.
   *
   * @param heldOut Tokens of other data; without it, those held out of the data trained on.
   * @throws {RangeError} when nothing is held out.
   */
  async evaluate(heldOut: Sequences | null = this.#prepared.split.heldOut): Promise<HeldOutLoss> {
    const program = this.graphs.programs.evaluate;
    if (!heldOut || program === null) {
      throw new RangeError("Cannot evaluate: no part of the data is held out");
    }
    const { microBatchSize, heldOutWindows } = this.#options;
    const { inputs } = this.graphs;
    const labels = labelLogits(this.graphs.graphs[program], this.#prepared.model);
    const settings = { program, inputs, labels, feed: this.#feed, microBatchSize, heldOutWindows };
    return await heldOutLoss(this.session, heldOut, settings);
  }

  /** Time by kernel of a training step. It spoils the weights: nothing may be trained or saved afterwards. */
  profile(): Promise<StepProfile> {
    const { micro, update } = this.graphs.programs;
    return profileStep(this.session, update === null ? [micro] : [micro, update]);
  }

  /** Dispatches of one optimizer step. */
  get dispatchesPerStep(): number {
    const { micro, update } = this.graphs.programs;
    const count = (program: number) => this.session.recordings[program].commands.length;
    return this.#options.gradientAccumulationSteps * count(micro) + (update === null ? 0 : count(update));
  }

  /** Live bytes by role over the dispatches of the micro-step and update, persistent ones included. */
  timeline(): TrainResult["timeline"] {
    return stepTimeline(this.plan, this.graphs.programs);
  }

  /** Frees the device memory. */
  close(): void {
    this.session.close();
  }
}
