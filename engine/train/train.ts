import { openWeights } from "../formats/safetensors.ts";
import { openGpu } from "../runtime/device.ts";
import type { Gpu } from "../runtime/gpu.ts";
import type { PipelineCache } from "../runtime/pipelines.ts";
import { InputError } from "../input_error.ts";
import { elementCount } from "../graph/types.ts";
import type { HeldOutReport, StepReport, TrainListener, TrainOptions, TrainResult } from "./options.ts";
import { f16OverflowsToInfinity } from "../runtime/f16_probe.ts";
import { dropoutJson, labelsOf } from "../model/config.ts";
import { type DropoutRates, NO_DROPOUT } from "../model/dropout.ts";
import { prepare, type Prepared, prepareElsewhere } from "./prepare.ts";
import type { Sequences } from "./sequences.ts";
import { dropoutRates, Trainer } from "./trainer.ts";
import type { HeldOutLoss } from "./held_out_loss.ts";
import { loadAdapter } from "./adapters.ts";
import { adapterToGoOnWith, requireImplemented } from "./methods.ts";
import {
  readTrainingState,
  requireWritableFolder,
  restoreTraining,
  saveModelFolder,
  type TrainingState,
} from "./model_folder.ts";
import { countParameters, modelFlops } from "./plan_training.ts";
import { resolveModel } from "./model_source.ts";
import { beyondSchedule, continuedSchedule, type Schedule, scheduleOf } from "./schedule.ts";
import { unigramLoss } from "./unigram_loss.ts";
import { initializeWeights, loadWeights } from "./weights.ts";
import type { TensorToFill } from "./fill_values.ts";
import { beginInitialValues, type ValuesAhead } from "./initial_values.ts";

/** What a run may do besides training. */
export interface TrainExtras {
  /** Folder to write the trained model to. */
  save?: string;
  /** PEFT folder whose adapter training starts from; methods must have LoRA. */
  adapter?: string;
  /** Save the base model with the adapter merged in, instead of the adapter. */
  merge?: boolean;
  /** Continue the run that the model's folder was saved from, where it fits. */
  continueSaved?: boolean;
  /**
   * Settings that were asked for by name. A run that is continued follows the saved one's schedule in the
   * others; those that contradict it are refused. Default: all.
   */
  given?: ReadonlySet<keyof TrainOptions>;
  /** Time every kernel over one step after all else. */
  profile?: boolean;
  /** Other data whose held-out loss is taken at the same points. */
  alsoEvaluate?: readonly string[];
}

/** The loss is no longer a number: training has diverged. */
export class DivergedError extends Error {
  /** Name of the class, for those who meet it across processes. */
  override name = "DivergedError";
}

/**
 * Trains a model.
 *
 * @throws {InputError} when model, data or settings do not fit; before the device is opened.
 * @throws {OutOfMemoryError} when the device has no room for the plan.
 * @throws {DivergedError} when a loss is not finite; the steps so far have been reported.
 */
export function train(
  options: TrainOptions,
  listener: TrainListener = {},
  extras: TrainExtras = {},
): Promise<TrainResult> {
  return trainOn(null, options, listener, extras);
}

/**
 * Trains a model as `train()` does, on a device that stays open.
 *
 * @param device With the pipelines that earlier runs have compiled; null opens one and closes it in the end.
 */
export async function trainOn(
  device: { gpu: Gpu; pipelines: PipelineCache } | null,
  options: TrainOptions,
  listener: TrainListener = {},
  extras: TrainExtras = {},
): Promise<TrainResult> {
  requireImplemented(options);
  if (extras.save !== undefined) await requireWritableFolder(extras.save, "--save");
  if (options.dropout === "model") listener.onNote?.(await dropoutText(options.model));
  listener.onPhase?.(`reading ${options.data}`);
  const prepared = await prepare(options);
  if (extras.adapter !== undefined) {
    prepared.adapter = await adapterToGoOnWith(extras.adapter, options, prepared.model);
  }
  const elsewhere: Elsewhere[] = [];
  for (const data of extras.alsoEvaluate ?? []) {
    elsewhere.push({ data, heldOut: await prepareElsewhere(data, prepared, options), points: [] });
  }
  const source = prepared.folder === null ? null : await openWeights(prepared.folder);
  const ahead = source === null ? beginWeights(prepared, options) : null;
  let gpu: Gpu | undefined;
  let trainer: Trainer | undefined;
  try {
    const onOther = (what: string) =>
      listener.onNote?.(`starting a new run from the weights of ${prepared.folder}: ${what}`);
    const state = source && extras.continueSaved
      ? await readTrainingState(prepared.folder!, prepared, options, onOther)
      : null;
    const { schedule, dropout, notes } = state
      ? continuation(state, prepared, options, extras)
      : { schedule: scheduleOf(options), dropout: options.dropout, notes: [] };
    const first = state?.step ?? 0;
    const beyond = beyondSchedule(schedule, state?.updates ?? 0, (state?.updates ?? 0) + options.steps);
    if (state) listener.onNote?.([`continuing at step ${first}`, ...notes].join("; "));
    if (beyond !== null) listener.onNote?.(beyond);
    gpu = device?.gpu ?? await openGpu();
    await requireFeatures(options, gpu);
    await listener.onDevice?.(gpu.adapter);
    trainer = await Trainer.open(gpu, prepared, { ...options, dropout }, {
      schedule,
      pipelines: device?.pipelines,
      onCompiled: () => listener.onCompiled?.(),
      onProgress: atMostEachSecond((done, of) => listener.onPhase?.(`compiling: ${done} of ${of} kernels`)),
    });
    for (const note of trainer.session.kernelNotes) listener.onPhase?.(note);
    listener.onPhase?.(source ? `loading ${prepared.folder}` : "initialising weights");
    await startWeights(trainer, prepared, { source, ahead }, options, extras);
    if (state) await restoreTraining(prepared.folder!, state, trainer, options);
    listener.onSteps?.({ first, last: first + options.steps });
    const heldOut = await trainSteps(trainer, options, listener, elsewhere);
    if (extras.save !== undefined) {
      listener.onPhase?.(`saving to ${extras.save}`);
      await saveModelFolder(extras.save, trainer, prepared, { ...options, dropout }, extras.merge ?? false);
    }
    const heldOutElsewhere = elsewhere.map(({ data, points }) => ({ data, points }));
    const result = { ...describe(trainer, prepared, options), heldOut, heldOutElsewhere };
    // Profiling comes last of all, as it spoils the weights.
    return extras.profile ? { ...result, ...await profileTrainer(trainer, listener) } : result;
  } finally {
    await ahead?.end();
    source?.close();
    trainer?.close();
    if (!device) gpu?.device.destroy();
  }
}

/** One line on the dropout that a model's configuration asks for. */
async function dropoutText(model: string): Promise<string> {
  const { config, folder } = await resolveModel(model, "config");
  const rates = Object.entries(dropoutJson(config));
  const drops = rates.some(([, rate]) => rate > 0);
  const source = folder === null ? `the preset ${model} has it` : `transformers reads ${folder}/config.json`;
  const text = `dropout ${rates.map(([field, rate]) => `${field} ${rate}`).join(", ")}, as ${source}`;
  return drops ? `${text}; --dropout 0 turns it off` : text;
}

/** What a run that goes on takes from the saved one, and what the user should know of it. */
function continuation(
  state: TrainingState,
  prepared: Prepared,
  options: TrainOptions,
  { given }: TrainExtras,
): { schedule: Schedule; dropout: TrainOptions["dropout"]; notes: string[] } {
  const folder = prepared.folder!;
  const from = state.updates;
  const { schedule, notes } = continuedSchedule(state.schedule, options, {
    folder,
    from,
    given: (name) => given?.has(name) ?? true,
  });
  const own = dropoutRates(options, prepared.model);
  // Versions that did not keep the probabilities dropped nothing unless they were told to.
  const saved = state.dropout ?? NO_DROPOUT;
  const places = Object.keys(saved) as (keyof DropoutRates)[];
  if (places.every((where) => saved[where] === own[where])) return { schedule, dropout: own, notes };
  const text = (rates: DropoutRates) =>
    new Set(Object.values(rates)).size === 1
      ? String(rates.residual)
      : places.map((where) => `${where} ${rates[where]}`).join(", ");
  return options.dropout === "model"
    ? {
      schedule,
      dropout: saved,
      notes: [
        ...notes,
        state.dropout
          ? `with the dropout of that run, ${text(saved)}`
          : "its dropout was not kept: taken as 0",
      ],
    }
    : {
      schedule,
      dropout: own,
      notes: [...notes, `from here on with --dropout ${text(own)}, before with ${text(saved)}`],
    };
}

/** Begins with the first weights beside the opening of the device. */
function beginWeights({ model }: Prepared, { seed }: TrainOptions): ValuesAhead<TensorToFill> {
  const tensors = model.parameters.map(({ name, init, shape }): TensorToFill => ({
    name,
    init,
    elementCount: elementCount({ shape }),
  }));
  return beginInitialValues(tensors, seed);
}

async function profileTrainer(
  trainer: Trainer,
  listener: TrainListener,
): Promise<Pick<TrainResult, "profile" | "profiling">> {
  listener.onPhase?.("profiling a step");
  const { kernels, ...profiling } = await trainer.profile();
  return { profile: kernels, profiling };
}

/** Base weights from the checkpoint or the seed; adapters from their folder or the seed. */
async function startWeights(
  { session, graphs: { parameters } }: Trainer,
  { newParameters }: Prepared,
  { source, ahead }: {
    source: Awaited<ReturnType<typeof openWeights>> | null;
    ahead: ValuesAhead<TensorToFill> | null;
  },
  { seed }: TrainOptions,
  { adapter }: TrainExtras,
): Promise<void> {
  const fresh = parameters.filter(({ added, spec }) => !source || added || newParameters.has(spec.name));
  await initializeWeights(session, fresh, seed, ahead);
  if (source) await loadWeights(session, parameters, source, newParameters);
  if (adapter !== undefined) await loadAdapter(session, parameters, adapter);
}

/** Other data that a run is evaluated on, with the losses so far. */
interface Elsewhere {
  data: string;
  heldOut: Sequences;
  points: TrainResult["heldOut"];
}

async function trainSteps(
  trainer: Trainer,
  options: TrainOptions,
  listener: TrainListener,
  elsewhere: readonly Elsewhere[],
): Promise<TrainResult["heldOut"]> {
  const points: TrainResult["heldOut"] = [];
  const evaluate = async () => {
    if (options.heldOutFraction === 0 || points.at(-1)?.step === trainer.step) return;
    const point = pointOf(trainer, await trainer.evaluate());
    points.push(point);
    listener.onHeldOut?.(point);
    for (const { data, heldOut, points } of elsewhere) {
      const there = pointOf(trainer, await trainer.evaluate(heldOut));
      points.push(there);
      listener.onHeldOutElsewhere?.(data, there);
    }
  };
  const every = options.evaluateEvery;
  const last = trainer.step + options.steps;
  if (every > 0) await evaluate();
  while (trainer.step < last) {
    if (listener.shouldStop?.()) break;
    const report = await trainer.trainStep();
    listener.onStep?.(report);
    requireFinite(report);
    if (trainer.overflowsForever) {
      throw new DivergedError(
        `Training diverged: gradients overflow at loss scale ${report.lossScale}, step after step`,
      );
    }
    if (every > 0 && trainer.step % every === 0) await evaluate();
  }
  await evaluate();
  return points;
}

function pointOf({ step, tokens }: Trainer, { loss, ms, scores }: HeldOutLoss): HeldOutReport {
  return { step, tokens, loss, ms, ...scores };
}

function requireFinite({ step, loss }: StepReport): void {
  if (!Number.isFinite(loss)) {
    throw new DivergedError(`Training diverged: the loss of step ${step} is ${loss}`);
  }
}

function describe(
  trainer: Trainer,
  prepared: Prepared,
  options: TrainOptions,
): Omit<TrainResult, "heldOut" | "heldOutElsewhere"> {
  const { plan, session } = trainer;
  return {
    ...countParameters(trainer.graphs.parameters),
    plannedPeakBytes: plan.peakBytes,
    plannedByRole: plan.bytesByRole,
    bookedPeakBytes: session.ledger.peakBytes,
    bookedByRole: session.ledger.peakByRole,
    timeline: trainer.timeline(),
    dispatchesPerStep: trainer.dispatchesPerStep,
    modelFlopsPerStep: modelFlops(prepared.model, options),
    dataHash: prepared.dataHash,
    kernelChoices: session.kernelChoices,
    kernelNotes: session.kernelNotes,
    unigramLoss: unigramLoss(prepared.split, { classes: classCount(prepared.model), ...options }),
    profile: null,
  };
}

/** How many targets a model chooses from. */
function classCount({ config, objective }: Prepared["model"]): number {
  return objective === "sequence-label" ? labelsOf(config).length : config.vocabularySize;
}

/**
 * The first call, and then no more than one a second: with a warm cache hundreds
 * of kernels compile in that time.
 */
function atMostEachSecond(tell: (done: number, of: number) => void): (done: number, of: number) => void {
  let told = -Infinity;
  return (done, of) => {
    const now = performance.now();
    if (now - told < 1000) return;
    told = now;
    tell(done, of);
  };
}

/** @throws {InputError} naming the feature that the adapter lacks. */
async function requireFeatures({ methods }: TrainOptions, gpu: Gpu): Promise<void> {
  if (!methods.includes("fp16")) return;
  const { kernels, adapter } = gpu;
  if (!kernels.target.shaderF16) {
    throw new InputError(`Cannot train with fp16 on ${adapter.name}: it lacks the feature shader-f16`);
  }
  if (!await f16OverflowsToInfinity(gpu)) {
    throw new InputError(
      `Cannot train with fp16 on ${adapter.name}: it stores 70000 as a finite f16, so overflows would go unseen`,
    );
  }
}
