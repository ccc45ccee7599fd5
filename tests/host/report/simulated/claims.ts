/**
 * For every claim that noise can touch: what a run looks like in which its figure has a known truth. A run is
 * a list of sides; each process of it is a copy of every side, with noise (draws.ts).
 */
import type { CellRecord } from "../../../../results/record.ts";
import { syntheticRun } from "../synthetic_run.ts";

export const { run: RUN, cells: CELLS } = syntheticRun({
  everything: true,
  batches: [4],
  seeds: [0],
  tokens: 1024,
});

/** A configuration of a simulated run, and what is true of it. */
export interface Side {
  cell: CellRecord;
  /** Times as long a step as that of a side without. */
  time?: number;
  /** Nats above the loss of a side without, at the end of training. */
  loss?: number;
  /** Share of more tokens that it takes to any loss. */
  slower?: number;
  /** Nats that its curve would still fall by: the fewer, the more tokens a nat is worth. */
  left?: number;
  /** Nats by which the loss on its own text falls; the end of the side that it starts from is its start. */
  falls?: number;
  /** Nats by which the loss on the text that came before rises. */
  forgets?: number;
  /** Which side's weights it starts from. */
  startsFrom?: number;
}

/** A claim with the figure whose truth is set. */
export interface SimulatedClaim {
  claim: string;
  figure: string;
  /** What the figure is made of, and so which noise can touch it. */
  of: "times" | "losses";
  /** Truths where the claim does not hold: the margin first, then outside. */
  outside: readonly number[];
  /** A truth well inside the margin. */
  inside: number;
  /** How wide the margin is beside the others', and with it what is much noise; 1 where it is not said. */
  width?: number;
  /** What it is called there. */
  holds: "reproduced" | "by construction";
  sides(truth: number): Side[];
}

const template = (phase: string, label: string) =>
  CELLS.find((cell) => cell.phase === phase && cell.label.startsWith(label))!;

/** A copy of a cell of the phase, changed. */
function copyOf(phase: string, label: string, change: (cell: CellRecord) => void = () => {}): CellRecord {
  const cell = structuredClone(template(phase, label));
  // No verdict hangs on it, and all else is copied for every process of every draw.
  cell.memory!.timeline = [];
  change(cell);
  cell.label = `${label}, ${
    cell.config.methods.join(" + ")
  } ${cell.config.optimizer} ${cell.config.microBatchSize}`;
  return cell;
}

const shrink = ({ memory }: CellRecord, factor: number) => {
  memory!.bookedPeakBytes = Math.round(memory!.bookedPeakBytes! / factor);
};

/** Bytes by role as planned and as booked, which can be one object. */
const rolesOf = (memory: CellRecord["memory"]) => new Set([memory!.plannedByRole, memory!.bookedByRole!]);

/** The baseline of the ladder, and a stack at a fourth of its memory. */
function stack(methods: string[], optimizer: string): [CellRecord, CellRecord] {
  const baseline = copyOf("ladder", "baseline");
  const changed = copyOf("ladder", "+ Adafactor", (cell) => {
    Object.assign(cell.config, { methods, optimizer });
    cell.memory!.bookedPeakBytes = baseline.memory!.bookedPeakBytes;
    shrink(cell, 4);
  });
  return [baseline, changed];
}

const lean = () => stack(["checkpoint", "fp16"], "adafactor");
const flash = () => stack(["checkpoint", "flash", "fp16"], "adamw");

/** The batch sizes over which C3 and C4 are means, as the suites have them. */
const SIZES = [1, 4, 8];

/** Each size of batch with and without a method that makes steps so many times as long. */
function bySize(method: string, time: number, change: (cell: CellRecord) => void): Side[] {
  return SIZES.flatMap((microBatchSize) => {
    const baseline = copyOf("per-batch-size", "baseline, batch 4", ({ config }) => {
      config.microBatchSize = microBatchSize;
    });
    const changed = structuredClone(baseline);
    changed.config.methods = [method];
    changed.label = `${method}, ${microBatchSize}`;
    change(changed);
    return [{ cell: baseline }, { cell: changed, time }];
  });
}

/** Ways to fine-tune the same weights, one beside the other. */
function tunings(from: string, to: string): [CellRecord, CellRecord] {
  const [one, other] = [from, to].map((label) => copyOf("fine-tuning", label));
  return [one, other];
}

/** A base, what is specialized from it, and how those weights are fine-tuned. */
function chain(...last: Omit<Side, "startsFrom">[]): Side[] {
  return [
    { cell: copyOf("base", "base"), falls: 2 },
    { cell: copyOf("specialization", "specialization"), falls: 0.5, forgets: 0.5, startsFrom: 0 },
    ...last.map((side) => ({ falls: 0.5, forgets: 0.5, ...side, startsFrom: 1 })),
  ];
}

/** The longest sequence of the attention phase: in f32, and over an int8 base. */
function attention(times: number): Side[] {
  const cells = (base: string[]) =>
    [[], ["flash"]].map((on) =>
      copyOf("attention", "naive, 1024", (cell) => {
        cell.config.methods = [...on, ...base];
        cell.profile = null;
        if (on.length > 0) shrink(cell, 2);
      })
    );
  const [naive, tiled] = cells([]);
  const [naiveOver, tiledOver] = cells(["qlora-int8"]);
  return [{ cell: naive }, { cell: tiled, time: 1 / times }, { cell: naiveOver }, { cell: tiledOver }];
}

/** The smallest and the largest batch of the sweep. */
function sweep(throughput: number, loss: number): Side[] {
  const cell = (microBatchSize: number) =>
    copyOf("batch-size", "batch 4", ({ config }) => config.microBatchSize = microBatchSize);
  return [{ cell: cell(1) }, { cell: cell(8), time: 1 / throughput, loss }];
}

export const SIMULATED: readonly SimulatedClaim[] = [
  {
    claim: "C1a",
    figure: "throughput",
    of: "times",
    outside: [0.95, 0.9],
    inside: 1,
    holds: "reproduced",
    sides: (x) => lean().map((cell, i) => ({ cell, time: i === 0 ? 1 : 1 / x })),
  },
  {
    claim: "C1b",
    figure: "throughput",
    of: "times",
    outside: [0.95, 0.9],
    inside: 1,
    holds: "reproduced",
    sides: (x) => flash().map((cell, i) => ({ cell, time: i === 0 ? 1 : 1 / x })),
  },
  {
    claim: "C1b",
    figure: "nats of held-out loss",
    of: "losses",
    outside: [0.01, 0.02],
    inside: 0,
    holds: "reproduced",
    sides: (x) => flash().map((cell, i) => ({ cell, loss: i === 0 ? 0 : x })),
  },
  {
    claim: "C1b",
    figure: "share of more tokens to the baseline's loss",
    of: "losses",
    outside: [0.05, 0.1],
    inside: 0,
    holds: "reproduced",
    sides: (x) => flash().map((cell, i) => ({ cell, slower: i === 0 ? 0 : x })),
  },
  {
    // 0.01 nats are a fifth of the tokens here, so that the second measure alone stands at its margin. A
    // straight line between evaluations is above the curve, hence not 0.05.
    claim: "C1b",
    figure: "share of more tokens on a flat curve",
    of: "losses",
    outside: [0.06, 0.1],
    inside: 0,
    width: 0.25,
    holds: "reproduced",
    sides: (x) => flash().map((cell, i) => ({ cell, left: 0.05, slower: i === 0 ? 0 : x })),
  },
  ...["C2", "C14"].map((claim): SimulatedClaim => ({
    claim,
    figure: "nats of held-out loss",
    of: "losses",
    outside: [],
    inside: 0,
    holds: "by construction",
    sides: (x) =>
      ["baseline", "accumulation"].map((label, i) => ({
        cell: copyOf("single", label),
        loss: i === 0 ? 0 : x,
      })),
  })),
  {
    claim: "C3",
    figure: "times as long",
    of: "times",
    outside: [1.25, 1.15, 1.35],
    inside: 1.2,
    holds: "reproduced",
    sides: (x) =>
      bySize("checkpoint", x, ({ memory }) => {
        for (const bytes of rolesOf(memory)) bytes.activations /= 5;
      }),
  },
  {
    claim: "C4",
    figure: "throughput",
    of: "times",
    outside: [1, 0.9],
    inside: 1.2,
    holds: "reproduced",
    sides: (x) =>
      bySize("fp16", 1 / x, (cell) => {
        shrink(cell, 0.9);
        for (const bytes of rolesOf(cell.memory)) {
          [bytes.weights, bytes.masterWeights] = [bytes.weights / 2, bytes.weights];
        }
      }),
  },
  {
    claim: "C6",
    figure: "times as fast",
    of: "times",
    outside: [1, 0.9],
    inside: 1.2,
    holds: "reproduced",
    sides: attention,
  },
  {
    claim: "C11",
    figure: "throughput",
    of: "times",
    outside: [0.95, 0.9],
    inside: 1,
    holds: "reproduced",
    sides: (x) =>
      chain(...tunings("LoRA", "QLoRA int8").map((cell, i) => ({ cell, time: i === 0 ? 1 : 1 / x }))),
  },
  {
    claim: "C11",
    figure: "nats of held-out loss",
    of: "losses",
    outside: [0.01, 0.02],
    inside: 0,
    holds: "reproduced",
    sides: (x) =>
      chain(...tunings("LoRA", "QLoRA int8").map((cell, i) => ({ cell, falls: i === 0 ? 0.5 : 0.5 - x }))),
  },
  {
    claim: "C12",
    figure: "nats that adapters forget",
    of: "losses",
    outside: [0.01, 0.02],
    inside: 0,
    holds: "reproduced",
    sides: (x) => chain(...tunings("full", "LoRA").map((cell, i) => ({ cell, forgets: i === 0 ? 0.2 : x }))),
  },
  {
    claim: "C13",
    figure: "throughput of the largest batch",
    of: "times",
    outside: [1 / 0.95, 1],
    inside: 1.5,
    holds: "reproduced",
    sides: (x) => sweep(x, 0.1),
  },
  {
    claim: "C13",
    figure: "nats of held-out loss",
    of: "losses",
    outside: [0.01, 0],
    inside: 0.05,
    holds: "reproduced",
    sides: (x) => sweep(1.5, x),
  },
  {
    claim: "C15",
    figure: "nats that the last stage lowers",
    of: "losses",
    outside: [0.01, 0],
    inside: 0.05,
    holds: "reproduced",
    sides: (x) => chain({ cell: copyOf("fine-tuning", "full"), falls: x }),
  },
  {
    claim: "C16",
    figure: "times as fast",
    of: "times",
    outside: [10, 9],
    inside: 12,
    holds: "reproduced",
    sides: (x) => chain(...tunings("full", "LoRA").map((cell, i) => ({ cell, time: i === 0 ? 1 : 1 / x }))),
  },
  {
    claim: "C17",
    figure: "times as fast",
    of: "times",
    outside: [1, 0.9],
    inside: 1.2,
    holds: "reproduced",
    sides: (x) => chain(...tunings("full", "LoRA").map((cell, i) => ({ cell, time: i === 0 ? 1 : 1 / x }))),
  },
];
