import { InputError } from "../../../mod.ts";
import { type Command, EXIT } from "../command.ts";
import {
  type Engine,
  PLANNED_ADAPTERS,
  type PlannedAdapter,
  PRINTOUTS,
  type TrainOptions,
} from "../../engine.ts";
import { cheapestFits, type Fit, largestMicroBatch } from "../../fit.ts";
import { OFFLINE_FLAG, pinnedField, withPinnedModel } from "../hub_model.ts";
import { methodsLabel } from "../../../results/methods.ts";
import { effectiveBatchSize } from "../../../results/tokens_per_step.ts";
import { bytesText, parseBytes } from "../../../results/bytes.ts";
import { configFromFlags, runOptions, trainingFlags } from "../train_flags.ts";

/** `deno task plan`: the memory of a configuration, without a GPU. */
export const plan: Command = {
  spec: {
    name: "plan",
    what:
      "Predicts memory by role at the peak of a training step, without a GPU and without data. With --memory, also the " +
      "largest batch and the cheapest methods that fit.",
    flags: {
      ...trainingFlags(),
      memory: { value: "BYTES", what: "budget, as 24GiB" },
      on: {
        value: "KIND",
        what: `what it will run on: ${PLANNED_ADAPTERS.join(", ")} (Mesa's); default: what this machine has`,
      },
      print: { value: "WHAT", what: `the step as text instead: ${PRINTOUTS.join(", ")}` },
      offline: OFFLINE_FLAG,
      json: { what: "one JSON document on standard output" },
    },
    examples: [
      "deno task plan --model gpt2 --seq-len 1024 --batch-size 8",
      "deno task plan --model gpt2-nano --methods checkpoint --print plan",
      "deno task plan --model gpt2-xl --seq-len 1024 --batch-size 8 --memory 24GiB",
      "deno task plan --model TinyLlama/TinyLlama_v1.1 --methods lora",
    ],
  },
  async run(args, services) {
    const { print } = services;
    const adapter = adapterOf(args.values.on) ?? services.engine.likelyAdapter?.();
    let dropout: TrainOptions["dropout"] = 0;
    const engine: Engine = {
      ...services.engine,
      planTraining: (options) => services.engine.planTraining({ ...options, dropout }, adapter),
    };
    const budgetBytes = args.values.memory === undefined ? null : parseBytes(args.values.memory);
    const config = await withPinnedModel(
      configFromFlags(args, engine, { data: engine.corpora[0] }),
      args,
      services,
      "config",
    );
    ({ dropout } = runOptions(config, args, engine));
    if (args.values.print !== undefined) {
      const what = PRINTOUTS.find((one) => one === args.values.print);
      if (!what || !engine.printTraining) {
        throw new InputError(`Cannot print ${args.values.print}: expected ${PRINTOUTS.join(", ")}`);
      }
      print(await engine.printTraining({ ...config, dropout }, what, adapter));
      return EXIT.done;
    }
    const { plannedPeakBytes: peakBytes, plannedByRole: bytesByRole, ...rest } = await engine.planTraining(
      config,
    );
    const memory = budgetBytes === null ? null : {
      budgetBytes,
      fits: peakBytes <= budgetBytes,
      largestMicroBatchSize: await largestMicroBatch(config, budgetBytes, engine),
      effectiveBatchSize: effectiveBatchSize(config),
      cheapest: await cheapestFits(config, budgetBytes, engine),
    };
    if (args.switches.has("json")) {
      print(JSON.stringify({
        parameters: rest.parameters,
        trainableParameters: rest.trainableParameters,
        plannedFor: adapter,
        peakBytes,
        bytesByRole,
        steadyBytes: rest.steadyBytes,
        dispatchesPerStep: rest.dispatchesPerStep,
        modelFlopsPerStep: rest.modelFlopsPerStep,
        ...memory && { memory },
        ...pinnedField(config, args),
      }));
      return EXIT.done;
    }
    const share = rest.trainableParameters === rest.parameters ? "" : `, ${rest.trainableParameters} trained`;
    print(`${rest.parameters} parameters${share}`);
    for (const [role, bytes] of Object.entries(bytesByRole)) {
      print(`  ${role.padEnd(14)}${bytesText(bytes).padStart(10)}`);
    }
    print(`  ${"peak".padEnd(14)}${bytesText(peakBytes).padStart(10)}`);
    print(`  ${"between steps".padEnd(14)}${bytesText(rest.steadyBytes).padStart(10)}`);
    if (memory) {
      print(`${memory.fits ? "Fits" : "Does not fit"} in ${bytesText(memory.budgetBytes)}`);
      const largest = memory.largestMicroBatchSize;
      print(
        largest === 0
          ? "Not even one sequence fits with these methods"
          : `Largest micro-batch with these methods: ${largest}`,
      );
      for (const fit of memory.cheapest) {
        print(`Cheapest at batch ${memory.effectiveBatchSize}: ${fitText(fit)}`);
      }
      if (memory.cheapest.length === 0) print("No combination of methods fits");
    }
    return EXIT.done;
  },
};

function adapterOf(named: string | undefined): PlannedAdapter | undefined {
  const found = PLANNED_ADAPTERS.find((one) => one === named);
  if (named === undefined || found) return found;
  throw new InputError(`Cannot plan for --on ${named}: expected ${PLANNED_ADAPTERS.join(" or ")}`);
}

function fitText(
  { methods, optimizer, microBatchSize, gradientAccumulationSteps, peakBytes, expectedSlowdown }: Fit,
): string {
  const split = gradientAccumulationSteps > 1
    ? `, ${gradientAccumulationSteps} micro-steps of ${microBatchSize}`
    : "";
  const slower = expectedSlowdown > 0 ? `, about ${Math.round(expectedSlowdown * 100)} % slower` : "";
  return `${methods.length === 0 ? "no methods" : methodsLabel(methods)}, ${optimizer}${split}: ${
    bytesText(peakBytes)
  }${slower}`;
}
