/** Runs drawn from a truth with noise, judged as `report --json` judges them. */
import { join } from "node:path";
import { answerOf } from "../../../../report/answer.ts";
import { judge } from "../../../../report/claims/judge.ts";
import { analyse } from "../../../../report/rows/analysis.ts";
import { writeCell, writeRun } from "../../../../results/files.ts";
import type { CellRecord, HeldOutPoint, RunRecord } from "../../../../results/record.ts";
import { seededRandom } from "../../../../results/stats.ts";
import { asLoaded, inFolder, normal } from "../support.ts";
import { syntheticId, type SyntheticRun } from "../synthetic_run.ts";
import { RUN, type Side, type SimulatedClaim } from "./claims.ts";

/** How far processes scatter. */
export interface Noise {
  /** Standard deviation of a process's time, as a part of it. */
  time: number;
  /** Standard deviation of what a seed does to the difference of two losses, in nats. */
  loss: number;
}

/** Where the loss of a model from nothing begins, in nats. */
const START = 6;
const TOKENS = 4096;
const POINTS = 8;

/** Nats that a curve would still fall by, were it to train for ever: 5 % more tokens buy about 0.01. */
const LEFT = 0.2;

const curve = (tokens: number, left: number) => 2.5 + left * TOKENS / Math.max(tokens, 1);

/** One process of every side: a seed, with its own noise. */
function processesOf(sides: readonly Side[], seed: number, noise: Noise, random: () => number): CellRecord[] {
  const ids = sides.map(({ cell }, i) => syntheticId(`${i} ${cell.label} ${seed}`));
  // What a seed does to both sides of a comparison cancels.
  const common = 0.1 * normal(random);
  const ends: number[] = [];
  return sides.map(
    ({ cell: template, time = 1, loss = 0, slower = 0, left = LEFT, falls, forgets = 0, startsFrom }, i) => {
      const cell: CellRecord = {
        ...template,
        id: ids[i],
        process: `process of ${ids[i]}`,
        warmupSteps: 0,
        config: { ...template.config, seed, startFrom: startsFrom === undefined ? null : ids[startsFrom] },
      };
      const factor = time * Math.exp(noise.time * normal(random));
      // Steps scatter little within a process: as the unit they would give intervals far too narrow.
      const ms = template.samples!.ms.map(() => 100 * factor * (1 + 0.002 * normal(random)));
      cell.samples = { ...template.samples!, ms };
      const own = common + loss + noise.loss / Math.SQRT2 * normal(random);
      const start = startsFrom === undefined ? START : ends[startsFrom];
      const end = falls === undefined ? curve(TOKENS, left) + own : start - falls + own - common;
      ends.push(end);
      const points = (lossAt: (share: number) => number): HeldOutPoint[] =>
        Array.from({ length: POINTS + 1 }, (_, point) => ({
          step: Math.round(cell.config.steps * point / POINTS),
          tokens: TOKENS * point / POINTS,
          loss: lossAt(point / POINTS),
          ms: 50 * factor,
        }));
      cell.heldOut = falls === undefined
        ? points((share) => share === 0 ? START : curve(TOKENS * share / (1 + slower), left) + own)
        : points((share) => start + (end - start) * share);
      const rise = forgets + noise.loss / Math.SQRT2 * normal(random);
      cell.heldOutElsewhere = cell.config.alsoEvaluate.map((data) => ({
        data,
        points: points((share) => 3 + common + rise * share),
      }));
      return cell;
    },
  );
}

/** A run of so many processes a side. */
function drawRun(
  sides: readonly Side[],
  processes: number,
  noise: Noise,
  random: () => number,
): SyntheticRun {
  const cells = Array.from({ length: processes }, (_, seed) => processesOf(sides, seed, noise, random))
    .flat();
  const run: RunRecord = {
    ...RUN,
    decisions: [],
    cells: cells.map(({ id, phase, label }) => ({ id, phase, label })),
  };
  return { run, cells };
}

/** The verdict as the document of `report --json` has it, from a folder that the product has written. */
export async function verdictByFolder(
  { run, cells }: SyntheticRun,
  claim: string,
  folder: string,
): Promise<string> {
  await Promise.all([writeRun(folder, run), ...cells.map((cell) => writeCell(folder, cell))]);
  const { claims } = await answerOf([folder]);
  await Deno.remove(folder, { recursive: true });
  return claims.find(({ id }) => id === claim)!.verdict;
}

/** The same without a disk. */
export function verdictInMemory(run: SyntheticRun, claim: string): string {
  return judge(analyse(asLoaded(run))).verdicts.find(({ id }) => id === claim)!.outcome;
}

/** What a point of a simulation asks. */
export interface Point {
  simulated: SimulatedClaim;
  truth: number;
  processes: number;
  noise: Noise;
  /** Another one has other runs. */
  series?: number;
}

/** Runs of a point, the same whenever they are drawn. */
export function* runsOf(
  { simulated, truth, processes, noise, series = 0 }: Point,
  draws: number,
): Iterable<SyntheticRun> {
  const name = [simulated.claim, simulated.figure, truth, processes, noise.time, noise.loss, series].join(
    " ",
  );
  const random = seededRandom(parseInt(syntheticId(name).slice(0, 8), 16));
  const sides = simulated.sides(truth);
  for (let draw = 0; draw < draws; draw++) yield drawRun(sides, processes, noise, random);
}

/** How often each verdict comes out, as shares; the first runs through folders. */
export async function sharesOf(point: Point, draws: number, byFolder = 0): Promise<Map<string, number>> {
  const shares = new Map([point.simulated.holds, "not reproduced", "cannot tell"].map((name) => [name, 0]));
  await inFolder(async (dir) => {
    let draw = 0;
    for (const run of runsOf(point, draws)) {
      const { claim } = point.simulated;
      const verdict = draw < byFolder
        ? await verdictByFolder(run, claim, join(dir, String(draw)))
        : verdictInMemory(run, claim);
      // Nothing else can be said of one setting.
      if (!shares.has(verdict)) throw new RangeError(`A verdict “${verdict}” of ${claim}`);
      shares.set(verdict, shares.get(verdict)! + 1 / draws);
      draw++;
    }
  });
  return shares;
}
