// Run folders with a known truth, written and judged as real ones: how often each verdict comes out.
import assert from "node:assert/strict";
import { join } from "node:path";
import { answerOf } from "../../../report/answer.ts";
import { writeCell, writeRun } from "../../../results/files.ts";
import type { CellRecord, RunRecord } from "../../../results/record.ts";
import { seededRandom } from "../../../results/stats.ts";
import { inFolder, normal } from "./support.ts";
import { syntheticId, syntheticRun } from "./synthetic_run.ts";

const LONG = Deno.env.get("THREEFOLD_LONG") === "1";
/** Folders a point; a test run has enough to find a rule that is badly wrong. */
const DRAWS = LONG ? 400 : 40;

const { run: RUN, cells: CELLS } = syntheticRun({ batches: [4], seeds: [0], tokens: 1024, ladder: true });
const rung = (label: string) => CELLS.find((cell) => cell.phase === "ladder" && cell.label === label)!;

/** What is true of the configuration with the method, and how far processes scatter. */
interface Truth {
  claim: "C1a" | "C3" | "C11";
  /** The method's throughput ÷ the baseline's. */
  throughput: number;
  /** Its held-out loss minus the baseline's. */
  loss: number;
  /** Standard deviation of a process's time, as a part of it. */
  timeNoise: number;
  /** Standard deviation of what a seed does to the difference of losses. */
  lossNoise: number;
}

const WELL_INSIDE: Readonly<Record<Truth["claim"], Pick<Truth, "throughput" | "loss">>> = {
  C1a: { throughput: 1, loss: 0 },
  C3: { throughput: 1 / 1.2, loss: 0 },
  C11: { throughput: 1, loss: 0 },
};

/** The batch sizes over which C3 is a mean, as the suites have it. */
const SIZES = [1, 4, 8];

/** Both sides of a claim's comparisons, and nothing else, at the bytes that the claim asks for. */
function sidesOf(claim: Truth["claim"]): [CellRecord, CellRecord][] {
  const sides = (change: (base: CellRecord, changed: CellRecord) => void): [CellRecord, CellRecord] => {
    const [base, changed] = structuredClone([rung("baseline"), rung("+ Adafactor")]);
    change(base, changed);
    [base.label, changed.label] = ["base", "changed"].map((label) =>
      `${label}, ${base.config.microBatchSize}`
    );
    return [base, changed];
  };
  switch (claim) {
    case "C1a":
      return [sides((base, { memory }) => {
        memory!.bookedPeakBytes = Math.round(base.memory!.bookedPeakBytes! / 4);
      })];
    case "C3":
      return SIZES.map((microBatchSize) =>
        sides((base, changed) => {
          base.config.microBatchSize = microBatchSize;
          changed.config = { ...base.config, methods: ["checkpoint"] };
        })
      );
    case "C11":
      return [sides((base, changed) => {
        base.config.methods = ["lora"];
        changed.config = { ...base.config, methods: ["qlora-int8"] };
        for (const bytes of [changed.memory!.bookedByRole!, changed.memory!.plannedByRole]) {
          bytes.weights = 1000;
        }
      })];
  }
}

/** Writes the run of one draw: a seed a process, both sides in every round. */
async function writeDraw(folder: string, truth: Truth, processes: number, random: () => number) {
  const pairs = sidesOf(truth.claim);
  const cells = Array.from(
    { length: processes },
    (_, seed) =>
      pairs.flatMap((sides) =>
        sides.map((side, i): CellRecord => {
          const cell = structuredClone(side);
          const id = syntheticId(`${side.label} ${seed}`);
          Object.assign(cell, { id, process: `process of ${id}` });
          cell.config.seed = seed;
          const factor = (i === 0 ? 1 : 1 / truth.throughput) * Math.exp(truth.timeNoise * normal(random));
          // Steps scatter little within a process: as the unit they would give intervals far too narrow.
          const steps = cell.samples!;
          steps.ms = steps.ms.map(() => 100 * factor * (1 + 0.002 * normal(random)));
          const shift = i === 0 ? 0 : truth.loss + truth.lossNoise * normal(random);
          cell.heldOut = [{ step: 0, tokens: 0, loss: 6 }, {
            step: 8,
            tokens: 2048,
            loss: 3 + 0.1 * seed + shift,
          }];
          return cell;
        })
      ),
  ).flat();
  const run: RunRecord = { ...RUN, cells: cells.map(({ id, phase, label }) => ({ id, phase, label })) };
  await Promise.all([writeRun(folder, run), ...cells.map((cell) => writeCell(folder, cell))]);
}

type Shares = Record<"reproduced" | "not reproduced" | "cannot tell", number>;

/** How often each verdict came out, as the document of `report --json` has it. */
async function sharesOf(truth: Truth, processes: number, draws = DRAWS): Promise<Shares> {
  const random = seededRandom(syntheticSeed(truth, processes));
  const shares: Shares = { "reproduced": 0, "not reproduced": 0, "cannot tell": 0 };
  await inFolder(async (dir) => {
    for (let draw = 0; draw < draws; draw++) {
      const folder = join(dir, String(draw));
      await writeDraw(folder, truth, processes, random);
      const { claims } = await answerOf([folder]);
      shares[claims.find(({ id }) => id === truth.claim)!.verdict as keyof Shares] += 1 / draws;
      await Deno.remove(folder, { recursive: true });
    }
  });
  return shares;
}

const syntheticSeed = (truth: Truth, processes: number) =>
  parseInt(syntheticId(JSON.stringify([truth, processes])).slice(0, 8), 16);

/** 5 % and two standard errors of the simulation. */
const MOST = 0.05 + 2 * Math.sqrt(0.05 * 0.95 / DRAWS);
const ERROR = 2 * Math.sqrt(0.5 / DRAWS);
const NOISES = LONG ? [0.005, 0.02, 0.08] : [0.005, 0.08];
const COUNTS = LONG ? [2, 3, 4, 5] : [2, 5];

/** Truths at the very margin, and beyond it, by claim: one axis at a time. */
const OUTSIDE: [string, Pick<Truth, "claim" | "throughput" | "loss">][] = [
  ["C1a at 0.95 of the throughput", { claim: "C1a", throughput: 0.95, loss: 0 }],
  ["C1a at 0.9 of the throughput", { claim: "C1a", throughput: 0.9, loss: 0 }],
  ["C3 at 25 % slower", { claim: "C3", throughput: 1 / 1.25, loss: 0 }],
  ["C3 at 15 % slower", { claim: "C3", throughput: 1 / 1.15, loss: 0 }],
  ["C3 at 35 % slower", { claim: "C3", throughput: 1 / 1.35, loss: 0 }],
  ["C11 with a loss at the margin", { claim: "C11", throughput: 1, loss: 0.01 }],
  ["C11 with a loss of twice the margin", { claim: "C11", throughput: 1, loss: 0.02 }],
];

for (const [name, truth] of LONG ? OUTSIDE : OUTSIDE.filter((_, i) => [0, 2, 5].includes(i))) {
  Deno.test(`${name} is “reproduced” once in twenty at most, and no oftener with more noise`, async () => {
    for (const processes of COUNTS) {
      let before = 1;
      for (const noise of NOISES) {
        const lossNoise = noise / 4;
        const { reproduced } = await sharesOf({ ...truth, timeNoise: noise, lossNoise }, processes);
        const at = `${processes} processes, noise ${noise}: ${reproduced} reproduced`;
        assert.ok(reproduced <= MOST, at);
        assert.ok(reproduced <= before + MOST, `${at}, ${before} with less noise`);
        before = reproduced;
      }
    }
  });
}

for (const claim of LONG ? ["C1a", "C3", "C11"] as const : ["C3"] as const) {
  Deno.test(`${claim} well inside is hardly ever “not reproduced”, and noise makes it “cannot tell”`, async () => {
    for (const processes of COUNTS) {
      let before = 0;
      for (const noise of NOISES) {
        const truth = { claim, ...WELL_INSIDE[claim], timeNoise: noise, lossNoise: noise / 4 };
        const shares = await sharesOf(truth, processes);
        const at = `${processes} processes, noise ${noise}: ${JSON.stringify(shares)}`;
        assert.ok(shares["not reproduced"] <= MOST, at);
        assert.ok(shares["cannot tell"] >= before - ERROR, `${at}, ${before} with less noise`);
        before = shares["cannot tell"];
      }
    }
  });
}

for (const claim of ["C1a", "C3", "C11"] as const) {
  Deno.test(`${claim} well inside is “reproduced” in four of five runs of five processes at moderate noise`, async () => {
    const truth = { claim, ...WELL_INSIDE[claim], timeNoise: 0.02, lossNoise: 0.004 };
    const { reproduced } = await sharesOf(truth, 5);
    assert.ok(reproduced >= 0.8, `${reproduced}`);
  });
}
