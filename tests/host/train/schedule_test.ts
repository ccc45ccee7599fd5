import assert from "node:assert/strict";
import type { TrainOptions } from "../../../engine/train/options.ts";
import {
  beyondSchedule,
  continuedSchedule,
  learningRateAt,
  type Schedule,
  scheduleOf,
  type ScheduleOptions,
} from "../../../engine/train/schedule.ts";
import runs from "../../fixtures/schedule/rates.json" with { type: "json" };

const COSINE: Schedule = { kind: "cosine", learningRate: 0.01, warmupSteps: 2, steps: 8, floor: 0.1 };
const OPTIONS: ScheduleOptions = { schedule: "constant", learningRate: 1e-3, warmupSteps: 0, steps: 4 };

Deno.test("learningRateAt() follows transformers' cosine with a floor, but for the first step of warm-up", () => {
  for (const { lr, warmup, steps, floor, rates } of runs) {
    const schedule: Schedule = { kind: "cosine", learningRate: lr, warmupSteps: warmup, steps, floor };
    rates.forEach((rate, step) => {
      const own = learningRateAt(step, schedule);
      if (step < warmup) assert.equal(own, (lr * (step + 1)) / warmup);
      // Both in f64, in another order of operations.
      else assert.ok(Math.abs(own - rate) <= 1e-15 * lr, `step ${step}: ${own}, transformers ${rate}`);
    });
    for (const step of [steps, steps + 3]) assert.equal(learningRateAt(step, schedule), lr * floor);
  }
});

Deno.test("a schedule is as long as its run unless it is told otherwise", () => {
  assert.deepEqual(scheduleOf({ ...OPTIONS, schedule: "cosine" }), {
    kind: "cosine",
    learningRate: 1e-3,
    warmupSteps: 0,
    steps: 4,
    floor: 0.1,
  });
  assert.equal(scheduleOf({ ...OPTIONS, schedule: "cosine", scheduleSteps: 8 }).steps, 8);
  assert.equal(scheduleOf({ ...OPTIONS, schedule: "cosine" }, 4).steps, 8);
  assert.throws(() => scheduleOf({ ...OPTIONS, scheduleSteps: 8 }), {
    name: "InputError",
    message: "Cannot use --schedule-steps 8 with a constant rate: expected --schedule cosine",
  });
});

Deno.test("a cosine of a run ends at a tenth of its rate; one that is all warm-up a step later", () => {
  const whole = scheduleOf({ ...OPTIONS, schedule: "cosine", learningRate: 0.01, steps: 8 });
  assert.deepEqual([learningRateAt(0, whole), learningRateAt(8, whole)], [0.01, 0.001]);
  const warm = scheduleOf({ ...OPTIONS, schedule: "cosine", learningRate: 0.01, warmupSteps: 4 });
  assert.deepEqual([3, 4, 5].map((step) => learningRateAt(step, warm)), [0.01, 0.01, 0.001]);
});

const continued = (
  saved: Schedule | null,
  changes: Partial<ScheduleOptions>,
  given: readonly (keyof TrainOptions)[] = Object.keys(changes) as (keyof TrainOptions)[],
) =>
  continuedSchedule(saved, { ...OPTIONS, ...changes }, {
    folder: "S",
    from: 4,
    given: (name) => given.includes(name),
  });

Deno.test("a continued run follows the saved schedule where nothing is said, and where the same is said", () => {
  assert.deepEqual(continued(COSINE, {}), { schedule: COSINE, notes: [] });
  const same = { schedule: "cosine", warmupSteps: 2, scheduleSteps: 8, learningRate: 0.01 } as const;
  assert.deepEqual(continued(COSINE, same), { schedule: COSINE, notes: [] });
});

Deno.test("a continued run is refused settings that contradict the saved schedule, by flag and value", () => {
  const cases: [Schedule, Partial<ScheduleOptions>, RegExp][] = [
    [
      COSINE,
      { schedule: "constant" },
      /^Cannot continue S with --schedule constant: .* has cosine; .*--fresh$/,
    ],
    [COSINE, { warmupSteps: 3 }, /with --warmup-steps 3: .* has 2;/],
    [COSINE, { scheduleSteps: 9 }, /with --schedule-steps 9: .* has 8;/],
    [{ ...COSINE, kind: "constant" }, { schedule: "cosine" }, /with --schedule cosine: .* has constant;/],
    [
      { ...COSINE, kind: "constant" },
      { scheduleSteps: 8 },
      /with --schedule-steps 8: .* has a constant rate;/,
    ],
  ];
  for (const [saved, changes, message] of cases) {
    assert.throws(() => continued(saved, changes), { name: "InputError", message });
  }
});

Deno.test("a continued run takes another rate that it is given, and says so", () => {
  assert.deepEqual(continued(COSINE, { learningRate: 0.02 }), {
    schedule: { ...COSINE, learningRate: 0.02 },
    notes: ["from here on at --lr 0.02, before at 0.01"],
  });
});

Deno.test("a schedule that an earlier version did not save is taken from the flags, and that is said", () => {
  assert.deepEqual(continued(null, { schedule: "cosine" }), {
    schedule: { kind: "cosine", learningRate: 1e-3, warmupSteps: 0, steps: 8, floor: 0.1 },
    notes: ["the version that saved S did not keep its schedule: taken as a cosine over 8 steps"],
  });
  assert.match(continued(null, {}).notes[0], /taken as a constant rate of 0\.001$/);
});

Deno.test("steps past the end of a schedule are named, those up to it are not", () => {
  assert.equal(beyondSchedule(COSINE, 4, 8), null);
  assert.equal(
    beyondSchedule(COSINE, 4, 9),
    "step 9 lies past the end of a cosine over 8 steps: the rate stays at 0.001",
  );
  assert.match(beyondSchedule(COSINE, 4, 12)!, /^steps 9 to 12 lie past/);
  assert.match(beyondSchedule(COSINE, 10, 12)!, /^steps 11 to 12 lie past/);
  assert.equal(beyondSchedule({ ...COSINE, kind: "constant" }, 4, 100), null);
});
