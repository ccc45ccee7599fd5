// The suites that come with threefold: valid, fair, and sized for what they run on.
import assert from "node:assert/strict";
import { engine } from "../../../suites/engine.ts";
import { calibrate, estimateMs } from "../../../suites/estimate.ts";
import { forecastCells } from "../../../suites/forecast.ts";
import { effectiveBatchSize, tokensPerStep } from "../../../results/tokens_per_step.ts";
import { TIERS } from "../../../suites/schema.ts";
import { tieredSuite } from "../../../suites/suite.ts";
import { loadSuite } from "../../../suites/suite_checks.ts";
import type { Cell } from "../../../suites/matrix.ts";

const SUITES = ["paper", "hf-guide", "finetune", "flash", "optimizers", "planner"];

async function cellsOf(name: string, tier: typeof TIERS[number], quick: boolean): Promise<Cell[]> {
  const file = await loadSuite(`suites/${name}.yaml`, engine);
  return forecastCells(tieredSuite(file, tier, quick)).map(({ cell }) => cell);
}

/** Cells by phase. */
function phasesOf(cells: readonly Cell[]): Map<string, Cell[]> {
  return Map.groupBy(cells, ({ phase }) => phase);
}

for (const name of SUITES) {
  Deno.test(`suites/${name}.yaml: phases that compare losses have equal tokens, schedules and seeds for all cells`, async () => {
    for (const tier of TIERS) {
      for (const quick of [false, true]) {
        for (const [phase, cells] of phasesOf(await cellsOf(name, tier, quick))) {
          const compared = cells.filter(({ kind, prunedBecause, config }) =>
            kind === "trained" && prunedBecause === null && config.heldOutFraction > 0 &&
            config.heldOutWindows > 1
          );
          const where = `${name} ${phase} on ${tier}${quick ? " --quick" : ""}`;
          const distinct = (of: (cell: Cell) => unknown) => new Set(compared.map(of)).size;
          if (compared.length === 0) continue;
          assert.equal(distinct(({ config }) => config.steps * tokensPerStep(config)), 1, where);
          // Warm-ups are whole steps: equal in tokens up to half a step of the largest batch.
          const warmups = compared.map(({ config }) => config.warmupSteps * tokensPerStep(config));
          const largest = Math.max(...compared.map(({ config }) => tokensPerStep(config)));
          assert.ok(Math.max(...warmups) - Math.min(...warmups) <= largest, `${where}: warm-ups ${warmups}`);
          const seeds = Map.groupBy(compared, ({ label }) => label).values().map((group) =>
            group.map(({ config }) => config.seed).join()
          );
          assert.equal(new Set(seeds).size, 1, `${where}: seeds`);
        }
      }
    }
  });
}

Deno.test("the paper's protocol has a phase for every claim, in every size on every tier", async () => {
  const claims = [
    "batch-size", // C13
    "rates",
    "single", // C2, C7, C14
    "ladder", // C1
    "one-model", // C1
    "second-model", // C1
    "quality", // C1
    "equal-memory", // C1
    "factorial",
    "per-batch-size", // C3, C4
    "odd-batch-sizes", // C13
    "overflow", // C5
    "attention", // C6
    "base", // C15
    "specialization",
    "fine-tuning", // C9, C11, C12
    "llama-base", // C9, C11
    "llama-fine-tuning",
    "task-base", // C11
    "task",
    "3b", // C7, C8
    "llama2-7b", // C10
    "mixed-precision", // C4
    "large-batches", // C2
  ];
  // Where one model does not do it all, where one has time for it, and where it is decided elsewhere.
  const some: Readonly<Record<string, (tier: string, quick: boolean) => boolean>> = {
    "one-model": (tier) => tier === "software",
    "quality": (tier) => tier === "software",
    "odd-batch-sizes": (tier) => tier !== "software",
    "second-model": (_, quick) => !quick,
    "llama-base": (_, quick) => !quick,
    "llama-fine-tuning": (_, quick) => !quick,
    "task-base": (_, quick) => !quick,
    "task": (_, quick) => !quick,
    "rates": (tier, quick) => tier !== "software" || !quick,
  };
  for (const tier of TIERS.filter((tier) => tier !== "gpu-short")) {
    for (const quick of [false, true]) {
      const phases = phasesOf(await cellsOf("paper", tier, quick));
      const expected = claims.filter((name) => some[name]?.(tier, quick) ?? true);
      assert.deepEqual([...phases.keys()], expected, `${tier} ${quick}`);
      const seeds = (phase: string) => new Set(phases.get(phase)!.map(({ config }) => config.seed)).size;
      assert.ok(seeds("batch-size") >= 2);
      const processes = new Set(
        phases.get("ladder")!.map(({ config, repeat }) => `${config.seed} ${repeat}`),
      );
      assert.ok(processes.size >= 3, `${processes.size} processes of the ladder`);
      if (!quick) assert.ok(seeds("single") >= (tier === "software" ? 3 : 5));
      const sizes = new Set(phases.get("batch-size")!.map(({ config }) => effectiveBatchSize(config)));
      assert.ok(sizes.size >= 4, "four batch sizes or more");
      const rounds = Map.groupBy(phases.get("factorial")!, ({ repeat }) => repeat);
      assert.equal(rounds.size, 2, "two rounds of the half fraction");
      for (const round of rounds.values()) assertHalfFraction(round);
    }
  }
});

Deno.test("the paper's tier for half an hour of a GPU: claim C1 in five processes a configuration, twice in 25 minutes", async () => {
  const cells = await cellsOf("paper", "gpu-short", false);
  const phases = phasesOf(cells);
  assert.deepEqual([...phases.keys()].slice(0, 5), [
    "single",
    "ladder",
    "quality",
    "equal-memory",
    "factorial",
  ]);
  const seeds = (phase: string) => new Set(phases.get(phase)!.map(({ config }) => config.seed)).size;
  assert.deepEqual([seeds("ladder"), seeds("quality")], [5, 5]);
  assertHalfFraction(phases.get("factorial")!.filter(({ repeat }) => repeat === 0));
  const calibration = calibrate([], "gpu-short");
  let ms = 0;
  for (const { config } of cells.filter(({ kind }) => kind === "trained")) {
    const { modelFlopsPerStep } = await engine.planTraining(config, "gpu");
    ms += estimateMs({ steps: config.steps, modelFlopsPerStep }, calibration);
  }
  assert.ok(2 * ms <= 25 * 60_000, `${Math.round(2 * ms / 1000)} s with wgpu and with Dawn`);
});

/** Sixteen cells that run, whose contrasts of five methods and of their ten pairs are orthogonal. */
function assertHalfFraction(cells: readonly Cell[]): void {
  assert.equal(cells.length, 16);
  assert.ok(cells.every(({ prunedBecause }) => prunedBecause === null));
  const signs = cells.map(({ config: { methods, optimizer, gradientAccumulationSteps } }) =>
    [
      gradientAccumulationSteps > 1,
      ...["checkpoint", "fp16", "flash"].map((id) => methods.includes(id)),
      optimizer === "adamw8bit",
    ].map((on) => on ? 1 : -1)
  );
  const columns = [0, 1, 2, 3, 4].flatMap((i) =>
    [[i], ...[0, 1, 2, 3, 4].slice(i + 1).map((j) => [i, j])].map((factors) =>
      signs.map((row) => factors.reduce((product, factor) => product * row[factor], 1))
    )
  );
  assert.equal(columns.length, 15);
  for (const [i, column] of columns.entries()) {
    assert.equal(column.reduce((sum, sign) => sum + sign, 0), 0);
    for (const other of columns.slice(i + 1)) {
      assert.equal(column.reduce((sum, sign, cell) => sum + sign * other[cell], 0), 0);
    }
  }
}

Deno.test("the software tier's ladder has the proportions of the guide's BERT-large, and saves threefold", async () => {
  const cells = phasesOf(await cellsOf("paper", "software", false)).get("ladder")!;
  const at = async (label: string, size: number) => {
    const { config } = cells.find((cell) => cell.label === label)!;
    const microBatchSize = label === "baseline" ? size : config.microBatchSize;
    const gradientAccumulationSteps = size / microBatchSize;
    // As it is trained: on a software adapter, with its scratch texture.
    return await engine.planTraining({ ...config, microBatchSize, gradientAccumulationSteps }, "software");
  };
  for (const size of [4, 8]) {
    const baseline = await at("baseline", size);
    const { activations, weights, optimizer } = baseline.plannedByRole;
    assert.equal(Math.round(optimizer / weights), 2, "AdamW's two moments a weight");
    // 14949 MB at batch 4, of which 4 bytes · 335 M weights, three times that for gradients and states, 1343
    // MB context: 8.2 GB of activations to 1.34 GB of weights.
    if (size === 4) assert.ok(Math.abs(activations / weights - 6.15) < 0.5, `${activations / weights}`);
    const lean = await at("+ Adafactor instead", size);
    assert.ok(baseline.plannedPeakBytes >= 3 * lean.plannedPeakBytes);
  }
});

Deno.test("the stand-in of the guide's suite has BERT-large's proportions, and its rows are planned at full size", async () => {
  const phases = phasesOf(await cellsOf("hf-guide", "software", false));
  const labels = (phase: string) => [...new Set(phases.get(phase)!.map(({ label }) => label))];
  assert.deepEqual(labels("guide"), labels("guide-full-size"));
  assert.equal(labels("guide").length, 9);
  const [small] = phases.get("guide")!;
  const [full] = phases.get("guide-full-size")!;
  assert.deepEqual([small.config.model, full.config.model], ["bert-nano", "bert-large"]);
  assert.equal(full.config.sequenceLength * full.config.microBatchSize, 2048);
  // Workspace with the activations: it is one layer's scratch, half of what two
  // layers save and a 24th of what 24 do. Planned for a GPU: a software adapter's
  // scratch texture is a thing of the adapter, not of the step.
  const share = async ({ config }: Cell) => {
    const { plannedByRole: bytes } = await engine.planTraining(config, "gpu");
    return (bytes.activations + bytes.workspace) / bytes.weights;
  };
  const [a, b] = [await share(small), await share(full)];
  assert.ok(Math.abs(a / b - 1) < 0.1, `activations and workspace / weights: ${a} and ${b}`);
});
