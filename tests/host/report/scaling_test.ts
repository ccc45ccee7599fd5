import assert from "node:assert/strict";
import { scalingChart } from "../../../report/charts/scaling.ts";
import { configurationsOf } from "../../../report/rows/configuration.ts";
import { scalingCurves } from "../../../report/rows/scaling.ts";
import { becauseOf, findingOf } from "../../../report/page/sections/scaling.ts";
import type { CellRecord, RunRecord } from "../../../results/record.ts";
import { loaded, SMALL, svgLines } from "./support.ts";
import { syntheticId } from "./synthetic_run.ts";

const [PATTERN] = loaded(SMALL).cells;
const MIB = 2 ** 20;

interface Size {
  T: number;
  flash?: boolean;
  ms: number;
  activations: number;
  flops: number;
}

/** A cell of the phase `scaling-sequence`. */
function cell({ T, flash = false, ms, activations, flops }: Size): CellRecord {
  const byRole = {
    weights: MIB,
    masterWeights: 0,
    gradients: MIB,
    optimizer: 2 * MIB,
    activations,
    workspace: 0,
    inputs: 0,
  };
  const bytes = 4 * MIB + activations;
  return {
    ...PATTERN,
    id: syntheticId(`scaling ${T} ${flash}`),
    phase: "scaling-sequence",
    label: `${flash ? "flash" : "naive"}, T ${T}`,
    config: { ...PATTERN.config, sequenceLength: T, methods: flash ? ["flash"] : [], seed: 0 },
    modelFlopsPerStep: flops,
    warmupSteps: 1,
    samples: { ...PATTERN.samples!, ms: [9 * ms, ms, ms], tokens: [T, T, T] },
    memory: {
      ...PATTERN.memory!,
      plannedPeakBytes: bytes,
      bookedPeakBytes: bytes,
      plannedByRole: byRole,
      bookedByRole: byRole,
    },
    profile: [
      { kernel: "linear", dispatches: 1, ms: ms - 10, flops, bytes: 1 },
      { kernel: "adamw", dispatches: 1, ms: 10, flops: 0, bytes: 1 },
    ],
  };
}

/** Time: 20 ms and 1 ms a MFLOP. Activations: 512 bytes · T and 8 bytes · T² naive, 1 KiB · T flash. */
const SIZES = [128, 256, 512, 1024];
const CELLS = SIZES.flatMap((T) => {
  const flops = 1e5 * T + 200 * T * T;
  return [
    cell({ T, ms: 20 + flops / 1e6, flops, activations: 512 * T + 8 * T * T }),
    cell({ T, flash: true, ms: 20 + flops / 1e6, flops, activations: 1024 * T }),
  ];
});
const ROOFLINE = { matmulFlopsPerSecond: { f32: 2e9, f16: null }, copyBytesPerSecond: 1e9, how: "by hand" };
const PHASES: RunRecord["phases"] = [
  { name: "scaling-sequence", kind: "matrix", shows: "growth-with-sequence", description: "" },
];
const curves = scalingCurves(configurationsOf(CELLS, PHASES), ROOFLINE);
const curve = (quantity: string, label: string) =>
  curves.find((one) => one.quantity === quantity && one.label === label)!;

Deno.test("scalingCurves() finds time and memory of naive and flash attention, by rising length", () => {
  assert.deepEqual(curves.map(({ axis, quantity, label }) => `${axis} ${quantity} ${label}`), [
    "sequenceLength time naive",
    "sequenceLength memory naive",
    "sequenceLength time flash",
    "sequenceLength memory flash",
  ]);
  for (const { points } of curves) assert.deepEqual(points.map(({ x }) => x), SIZES);
});

Deno.test("time is set beside the exponent of the model's FLOPs, and fixed costs are found", () => {
  const { fit, expected, outcome } = curve("time", "naive");
  const because = becauseOf(curve("time", "naive"));
  // FLOPs: 1.6e7, 3.9e7, 1.0e8, 3.1e8; between T and T².
  assert.ok(expected.exponent > 1.35 && expected.exponent < 1.5, `${expected.exponent}`);
  assert.ok(fit!.exponent.estimate < expected.exponent);
  assert.equal(outcome, fit!.exponent.high < expected.exponent - 0.02 ? "below" : "agrees");
  const small = 20 + 1e5 * 128e-6 + 200 * 128 ** 2 * 1e-6;
  assert.match(
    because[0],
    /0\.446 GFLOP\/s \(22 % of the ceiling\) at .* and 0\.940 GFLOP\/s \(47 % of the ceiling\)/,
  );
  assert.ok(
    because[1].includes(`20 ms that do not grow, ${(2000 / small).toFixed(0)} % of the smallest`),
    because[1],
  );
  assert.match(because[2], /^28 % of the kernels' time is outside products at the smallest size, 3\.0 %/);
});

Deno.test("memory of naive attention is below T² by its states, and its T² part is told from the rest", () => {
  const { expected, outcome } = curve("memory", "naive");
  const because = becauseOf(curve("memory", "naive"));
  assert.equal(expected.exponent, 2);
  assert.equal(outcome, "below");
  assert.match(
    because[0],
    /^weights and states are 9[0-9] % of the smallest peak and 3[0-9] % of the largest$/,
  );
  assert.match(because[1], /^activations alone grow with exponent 1\.8/);
  // 8·128 of 512 + 8·128 bytes a token, 8·1024 of 512 + 8·1024.
  assert.equal(
    because[2],
    "the part of them that grows with T² is 67 % at the smallest size and 94 % at the largest",
  );
});

Deno.test("memory of flash attention grows with T by its activations", () => {
  const { expected, outcome } = curve("memory", "flash");
  const because = becauseOf(curve("memory", "flash"));
  assert.equal(expected.exponent, 1);
  assert.equal(outcome, "below");
  assert.equal(because[1], "activations alone grow with exponent 1.00");
  assert.equal(because.length, 2);
  assert.match(
    findingOf(curve("memory", "flash")),
    /^Memory \(flash\) grows with sequence length .* below the theory's 1\.00$/,
  );
});

Deno.test("an interval that holds many laws agrees with none", () => {
  const noisy = [30, 300, 60, 900].map((ms, i) =>
    cell({ T: SIZES[i], ms, flops: 1e6 * SIZES[i], activations: 1 })
  );
  const [time] = scalingCurves(
    configurationsOf(
      noisy.map((one, i) => ({
        ...one,
        samples: { ...one.samples!, ms: [1, 30 * (i + 1), 900 / (i + 1)] },
      })),
      PHASES,
    ),
    null,
  );
  assert.equal(time.outcome, "unsettled");
  assert.match(findingOf(time), /too uncertain to tell from the theory's 1\.00$/);
});

/** Time of naive attention where theory is a straight line: `ms` of each timed step, by size. */
function timeOf(ms: (T: number) => number[]) {
  const cells = SIZES.map((T) => cell({ T, ms: 100, flops: 1e6 * T, activations: 1 }));
  for (const one of cells) {
    const steps = ms(one.config.sequenceLength);
    one.samples = { ...one.samples!, ms: [1, ...steps], tokens: [1, ...steps.map(() => 1)] };
  }
  return scalingCurves(configurationsOf(cells, PHASES), null).find(({ quantity }) => quantity === "time")!;
}

Deno.test("an exponent within 0.02 of the theory's agrees with it, above and below", () => {
  const of = (exponent: number) => timeOf((T) => [T ** exponent, T ** exponent]).outcome;
  assert.deepEqual([0.979, 0.981, 1.019, 1.021].map(of), ["below", "agrees", "agrees", "above"]);
});

Deno.test("an exponent that is known to a quarter agrees, and one that is not is unsettled", () => {
  // Steps of each size a factor apart: eight points, t(0.975, 6) = 2.446911851, spread 10 · (ln 2)².
  const logarithm = 0.25 * Math.LN2 / (2.446911851 * Math.sqrt(8 / 6 / 10));
  const of = (by: number) =>
    timeOf((T) => [T * Math.exp(logarithm * by), T / Math.exp(logarithm * by)]).outcome;
  assert.deepEqual([of(0.999), of(1.001)], ["agrees", "unsettled"]);
});

Deno.test("scalingCurves() has none for fewer than three sizes, and passes over cells that did not run", () => {
  assert.deepEqual(scalingCurves(configurationsOf(CELLS.slice(0, 4), PHASES), null), []);
  assert.equal(scalingCurves(configurationsOf(CELLS.slice(0, 6), PHASES), null).length, 4);
  const failed = CELLS.map((one) => ({ ...one, status: "oom" as const, samples: null }));
  assert.deepEqual(scalingCurves(configurationsOf(failed, PHASES), null), []);
});

for (const width of [900, 340]) {
  Deno.test(`scaling of memory, ${width} px wide, draws as reviewed`, (t) => {
    const shown = curves.filter(({ quantity }) => quantity === "memory");
    const panel = { curves: shown, xLabel: "sequence length, tokens (log)", yLabel: "MiB (log)", unit: MIB };
    const size = { id: "chart", width, title: "Finding", description: "What is drawn" };
    return t.assertSnapshot(scalingChart(panel, size), { serializer: svgLines });
  });
}
