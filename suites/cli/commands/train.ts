import { type Command, EXIT, type Services } from "../command.ts";
import type { AdapterDescription, Engine, StepReport, TrainingPlan, TrainResult } from "../../engine.ts";
import type { Arguments } from "../flags.ts";
import { applyGpuFlags, GPU_FLAGS } from "../gpu_flags.ts";
import { OFFLINE_FLAG, pinnedField, withPinnedModel } from "../hub_model.ts";
import {
  kernelRates,
  modelFlopsUtilisation,
  raisedRoofline,
  stepAsKernel,
} from "../../../results/roofline.ts";
import { median } from "../../../results/stats.ts";
import { divergence } from "../../measure.ts";
import {
  MemoryPoller,
  memorySource,
  type Observation,
  observation,
  ProcessPeak,
  residentBytes,
} from "../../observed_memory.ts";
import { type ProfiledStep, profileText } from "../profile_text.ts";
import { scoresText } from "../scores_text.ts";
import { bytesText } from "../../../results/bytes.ts";
import { configFromFlags, runOptions, trainingFlags, withFolderLora } from "../train_flags.ts";

/** `deno task train`: one training run in this process. */
export const train: Command = {
  spec: {
    name: "train",
    what: "Trains one model. With --json, prints a line a step and a last line with done, memory and speed.",
    flags: {
      ...trainingFlags(),
      save: { value: "DIR", what: "folder to write the trained model to" },
      adapter: {
        value: "DIR",
        what: "PEFT folder whose adapter to go on with, by its own settings; needs a LoRA method",
      },
      merge: { what: "save the base model with the adapter merged in" },
      fresh: {
        what: "start a new run from a saved folder's weights instead of going on with the one it came from",
      },
      profile: { what: "time every kernel over one more step, and measure what the device can do at best" },
      offline: OFFLINE_FLAG,
      ...GPU_FLAGS,
      json: { what: "one JSON object per line on standard output" },
      quiet: { what: "no progress on standard error" },
    },
    examples: [
      "deno task train --model gpt2-nano --data moby-dick --steps 200",
      "deno task train --model ./gpt2 --data notes.txt --lr 1e-4 --save out",
      "deno task train --model HuggingFaceTB/SmolLM-135M --data notes.txt \\",
      "    --methods lora --save out",
      "deno task train --model gpt2-nano --data moby-dick --batch-size 8 \\",
      "    --micro-batch-size 2 --methods checkpoint,fp16 --json",
      "deno task train --model out --data notes.txt --steps 100   (goes on)",
      "deno task train --model gpt2-nano --data notes.txt --schedule cosine \\",
      "    --steps 500 --schedule-steps 1000 --save out   (the first half)",
    ],
  },
  run: runTrain,
};

/** Failures of a run that are results, by the name of their class: the message says all. */
const RESULT_ERRORS = ["OutOfMemoryError", "DeviceLimitError", "DivergedError", "DeviceLostError"];

async function runTrain(args: Arguments, services: Services): Promise<number> {
  const { values, switches } = args;
  applyGpuFlags(args);
  const asked = configFromFlags(args, services.engine);
  const config = await withPinnedModel(
    values.adapter === undefined ? asked : withFolderLora(asked, args),
    args,
    services,
    "model",
  );
  const { given, ...own } = runOptions(config, args, services.engine);
  const json = switches.has("json");
  const show = !switches.has("quiet") && !json;
  const watch = new MemoryWatch();
  const steps: StepReport[] = [];
  let lastStep = config.steps;
  let stopped = false;
  const onSignal = () => {
    if (stopped) Deno.exit(EXIT.interrupted);
    stopped = true;
  };
  Deno.addSignalListener("SIGINT", onSignal);
  try {
    const result = await services.engine.train({ ...config, ...own }, {
      onDevice: (adapter) => watch.begin(adapter),
      onNote: (text) => services.note(text),
      onPhase: (text) => show && services.note(text),
      onSteps: ({ last }) => lastStep = last,
      onHeldOutElsewhere: (data, point) =>
        show &&
        services.note(
          `step ${point.step}: held-out loss on ${data} ${point.loss.toFixed(4)}${scoresText(point)}`,
        ),
      onHeldOut: (point) =>
        show &&
        services.note(`step ${point.step}: held-out loss ${point.loss.toFixed(4)}${scoresText(point)}`),
      onStep: (report) => {
        steps.push(report);
        watch.step();
        if (json) services.print(stepLine(report));
        else if (show) services.note(stepText(report, lastStep));
      },
      shouldStop: () => stopped,
    }, {
      save: values.save,
      adapter: values.adapter,
      merge: switches.has("merge"),
      continueSaved: !switches.has("fresh"),
      given,
      profile: switches.has("profile"),
      alsoEvaluate: config.alsoEvaluate,
    });
    const summary = summaryOf(result, steps, await watch.end());
    // On a device of its own, when all that was to be observed has been: it takes memory.
    const profiled = result.profile ? await profiledStep(result, steps, config, services.engine) : null;
    if (json) {
      const more = { ...pinnedField(config, args), ...profiled && profileSummary(profiled) };
      services.print(JSON.stringify({ ...summary, ...more }));
    } else {
      services.print(summaryText(summary, divergence(steps.map(({ loss }) => loss), 1.5)));
      if (profiled) services.print(`\n${profileText(profiled)}`);
    }
    return stopped ? EXIT.interrupted : EXIT.done;
  } catch (error) {
    if (!(error instanceof Error) || !RESULT_ERRORS.includes(error.name)) throw error;
    services.note(error.message);
    return EXIT.failed;
  } finally {
    await watch.end();
    Deno.removeSignalListener("SIGINT", onSignal);
  }
}

/**
 * Watches what the driver or the system sees of this process, from the moment
 * when the device is open and empty.
 */
class MemoryWatch {
  #poller: MemoryPoller | null = null;
  readonly #peak = new ProcessPeak();
  #baseline: number | null = null;
  #how = "the device was never opened";
  #ended: Observation | null = null;

  async begin(adapter: AdapterDescription): Promise<void> {
    const source = await memorySource(adapter);
    if (source === "process") {
      this.#baseline = residentBytes();
      this.#how = ProcessPeak.how;
    } else if ("reason" in source) this.#how = source.reason;
    else {
      this.#poller = new MemoryPoller(source, Deno.pid);
      await this.#poller.begin();
    }
  }

  /** To be called after each step. */
  step(): void {
    this.#peak.step();
  }

  async end(): Promise<Observation> {
    const baseline = this.#baseline;
    const peak = baseline === null ? null : this.#peak.bytes;
    this.#ended ??= this.#poller
      ? await this.#poller.end()
      : observation({ peak, baseline, compiled: null }, this.#how);
    return this.#ended;
  }
}

function stepLine({ step, loss, tokens, ms, bytes, gradientNorm, learningRate }: StepReport): string {
  return JSON.stringify({ step, loss, tokens, ms, bytes, gradientNorm, learningRate });
}

function stepText({ step, loss, tokens, ms }: StepReport, last: number): string {
  return `step ${step + 1}/${last}: loss ${loss.toFixed(4)}, ${((tokens / ms) * 1000).toFixed(0)} tok/s`;
}

/** The profile of a run beside what the device can do at best. */
async function profiledStep(
  { profile, profiling, modelFlopsPerStep }: TrainResult,
  steps: readonly StepReport[],
  { methods }: { methods: readonly string[] },
  engine: Engine,
): Promise<ProfiledStep> {
  const dtype = methods.includes("fp16") ? "f16" : "f32";
  const measured = await engine.measureRoofline?.() ?? null;
  const stepMs = steps.length > 0 ? median(timedSteps(steps).map(({ ms }) => ms)) : null;
  const profiles = [profile!, ...stepMs === null ? [] : [[stepAsKernel({ modelFlopsPerStep, stepMs })]]];
  return {
    profile: profile!,
    profiling,
    roofline: measured && raisedRoofline(measured, profiles, dtype),
    dtype,
    modelFlopsPerStep,
    stepMs,
  };
}

/** What a profile adds to the last line of `train --json`. */
function profileSummary(step: ProfiledStep) {
  const { profile, profiling, roofline, dtype, modelFlopsPerStep, stepMs } = step;
  const timed = stepMs !== null && stepMs > 0;
  return {
    profile: profile.map((kernel) => ({ ...kernel, ...kernelRates(kernel, roofline, dtype) })),
    profiling,
    roofline,
    achievedFlopsPerSecond: timed ? modelFlopsPerStep / stepMs * 1000 : null,
    modelFlopsUtilisation: timed && roofline
      ? modelFlopsUtilisation({ modelFlopsPerStep, stepMs }, roofline, dtype)
      : null,
  };
}

/** Without the first step, which waits for pipelines and caches. */
function timedSteps(steps: readonly StepReport[]): readonly StepReport[] {
  return steps.length > 1 ? steps.slice(1) : steps;
}

/** The last line of `train --json`. */
function summaryOf(result: TrainResult, steps: readonly StepReport[], observed: Observation) {
  const timed = timedSteps(steps);
  const { accuracy, macroF1, majorityShare } = result.heldOut.at(-1) ?? {};
  const sum = (values: number[]) => values.reduce((a, b) => a + b, 0);
  const ms = sum(timed.map((step) => step.ms));
  return {
    done: true,
    parameters: result.parameters,
    trainableParameters: result.trainableParameters,
    plannedPeakBytes: result.plannedPeakBytes,
    bookedPeakBytes: result.bookedPeakBytes,
    observedPeakBytes: observed.peakBytes,
    observedHow: observed.how,
    bytesByRole: result.plannedByRole satisfies TrainingPlan["plannedByRole"],
    dispatchesPerStep: result.dispatchesPerStep,
    tokensPerSecond: ms > 0 ? (sum(timed.map(({ tokens }) => tokens)) / ms) * 1000 : null,
    heldOutLoss: result.heldOut.at(-1)?.loss ?? null,
    unigramLoss: result.unigramLoss,
    ...accuracy !== undefined && { accuracy, macroF1, majorityShare },
    ...result.heldOutElsewhere.length > 0 && {
      heldOutElsewhere: result.heldOutElsewhere.map(({ data, points }) => ({
        data,
        loss: points.at(-1)?.loss ?? null,
      })),
    },
    modelFlopsPerStep: result.modelFlopsPerStep,
    dataHash: result.dataHash,
    kernelChoices: result.kernelChoices,
    ...result.kernelNotes.length > 0 && { kernelNotes: result.kernelNotes },
  };
}

function summaryText(summary: ReturnType<typeof summaryOf>, diverged: string | null): string {
  const {
    parameters,
    trainableParameters,
    plannedPeakBytes,
    observedPeakBytes,
    tokensPerSecond,
    heldOutLoss,
    unigramLoss,
  } = summary;
  const share = trainableParameters === parameters ? "" : `, ${trainableParameters} trained`;
  return [
    `${parameters} parameters${share}`,
    `peak memory ${bytesText(plannedPeakBytes)} planned` +
    (observedPeakBytes === null ? "" : `, ${bytesText(observedPeakBytes)} observed`),
    `${tokensPerSecond?.toFixed(0) ?? "no"} tokens/s`,
    ...heldOutLoss === null ? [] : [
      `held-out loss ${heldOutLoss.toFixed(4)}` +
      (unigramLoss === null ? "" : ` (a histogram of the targets has ${unigramLoss.toFixed(4)})`) +
      scoresText(summary),
    ],
    ...diverged === null ? [] : [`diverged: ${diverged}`],
  ].join("\n");
}
