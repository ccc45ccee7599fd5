// Runs with a known truth, judged as real ones: how often each verdict comes out.
import assert from "node:assert/strict";
import { join } from "node:path";
import { isLongRun } from "../../support/long_run.ts";
import { SIMULATED, type SimulatedClaim } from "./simulated/claims.ts";
import {
  type Noise,
  type Point,
  runsOf,
  sharesOf,
  verdictByFolder,
  verdictInMemory,
} from "./simulated/draws.ts";
import { inFolder } from "./support.ts";

/** Runs a point; a test run has enough to find a rule that is badly wrong. */
const DRAWS = isLongRun ? 400 : 40;
/** Of these so many are written and read as folders; that both ways judge alike has a test of its own. */
const BY_FOLDER = isLongRun ? 20 : 0;
/** Of some hundred points a few exceed their bound by luck: so many times as many other runs decide then. */
const AGAIN = 10;
const COUNTS = isLongRun ? [2, 3, 4, 5] : [2, 5];
const MODERATE: Noise = { time: 0.02, loss: 0.004 };
/** From next to none to several times every margin, as multiples of what is moderate. */
const NOISES = isLongRun ? [0.25, 1, 4, 16] : [0.25, 4, 16];

/** Noise in what the figure is made of; the other is next to none, so that it hides nothing. */
function noiseOf({ of, width = 1 }: SimulatedClaim, times: number): Noise {
  const scale = (what: SimulatedClaim["of"]) => of === what ? times * width : 0.1;
  return { time: MODERATE.time * scale("times"), loss: MODERATE.loss * scale("losses") };
}

/** 5 % and two standard errors of the simulation. */
const most = (draws: number) => 0.05 + 2 * Math.sqrt(0.05 * 0.95 / draws);
/** Two standard errors of the difference of two shares about which nothing is known. */
const ERROR = 2 * Math.sqrt(0.5 / DRAWS);

/** The shares of a point, where those of some verdicts are not above what is allowed; else the test fails. */
async function sharesWithRare(point: Point, ...rare: string[]): Promise<Map<string, number>> {
  const exceeds = (shares: Map<string, number>, draws: number) =>
    rare.find((verdict) => shares.get(verdict)! > most(draws));
  const shares = await sharesOf(point, DRAWS, BY_FOLDER);
  if (!exceeds(shares, DRAWS)) return shares;
  const again = await sharesOf({ ...point, series: 1 }, DRAWS * AGAIN);
  const found = exceeds(again, DRAWS * AGAIN);
  assert.equal(found, undefined, `${atPoint(point)}: ${JSON.stringify([...again])}`);
  return again;
}

const atPoint = ({ processes, noise }: Point) => `${processes} processes, noise ${JSON.stringify(noise)}`;

for (const simulated of SIMULATED) {
  const { claim, figure, outside, inside, holds } = simulated;
  const points = (truth: number) =>
    COUNTS.map((processes) =>
      NOISES.map((times): Point => ({ simulated, truth, processes, noise: noiseOf(simulated, times) }))
    );

  // Beyond the margin a rule errs less than at it: those points are left to long runs.
  for (const [i, truth] of outside.slice(0, isLongRun ? undefined : 1).entries()) {
    const isMargin = i === 0;
    const rare = isMargin ? [holds, "not reproduced"] : [holds];
    const names = rare.map((name) => `“${name}”`).join(", ");
    Deno.test(`${claim}, ${figure} ${truth}: ${names} once in twenty at most, and no oftener with more noise`, async () => {
      for (const byNoise of points(truth)) {
        let before = 1;
        for (const point of byNoise) {
          const shares = await sharesWithRare(point, ...rare);
          const share = shares.get(holds)!;
          assert.ok(
            share <= before + most(DRAWS),
            `${atPoint(point)}: ${share}, ${before} with less noise`,
          );
          before = share;
        }
      }
    });
  }

  Deno.test(`${claim}, ${figure} ${inside}: hardly ever “not reproduced”, and noise makes it “cannot tell”`, async () => {
    for (const byNoise of points(inside)) {
      let before = 0;
      for (const point of byNoise) {
        const untold = (await sharesWithRare(point, "not reproduced")).get("cannot tell")!;
        assert.ok(untold >= before - ERROR, `${atPoint(point)}: ${untold}, ${before} with less noise`);
        before = untold;
      }
    }
  });

  Deno.test(`${claim}, ${figure} ${inside}: “${holds}” in four of five runs of five processes, at moderate noise`, async () => {
    const found = await sharesOf(
      { simulated, truth: inside, processes: 5, noise: noiseOf(simulated, 1) },
      DRAWS,
      BY_FOLDER,
    );
    assert.ok(found.get(holds)! >= 0.8, JSON.stringify([...found]));
  });
}

Deno.test("a run folder is judged as the same records without a disk", () =>
  inFolder(async (dir) => {
    for (const [i, simulated] of SIMULATED.entries()) {
      const point = { simulated, truth: simulated.inside, processes: 2, noise: MODERATE };
      const [run] = runsOf(point, 1);
      const byFolder = await verdictByFolder(run, simulated.claim, join(dir, String(i)));
      assert.equal(byFolder, verdictInMemory(run, simulated.claim), simulated.claim);
    }
  }));
