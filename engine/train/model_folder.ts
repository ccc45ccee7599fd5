import { inputExists, readJsonInput } from "../formats/input_file.ts";
import { writeTextAtomically } from "../formats/output_file.ts";
import { openSafetensors, type TensorToWrite, writeSafetensors } from "../formats/safetensors.ts";
import { disk } from "../host.ts";
import { InputError } from "../input_error.ts";
import { ConfigReader } from "../model/config_reader.ts";
import { type DropoutRates, NO_DROPOUT, readDropout } from "../model/dropout.ts";
import { describeJson, isJsonObject } from "../formats/json.ts";
import { elementCount, type Value } from "../graph/types.ts";
import type { Session } from "../runtime/session.ts";
import type { LossScaleState } from "./loss_scale.ts";
import { mergedTensors, saveAdapter } from "./adapters.ts";
import { stepMethods } from "./methods.ts";
import type { TrainOptions } from "./options.ts";
import type { Prepared } from "./prepare.ts";
import { saveCompanions } from "./saved_files.ts";
import type { Schedule } from "./schedule.ts";
import { dropoutRates, type Trainer } from "./trainer.ts";
import { tensorOf } from "./weights.ts";

/** Where a saved run stopped, with what must be the same for it to be continued. */
export interface TrainingState {
  version: 1;
  step: number;
  updates: number;
  tokens: number;
  sequenceIndex: number;
  /** The loss scale of mixed precision; null without it. */
  lossScale: LossScaleState | null;
  /**
   * The whole one, of which the run may have been a part; null in states of versions that did not keep it.
   */
  schedule: Schedule | null;
  /** What the run trained with; null in states of versions that did not keep it. */
  dropout: DropoutRates | null;
  fingerprint: Record<string, unknown>;
}

const STATE_JSON = "training_state.json";
const STATE_TENSORS = "training_state.safetensors";

/**
 * Makes a folder and tries to write to it: asked before training, not after it.
 *
 * @throws {InputError} when it cannot be made or written to.
 */
export async function requireWritableFolder(folder: string, flag: string): Promise<void> {
  try {
    await disk.mkdir(folder, { recursive: true });
    const probe = await disk.makeTempFile({ dir: folder, prefix: ".writable-" });
    await disk.remove(probe);
  } catch (error) {
    throw new InputError(`Cannot write to ${folder} (${flag}): ${(error as Error).message}`);
  }
}

/**
 * Writes a trained model as transformers reads it (`config.json`, `model.safetensors`, tokenizer files), or a
 * trained adapter as peft does, and beside it the optimizer's state, from which a later run continues. Every
 * file appears whole or not at all.
 */
export async function saveModelFolder(
  folder: string,
  trainer: Trainer,
  prepared: Prepared,
  options: TrainOptions,
  merge: boolean,
): Promise<void> {
  const { session, graphs: { parameters } } = trainer;
  const { lora } = stepMethods(options, prepared.model, prepared.adapter);
  if (lora && !merge) {
    await saveAdapter(folder, session, parameters, lora, {
      baseModel: options.model,
      objective: prepared.model.objective,
      from: prepared.adapter?.config,
    });
  } else {
    const weights = lora
      ? mergedTensors(session, parameters, lora)
      : parameters.map(({ spec, master }) => tensorOf(session, spec.name, master));
    await writeSafetensors(`${folder}/model.safetensors`, weights, { format: "pt" });
    await saveCompanions(folder, prepared, options);
    // The moments of an adapter are no use to the merged model.
    if (lora) return;
  }
  const states = optimizerStates(trainer).map((value) => stateTensor(session, value));
  await writeSafetensors(`${folder}/${STATE_TENSORS}`, states, {});
  const state: TrainingState = {
    version: 1,
    step: trainer.step,
    updates: trainer.updates,
    tokens: trainer.tokens,
    sequenceIndex: trainer.batches.state().sequenceIndex,
    lossScale: trainer.lossScale,
    schedule: trainer.schedule,
    dropout: dropoutRates(options, prepared.model),
    fingerprint: fingerprint(prepared, options),
  };
  await writeTextAtomically(`${folder}/${STATE_JSON}`, `${JSON.stringify(state, null, 2)}\n`);
}

/**
 * The state of the run that a model's folder was saved from, if it can go on:
 * with the same data, order, batch and optimizer.
 *
 * @param onOther Told what is different where the weights alone will be the start of a new run.
 * @throws {InputError} naming file and field where the state is not what this program writes.
 */
export async function readTrainingState(
  folder: string,
  prepared: Prepared,
  options: TrainOptions,
  onOther: (what: string) => void,
): Promise<TrainingState | null> {
  const path = `${folder}/${STATE_JSON}`;
  if (!await inputExists(path)) return null;
  const state = await readJsonInput(path);
  if (state.version !== 1) {
    throw new InputError(`${path}: version is ${describeJson(state.version)}, expected 1`);
  }
  const saved = isJsonObject(state.fingerprint) ? state.fingerprint : {};
  // As JSON, which has no `undefined`.
  const own = JSON.parse(JSON.stringify(fingerprint(prepared, options)));
  const other = Object.keys({ ...own, ...saved }).find((field) =>
    JSON.stringify(saved[field]) !== JSON.stringify(own[field])
  );
  if (other !== undefined) {
    onOther(
      other === "dataHash"
        ? "the data is other than what they were trained on"
        : `${other} is ${describeJson(own[other])}, was ${describeJson(saved[other])}`,
    );
    return null;
  }
  for (const field of ["step", "updates", "tokens", "sequenceIndex"] as const) {
    if (!Number.isSafeInteger(state[field]) || (state[field] as number) < 0) {
      throw new InputError(
        `${path}: ${field} is ${describeJson(state[field])}, expected a whole number from 0`,
      );
    }
  }
  const { schedule, dropout } = state;
  return {
    ...state as unknown as TrainingState,
    schedule: schedule === undefined ? null : checkedSchedule(schedule, path),
    dropout: dropout === undefined ? null : checkedDropout(dropout, path),
  };
}

function checkedSchedule(schedule: unknown, path: string): Schedule {
  const read = new ConfigReader(isJsonObject(schedule) ? schedule : {}, path, "schedule.");
  const atLeast = (least: number, name: "learningRate" | "warmupSteps" | "steps" | "floor") => {
    const value = read.number(name);
    const whole = name === "warmupSteps" || name === "steps";
    if (value >= least && (!whole || Number.isSafeInteger(value))) return value;
    throw read.refusal(name, `a ${whole ? "whole " : ""}number from ${least}`);
  };
  return {
    kind: read.oneOf("kind", ["constant", "cosine"]),
    learningRate: atLeast(0, "learningRate"),
    warmupSteps: atLeast(0, "warmupSteps"),
    steps: atLeast(1, "steps"),
    floor: atLeast(0, "floor"),
  };
}

function checkedDropout(dropout: unknown, path: string): DropoutRates {
  const read = new ConfigReader(isJsonObject(dropout) ? dropout : {}, path, "dropout.");
  const rates = { ...NO_DROPOUT };
  for (const where of Object.keys(rates) as (keyof DropoutRates)[]) rates[where] = readDropout(read, where);
  return rates;
}

/** Makes a trainer go on from a state and the optimizer's moments beside it. @throws {InputError} */
export async function restoreTraining(
  folder: string,
  state: TrainingState,
  trainer: Trainer,
  options: Pick<TrainOptions, "optimizer">,
): Promise<void> {
  using source = await openSafetensors(`${folder}/${STATE_TENSORS}`);
  const states = optimizerStates(trainer);
  const lacking = states.find(({ name }) => !source.has(name));
  if (lacking) throw new InputError(`${source.path}: ${otherSettings(lacking.name, source, options)}`);
  for (const value of states) {
    const info = source.info(value.name);
    const dtype = value.dtype === "u8" ? "U8" : "F32";
    if (info.dtype !== dtype || info.shape.join() !== value.shape.join()) {
      throw new InputError(
        `${info.path}: tensor ${value.name} is ${info.dtype} [${info.shape}], expected ${dtype} [${value.shape}]`,
      );
    }
    if (value.dtype === "u8") {
      trainer.session.write(value, await source.readBytes(value.name));
      continue;
    }
    for await (const { firstElement, values } of source.chunks(value.name)) {
      trainer.session.write(value, values, 4 * firstElement);
    }
  }
  trainer.seek(state);
}

/** What to say of a state that was saved by the same optimizer with settings that keep other values. */
function otherSettings(
  lacking: string,
  source: { has(name: string): boolean },
  { optimizer }: Pick<TrainOptions, "optimizer">,
): string {
  const parameter = lacking.slice(0, lacking.lastIndexOf("."));
  const advice = source.has(`${parameter}.state1`)
    ? `the moments of ${parameter} are in 8 bits, expected f32; to go on with them, add --quantize-embeddings true`
    : source.has(`${parameter}.exp_avg`) && lacking.endsWith(".state1")
    ? `the moments of ${parameter} are f32, expected 8 bits; to go on with them, leave out --quantize-embeddings`
    : `it has no ${lacking}, expected the state of ${optimizer} with the settings given; give those it was saved with`;
  return `${advice}, or start a new run from the weights with --fresh`;
}

function optimizerStates(trainer: Trainer): Value[] {
  return trainer.graphs.persistents.filter(({ role }) => role === "optimizer");
}

/** f32 moments, or the u8 codes of quantized ones. */
function stateTensor(session: Session, value: Value): TensorToWrite {
  if (value.dtype !== "u8") return tensorOf(session, value.name, value);
  const { name, shape } = value;
  const data = async () => new Uint8Array(await session.read(value), 0, elementCount(value));
  return { name, dtype: "U8", shape, data };
}

function fingerprint({ dataHash, model }: Prepared, options: TrainOptions): Record<string, unknown> {
  const {
    heldOutFraction,
    sequenceLength,
    microBatchSize,
    gradientAccumulationSteps,
    shuffle,
    seed,
    optimizer,
    methods,
    textField,
    labelField,
    packing,
    overlong,
  } = options;
  const batch = microBatchSize * gradientAccumulationSteps;
  return {
    dataHash,
    heldOutFraction,
    sequenceLength,
    batch,
    shuffle,
    // Hidden tokens depend on it too.
    seed: shuffle || model.objective === "masked-token" ? seed : null,
    optimizer,
    methods: [...methods],
    // Left out where they are not given: JSON has no `undefined`.
    textField,
    labelField,
    packing,
    overlong,
  };
}
