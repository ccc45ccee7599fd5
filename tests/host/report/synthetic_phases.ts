/**
 * The phases of the paper's suite beyond batch sizes and ladder, made up in the same way: single methods, the
 * factorial, batch sizes, an overflow, rates, optimizers, attention, fine-tuning, and plans.
 */
import type {
  BytesByRole,
  CellRecord,
  Decision,
  HeldOutPoint,
  KernelProfile,
  PhaseShows,
  Roofline,
  RunConfig,
  RunRecord,
} from "../../../results/record.ts";
import { seededRandom } from "../../../results/stats.ts";
import { cellOf, configOf, lossAt, PARAMETERS, sum, type SyntheticOptions, wobble } from "./synthetic_run.ts";

export interface SyntheticPhases {
  cells: CellRecord[];
  phases: RunRecord["phases"];
  decisions: Decision[];
  roofline: Roofline;
}

const LOSS_AT_END: Record<string, number> = { adafactor: 0.02, adamw8bit: 0.002 };

/** What the phases show, as in the suites. */
export const SHOWS: Readonly<Record<string, PhaseShows>> = {
  "single": "single-methods",
  "ladder": "method-ladder",
  "factorial": "method-combinations",
  "per-batch-size": "batch-size-effects",
  "overflow": "overflow-recovery",
  "attention": "attention-lengths",
  "optimizers": "optimizer-convergence",
  "guide": "guide-table",
  "guide-full-size": "guide-table",
  "3b": "three-billion-plan",
  "llama2-7b": "llama-7b-plan",
};

/**
 * Seeds move the loss of all configurations alike, as a common order of data does; methods move it by little.
 */
export function shareSeeds(cell: CellRecord): void {
  const { config } = cell;
  if (config.startFrom !== null || cell.heldOut.length === 0) return;
  const offset = 0.03 * wobble(seededRandom(config.seed + 77));
  const own = 0.0004 * wobble(seededRandom(parseInt(cell.id.slice(0, 8), 16)));
  const shift = (LOSS_AT_END[config.optimizer] ?? 0) +
    Math.abs(Math.log10(config.learningRate / rateOf(config))) * 0.3;
  const batch = config.microBatchSize * config.gradientAccumulationSteps;
  for (const point of cell.heldOut) point.loss = lossAt(point.tokens, batch) + 0.06 + offset + own + shift;
  if (cell.samples) cell.samples.loss[0] = lossAt(0, batch) + offset;
}

const RATES: Record<string, number> = { adamw: 1e-3, adafactor: 2e-3, adamw8bit: 1e-3 };
const rateOf = ({ optimizer }: RunConfig) => RATES[optimizer] ?? 1e-3;

/** At effective batch 4, in micro-batches of one where it accumulates. */
function at4(
  seed: number,
  options: SyntheticOptions,
  change: Partial<RunConfig>,
  accumulates = false,
): RunConfig {
  const config = { ...configOf(4, seed, options), ...change };
  config.learningRate = change.learningRate ?? rateOf(config);
  return accumulates ? { ...config, microBatchSize: 1, gradientAccumulationSteps: 4 } : config;
}

/** Everything, for the seeds of the options. */
export function everyPhase(options: SyntheticOptions): SyntheticPhases {
  const { seeds = [0, 1, 2], hostile = "" } = options;
  const cells: CellRecord[] = [];
  const add = (
    phase: string,
    label: string,
    config: RunConfig,
    change: (cell: CellRecord) => void = () => {},
  ) => {
    const cell = cellOf(phase, label, config, "ok", options);
    giveMemory(cell, methodBytes(config));
    if (config.methods.includes("fp16")) giveScale(cell);
    change(cell);
    cells.push(cell);
    return cell;
  };
  const bySeed = (one: (seed: number) => void) => seeds.forEach(one);
  for (const methods of [["checkpoint"], ["fp16"], ["flash"]]) {
    bySeed((seed) => add("single", methods.join(), at4(seed, options, { methods })));
  }
  bySeed((seed) => add("single", "baseline", at4(seed, options, {})));
  bySeed((seed) => add("single", "accumulation", at4(seed, options, {}, true)));
  for (const optimizer of ["adafactor", "adamw8bit"]) {
    bySeed((seed) => add("single", optimizer, at4(seed, options, { optimizer })));
  }
  addFactorial();
  for (const batch of [1, 2, 4, 8]) {
    for (const methods of [[], ["checkpoint"], ["fp16"]]) {
      for (const seed of seeds.slice(0, 2)) {
        add("per-batch-size", `${methods.join() || "baseline"}, batch ${batch}`, {
          ...configOf(batch, seed, options),
          methods,
        });
      }
    }
  }
  bySeed((seed) =>
    add(
      "overflow",
      "fp16 from 2^24",
      at4(seed, options, { methods: ["fp16"], methodOptions: { fp16: { lossScale: 2 ** 24 } } }),
      (cell) => giveScale(cell, 2 ** 24, 3),
    )
  );
  for (const optimizer of ["adamw", "adafactor", "adamw8bit"]) {
    for (const factor of [0.25, 0.5, 1, 2]) {
      add(
        "rates",
        `${optimizer} ${factor}`,
        at4(seeds[0], options, { optimizer, learningRate: RATES[optimizer] * factor }),
      );
    }
    bySeed((seed) => add("optimizers", optimizer, at4(seed, options, { optimizer })));
  }
  addAttention();
  addFineTuning();
  addPlans();
  return {
    cells,
    phases: [...new Set(cells.map(({ phase }) => phase))].map((name) => ({
      name,
      kind: name === "rates"
        ? "rate-sweep" as const
        : PLANNED.includes(name)
        ? "plan" as const
        : "matrix" as const,
      shows: SHOWS[name] ?? null,
      description: `What ${name} is for.${hostile}`,
    })),
    decisions: Object.entries(RATES).map(([optimizer, value]) => ({
      name: `learningRate/${optimizer}`,
      rule: `the rate with the lowest held-out loss${hostile}`,
      inputs: cells.filter(({ phase, config }) => phase === "rates" && config.optimizer === optimizer).map((
        { id },
      ) => id),
      figures: {},
      chosen: String(value),
      value,
      reason: `${value} ends lowest${hostile}`,
    })),
    roofline: {
      matmulFlopsPerSecond: { f32: 60e9, f16: 55e9 },
      copyBytesPerSecond: 12e9,
      how: `the best of five products and copies${hostile}`,
    },
  };

  function addFactorial(): void {
    for (const accumulates of [false, true]) {
      for (const optimizer of ["adamw", "adafactor", "adamw8bit"]) {
        for (let bits = 0; bits < 8; bits++) {
          const methods = ["checkpoint", "flash", "fp16"].filter((_, i) => bits >> i & 1);
          const label = [accumulates ? "accumulation" : "", ...methods, optimizer].filter(Boolean).join(
            " + ",
          );
          for (const repeat of [0, 1]) {
            const config = at4(seeds[0], options, { methods, optimizer }, accumulates);
            const cell = cellOf("factorial", `${label}${repeat ? " again" : ""}`, config, "ok", options);
            giveMemory(cell, methodBytes(config));
            cells.push(Object.assign(cell, { label: label + hostile, repeat }));
          }
        }
      }
    }
  }

  function addAttention(): void {
    for (const sequenceLength of [64, 128, 256, 512, 1024]) {
      for (const base of [[], ["qlora-int8"]]) {
        for (const half of [[], ["fp16"]]) {
          for (const flash of [[], ["flash"]]) {
            const methods = [...flash, ...half, ...base].sort();
            for (const seed of seeds.slice(0, 2)) {
              const config = { ...configOf(1, seed, options), sequenceLength, methods };
              add("attention", `${methods.join(" + ") || "naive"}, ${sequenceLength}`, config, (cell) => {
                cell.profile = profileOf(config);
                cell.heldOut = [];
              });
            }
          }
        }
      }
    }
  }

  function addFineTuning(): void {
    bySeed((seed) => {
      const base = add("base", "base", at4(seed, options, { alsoEvaluate: [] }));
      const middle = add(
        "specialization",
        "specialization",
        at4(seed, options, { startFrom: base.id, data: "state-of-the-union", alsoEvaluate: ["moby-dick"] }),
        (cell) => giveTuning(cell, 0.9),
      );
      for (
        const [label, methods, forgets] of [
          ["full", [], 0.5],
          ["LoRA", ["lora"], 0.11],
          ["QLoRA NF4", ["qlora-nf4"], 0.12],
          ["QLoRA int8", ["qlora-int8"], 0.1],
        ] as const
      ) {
        const config = at4(seed, options, {
          startFrom: middle.id,
          data: "letters",
          alsoEvaluate: ["state-of-the-union"],
          methods: [...methods],
          methodOptions: Object.fromEntries(
            methods.map((method) => [method, { rank: 8, targets: "query-value" }]),
          ),
        });
        add("fine-tuning", label, config, (cell) => giveTuning(cell, forgets));
      }
    });
  }

  function addPlans(): void {
    const plan = (
      phase: string,
      label: string,
      change: Partial<RunConfig>,
      parameters: number,
      bytes: Partial<BytesByRole>,
    ) => {
      const trainable = change.methods?.some((method) => /lora/.test(method)) ? 4_194_304 : parameters;
      const cell = cellOf(phase, label, { ...configOf(1, 0, options), ...change }, "ok", options);
      giveMemory(cell, { ...NOTHING, ...bytes });
      Object.assign(cell, {
        kind: "planned",
        samples: null,
        heldOut: [],
        parameters,
        trainableParameters: trainable,
      });
      Object.assign(cell.memory!, {
        bookedPeakBytes: null,
        bookedByRole: null,
        observedPeakBytes: null,
        observedBaselineBytes: null,
      });
      cells.push(cell);
    };
    const large = 3_426_473_600;
    const quantized = { optimizerOptions: { quantizeEmbeddings: true } };
    for (
      const [label, optimizer, state, change] of [
        ["adamw", "adamw", 8, {}],
        ["adafactor", "adafactor", 0.01, {}],
        ["adamw8bit, quantized embeddings", "adamw8bit", 2.03, quantized],
        ["adamw8bit", "adamw8bit", 2.21, {}],
      ] as const
    ) {
      plan("3b", label, { model: "openllama-3b", optimizer, ...change }, large, {
        weights: large * 4,
        gradients: large * 4,
        optimizer: Math.round(large * state),
        activations: 1e9,
      });
    }
    const base = 6_742_609_920;
    plan(
      "llama2-7b",
      "LoRA over int8",
      { model: "llama2-7b", methods: ["qlora-int8"], sequenceLength: 512 },
      base,
      {
        weights: 7_547_921_664,
        optimizer: 33_554_432,
        activations: 4_136_763_392,
        workspace: 59_241_216,
      },
    );
    plan("llama2-7b", "LoRA over f16", { model: "llama2-7b", methods: ["lora"] }, base, {
      weights: base * 2,
      activations: 4e9,
    });
    const bert = 335_143_938;
    for (
      const [label, change, activations, state] of [
        ["baseline, batch 4, AdamW", { microBatchSize: 4 }, 5.5e9, 8],
        ["batch 1 × 4", { gradientAccumulationSteps: 4 }, 1.4e9, 8],
        ["+ checkpointing", { gradientAccumulationSteps: 4, methods: ["checkpoint"] }, 0.3e9, 8],
        [
          "full stack",
          { gradientAccumulationSteps: 4, methods: ["checkpoint", "fp16"], optimizer: "adafactor" },
          0.2e9,
          0.02,
        ],
      ] as const
    ) {
      const config = {
        model: "bert-large",
        ...change,
        methods: [..."methods" in change ? change.methods : []],
      };
      plan("guide-full-size", label, config, bert, {
        weights: bert * 4,
        gradients: bert * 4,
        optimizer: Math.round(bert * state),
        activations,
      });
      add("guide", label, { ...configOf(1, seeds[0], options), ...config, model: "bert-nano" });
    }
  }
}

const PLANNED = ["3b", "llama2-7b", "guide-full-size"];

const NOTHING: BytesByRole = {
  weights: 0,
  masterWeights: 0,
  gradients: 0,
  optimizer: 0,
  activations: 0,
  workspace: 0,
  inputs: 0,
};

function isAdapter({ methods }: RunConfig): boolean {
  return methods.some((method) => /lora/.test(method));
}

function methodBytes(config: RunConfig): BytesByRole {
  const has = (method: string) => config.methods.includes(method);
  const tokens = config.microBatchSize * config.sequenceLength;
  const state = { adamw: 8, adafactor: 0.03, adamw8bit: 2.04 }[config.optimizer] ?? 8;
  const half = has("fp16");
  const scores = has("flash")
    ? 0
    : 16 * config.microBatchSize * config.sequenceLength ** 2 * (has("checkpoint") ? 0.25 : 1);
  const activations = (tokens * 209_000 * (has("checkpoint") ? 0.2 : 1) + scores * 4) * (half ? 0.5 : 1);
  const share = isAdapter(config) ? 0.008 : 1;
  const weight = has("qlora-nf4") ? 0.55 : has("qlora-int8") ? 1.05 : 4;
  return {
    weights: Math.round(PARAMETERS * (half && !isAdapter(config) ? 2 : weight)),
    masterWeights: half && !isAdapter(config) ? PARAMETERS * 4 : 0,
    gradients: Math.round(PARAMETERS * 4 * share),
    optimizer: Math.round(PARAMETERS * state * share),
    activations: Math.round(activations * (isAdapter(config) ? 0.4 : 1)),
    workspace: 524_288 + tokens * 512,
    inputs: tokens * 8,
  };
}

function giveMemory(cell: CellRecord, bytes: BytesByRole): void {
  const peak = sum(bytes);
  cell.trainableParameters = isAdapter(cell.config) ? Math.round(PARAMETERS * 0.008) : PARAMETERS;
  Object.assign(cell.memory!, {
    plannedPeakBytes: peak,
    plannedByRole: bytes,
    bookedPeakBytes: peak,
    bookedByRole: bytes,
    timeline: cell.memory!.timeline.slice(0, 2).map(({ dispatch }) => ({ dispatch, bytes })),
  });
  if (cell.memory!.observedPeakBytes !== null) {
    cell.memory!.observedPeakBytes = Math.round(peak * 1.06 + 9e6 + parseInt(cell.id.slice(0, 4), 16) * 20);
  }
}

/** A loss scale that starts too high is halved at each of the first `skips` steps. */
function giveScale({ samples }: CellRecord, first = 65_536, skips = 0): void {
  if (!samples) return;
  samples.skipped = Array.from({ length: skips }, (_, step) => step);
  samples.lossScale = samples.loss.map((_, step) => first / 2 ** Math.min(step, skips));
}

/** Learns the new text, and forgets this much of the old one. */
function giveTuning(cell: CellRecord, forgets: number): void {
  const { seed, alsoEvaluate } = cell.config;
  const offset = 0.02 * wobble(seededRandom(seed + 5));
  const end = cell.heldOut.at(-1)!.tokens;
  const points = (from: number, until: number): HeldOutPoint[] =>
    [0, 0.5, 1].map((share) => ({
      step: Math.round(share * cell.config.steps),
      tokens: Math.round(share * end),
      loss: from + offset + (until - from) * (1 - Math.exp(-3 * share)) / (1 - Math.exp(-3)),
    }));
  cell.heldOut = points(3.4, 3.0 + (isAdapter(cell.config) ? 0.05 : 0));
  cell.heldOutElsewhere = alsoEvaluate.map((data) => ({
    data,
    points: points(3.1, 3.1 + forgets * (1 + offset)),
  }));
  if (isAdapter(cell.config)) cell.adapterBytes = 53_760;
}

function profileOf({ methods, sequenceLength }: RunConfig): KernelProfile[] {
  const flash = methods.includes("flash");
  const square = sequenceLength ** 2;
  const attention = flash
    ? [{ kernel: "flash_attention_forward", ms: 0.1 + square * 4e-6 }, {
      kernel: "flash_attention_grad",
      ms: 0.2 + square * 9e-6,
    }]
    : [{ kernel: "attention_scores", ms: 0.1 + square * 1e-5 }, {
      kernel: "attention_softmax",
      ms: 0.1 + square * 1e-5,
    }];
  return [
    ...attention.map(({ kernel, ms }) => ({
      kernel,
      ms,
      dispatches: 4,
      flops: square * 2048,
      bytes: square * 16,
    })),
    {
      kernel: "matmul f32 64x64",
      dispatches: 40,
      ms: 2 + sequenceLength * 0.05,
      flops: sequenceLength * 3e6,
      bytes: sequenceLength * 2e5,
    },
    {
      kernel: "layer_norm",
      dispatches: 18,
      ms: 0.3 + sequenceLength * 0.002,
      flops: 0,
      bytes: sequenceLength * 18_000,
    },
  ];
}
