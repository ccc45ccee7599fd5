// Equal memory on made-up records: rows by processes, the section, and what else leaves out the search.
import assert from "node:assert/strict";
import { renderReport } from "../../../report/page/page.ts";
import { judge } from "../../../report/claims/judge.ts";
import { analyse } from "../../../report/rows/analysis.ts";
import { equalMemoryRows } from "../../../report/rows/equal_memory.ts";
import type { LoadedRun } from "../../../results/load.ts";
import type { CellRecord, CellRole, Decision, RunConfig } from "../../../results/record.ts";
import { asLoaded, parsePage } from "./support.ts";
import { cellOf, configOf, type SyntheticOptions, syntheticRun } from "./synthetic_run.ts";

const MIB = 2 ** 20;

interface Given {
  role: CellRole;
  label: string;
  methods?: string[];
  batch?: number;
  seed: number;
  /** Of each timed step. */
  ms: number;
  loss?: number;
  bytes: number;
}

/** A run of one sweep and the phase; step times, losses and peaks as given. */
function runOf(
  given: readonly Given[],
  decisions: readonly Partial<Decision>[],
  hostile = "",
): LoadedRun {
  const options: SyntheticOptions = { batches: [1, 4], seeds: [0, 1], tokens: 2048, hostile };
  const { run, cells } = syntheticRun(options);
  for (const { role, label, methods = [], batch = 4, seed, ms, loss = 3, bytes } of given) {
    const config: RunConfig = { ...configOf(batch, seed, options), methods };
    const cell: CellRecord = { ...cellOf("equal-memory", `${role} ${label}`, config, "ok", options), role };
    cell.label = label === "baseline" ? label : label + hostile; // the runner's own word
    cell.warmupSteps = 1;
    cell.samples!.ms = cell.samples!.ms.map((_, i) => i === 0 ? 10 * ms : ms);
    cell.heldOut = [{ step: 8, tokens: 2048, loss }];
    Object.assign(cell.memory!, { plannedPeakBytes: bytes, bookedPeakBytes: bytes });
    cells.push(cell);
  }
  run.phases.push({ name: "equal-memory", kind: "equal-memory", shows: null, description: "" });
  run.decisions.push(...decisions.map((decision) => ({
    name: "",
    rule: `the fastest${hostile}`,
    inputs: [],
    figures: {},
    chosen: "none",
    value: "none",
    reason: `because${hostile}`,
    ...decision,
  })));
  return asLoaded({ run, cells });
}

const idOf = ({ cells }: LoadedRun, role: CellRole, label: string) =>
  cells.find((cell) => cell.role === role && cell.label.startsWith(label))!.id;

const budget = (ratio: number, bytes: number) => ({
  memoryRatio: ratio,
  budgetBytes: bytes,
  plannedPeakBytes: 100 * MIB,
  effectiveBatchSize: 4,
});

const judged = (label: string, rest: Pick<Given, "bytes" | "methods">, times: number[], losses: number[]) =>
  times.map((ms, i): Given => ({ role: "judged", label, seed: 11 + i, ms, loss: losses[i], ...rest }));

/** A baseline of 100 MiB; a half has a finalist whose batch grows, a quarter has none. */
function example(hostile = ""): LoadedRun {
  const methods = ["checkpoint"];
  const cells: Given[] = [
    // Faster by far in the search than when it is judged.
    { role: "search", label: "checkpointing, 4 × 1", methods, seed: 0, ms: 1, bytes: 50 * MIB },
    ...judged("baseline", { bytes: 100 * MIB }, [10, 10, 10], [3, 3.2, 3.4]),
    ...judged("checkpointing, 4 × 1", { methods, bytes: 50 * MIB }, [12.5, 12.5, 12.5], [3.1, 3.3, 3.5]),
    {
      role: "grown",
      label: "checkpointing, 5 × 1 within 1/2",
      methods,
      batch: 5,
      seed: 11,
      ms: 12.5,
      bytes: 50 * MIB,
    },
    {
      role: "grown",
      label: "checkpointing, 9 × 1 within 1/1",
      methods,
      batch: 9,
      seed: 11,
      ms: 20,
      bytes: 90 * MIB,
    },
  ];
  const found = runOf(cells, [], hostile);
  const search = idOf(found, "search", "checkpointing");
  const decisions: Partial<Decision>[] = [
    {
      name: "equalMemory/4",
      figures: { budget: budget(4, 25 * MIB) },
      reason: `nothing fits: none of 42 combinations trains within 25.0 MiB${hostile}`,
    },
    {
      name: "equalMemory/2",
      inputs: [search],
      figures: {
        budget: budget(2, 50 * MIB),
        ["checkpointing, 4 × 1" + hostile]: { plannedPeakBytes: 50 * MIB },
        other: { plannedPeakBytes: 40 * MIB },
      },
      chosen: "checkpointing, 4 × 1" + hostile,
      value: search,
    },
  ];
  return runOf(cells, decisions, hostile);
}

Deno.test("equalMemoryRows() takes ratios to the baseline from judged processes, never from the search", () => {
  const [half, quarter, ...others] = equalMemoryRows(analyse(example()));
  assert.deepEqual(others, []);
  assert.deepEqual([half.ratio, half.fit, half.tried.length, half.budgetBytes], [2, 2, 1, 50 * MIB]);
  assert.equal(half.memoryRatio, 2);
  assert.ok(Math.abs(half.throughputRatio!.estimate - 0.8) < 1e-12, "12.5 ms against 10");
  assert.equal(half.finalist!.tokensPerSecond!.byCell.length, 3, "a process is one value");
  assert.deepEqual(half.finalist!.configuration.seeds, [11, 12, 13]);
  assert.ok(Math.abs(half.lossDifference!.estimate - 0.1) < 1e-12, "seed by seed");
  assert.ok(
    half.lossDifference!.high - half.lossDifference!.low < 1e-9,
    "no scatter between seeds' differences",
  );
  assert.equal(half.grown!.configuration.effectiveBatchSize, 5, "not what another budget has room for");
  assert.ok(Math.abs(half.grownThroughputRatio!.estimate - 1) < 1e-12, "5 sequences in 12.5 ms");
  assert.deepEqual([quarter.ratio, quarter.fit, quarter.tried], [4, 0, []]);
  assert.deepEqual([quarter.finalist, quarter.grown, quarter.memoryRatio], [null, null, null]);
  assert.deepEqual([quarter.throughputRatio, quarter.lossDifference], [null, null]);
});

Deno.test("equalMemoryRows(): intervals come from the scatter of processes", () => {
  const run = example();
  // Seeds that both sides have are compared with each other: what slows both says nothing of the ratio.
  const noisy = run.cells.filter(({ role, config, label }) =>
    role === "judged" && config.seed === 12 && label !== "baseline"
  );
  for (const cell of noisy) cell.samples!.ms = cell.samples!.ms.map((ms) => ms * 1.3);
  const [half] = equalMemoryRows(analyse(run));
  assert.ok(half.throughputRatio!.low < 0.7 && half.throughputRatio!.high > 0.9);
});

/** C1a of a run whose ladder has the lean stack, beside a search within so many parts of the memory. */
function c1a(ratio: number, whatIsFound: (found: Partial<Decision>) => Partial<Decision>): string {
  const run = example();
  const lean = {
    methods: ["checkpoint", "fp16"],
    optimizer: "adafactor",
    microBatchSize: 1,
    gradientAccumulationSteps: 4,
  };
  const [half] = run.run.decisions.filter(({ name }) => name === "equalMemory/2");
  Object.assign(half, whatIsFound({ figures: { ...half.figures, budget: budget(ratio, 30 * MIB) } }));
  const stack = run.cells.filter(({ phase, label }) => phase === "equal-memory" && label === "baseline")
    .map((cell) => ({ ...cell, id: `lean${cell.id}`, label: "lean", config: { ...cell.config, ...lean } }));
  const analysis = analyse({ ...run, cells: [...run.cells, ...stack] });
  return judge(analysis).verdicts.find(({ id }) => id === "C1a")!.ours;
}

Deno.test("C1a tells the fastest that the search found within a third of the memory, from three times less on", () => {
  assert.match(
    c1a(3, (decision) => decision),
    /within 30\.0.MiB, 3× less memory, the fastest found \(checkpointing, micro-batch 4\) has throughput × 0\.80/,
  );
  assert.match(c1a(2.9, (decision) => decision), /4× less memory, none fits/, "the next budget speaks");
  const nothing = c1a(3, ({ figures }) => ({ figures: { budget: figures!.budget }, value: "none" }));
  assert.match(nothing, /3× less memory, none fits/);
});

Deno.test("what picked a finalist counts for nothing else", () => {
  const { trained, configurations } = analyse(example());
  assert.ok(configurations.some(({ role }) => role === "search"));
  assert.ok(!trained.some(({ role }) => role === "search"));
});

Deno.test("a run that has not decided has no rows, and no section", () => {
  const run = runOf([{ role: "search", label: "x", seed: 0, ms: 1, bytes: MIB }], []);
  assert.deepEqual(equalMemoryRows(analyse(run)), []);
  assert.ok(!renderReport([{ loaded: run, rawBase: ".." }]).includes('id="equal-memory"'));
});

for (const hostile of ["", `"><img src=x onerror=alert(1)></title></svg>'\`|`]) {
  Deno.test(`the section says what each budget has${hostile && ", whatever the records hold"}`, () => {
    const page = parsePage(renderReport([{ loaded: example(hostile), rawBase: ".." }]));
    const [text] = page.text("#equal-memory");
    assert.match(text, /fits a half of the memory at 0\.80× the throughput; nothing fits a quarter/);
    assert.match(text, /nothing fits: none of 42 combinations/);
    assert.match(text, /3 against 3/);
    for (const word of ["NaN", "undefined", "Infinity", "null"]) assert.ok(!text.includes(word), word);
    assert.equal(page.all("img").length, 0);
    const ids = new Set(page.all("[id]").map((node) => node.getAttribute("id")));
    const targets = page.all("#equal-memory [href^='#']").map((node) => node.getAttribute("href")!.slice(1));
    assert.deepEqual(targets.filter((target) => !ids.has(target)), []);
  });
}
