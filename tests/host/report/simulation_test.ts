// Runs with a known truth, judged as real ones: how often each verdict comes out.
import assert from "node:assert/strict";
import { join } from "node:path";
import { isLongRun } from "../../support/long_run.ts";
import { SIMULATED } from "./simulated/claims.ts";
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
/** Of some hundred points a few exceed their bound by luck: those are drawn so many times as often. */
const AGAIN = 25;
const COUNTS = isLongRun ? [2, 3, 4, 5] : [2, 5];
const MODERATE: Noise = { time: 0.02, loss: 0.004 };
const NOISES: readonly Noise[] = isLongRun
  ? [{ time: 0.005, loss: 0.001 }, MODERATE, { time: 0.08, loss: 0.016 }]
  : [{ time: 0.005, loss: 0.001 }, { time: 0.08, loss: 0.016 }];

/** 5 % and two standard errors of the simulation. */
const most = (draws: number) => 0.05 + 2 * Math.sqrt(0.05 * 0.95 / draws);
/** Two standard errors of the difference of two shares about which nothing is known. */
const ERROR = 2 * Math.sqrt(0.5 / DRAWS);

/** The share of a verdict, not above what is allowed; else the test fails. */
async function requireRare(point: Point, verdict: string): Promise<number> {
  const share = (await sharesOf(point, DRAWS, BY_FOLDER)).get(verdict) ?? 0;
  if (share <= most(DRAWS)) return share;
  const again = (await sharesOf(point, DRAWS * AGAIN)).get(verdict) ?? 0;
  const { processes, noise } = point;
  assert.ok(
    again <= most(DRAWS * AGAIN),
    `${again} “${verdict}” of ${processes} processes, noise ${noise.time}`,
  );
  return again;
}

for (const simulated of SIMULATED) {
  const { claim, figure, outside, inside, holds } = simulated;
  for (const truth of outside) {
    Deno.test(`${claim}, ${figure} ${truth}: “${holds}” once in twenty at most, and no oftener with more noise`, async () => {
      for (const processes of COUNTS) {
        let before = 1;
        for (const noise of NOISES) {
          const share = await requireRare({ simulated, truth, processes, noise }, holds);
          assert.ok(share <= before + most(DRAWS), `${share}, ${before} with less noise`);
          before = share;
        }
      }
    });
  }

  Deno.test(`${claim}, ${figure} ${inside}: hardly ever “not reproduced”, and noise makes it “cannot tell”`, async () => {
    for (const processes of COUNTS) {
      let before = 0;
      for (const noise of NOISES) {
        const point = { simulated, truth: inside, processes, noise };
        await requireRare(point, "not reproduced");
        const untold = (await sharesOf(point, DRAWS)).get("cannot tell") ?? 0;
        assert.ok(
          untold >= before - ERROR,
          `${processes} processes, noise ${noise.time}: ${untold}, ${before} with less`,
        );
        before = untold;
      }
    }
  });

  Deno.test(`${claim}, ${figure} ${inside}: “${holds}” in four of five runs of five processes, at moderate noise`, async () => {
    const found = await sharesOf(
      { simulated, truth: inside, processes: 5, noise: MODERATE },
      DRAWS,
      BY_FOLDER,
    );
    assert.ok((found.get(holds) ?? 0) >= 0.8, JSON.stringify([...found]));
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
