import { InputError } from "../input_error.ts";
import type { TrainOptions } from "./options.ts";

/**
 * Share of the learning rate that a cosine schedule ends at (Brown et al. 2020,
 * arXiv:2005.14165, appendix B).
 */
const COSINE_FLOOR = 0.1;

/** Course of the learning rate over the updates of a run, which may be done in several goes. */
export interface Schedule {
  kind: TrainOptions["schedule"];
  /** Rate after warm-up. */
  learningRate: number;
  /** Updates in which the rate rises from 0. */
  warmupSteps: number;
  /** Updates in all, warm-up included. A constant rate goes on after them. */
  steps: number;
  /** Share of the rate that a cosine ends at. */
  floor: number;
}

/** Settings of a run that its schedule follows from. */
export type ScheduleOptions = Pick<
  TrainOptions,
  "schedule" | "learningRate" | "warmupSteps" | "steps" | "scheduleSteps"
>;

/**
 * Learning rate of update `step` (from 0): linear warm-up, the first at 1/warmupSteps of the rate, then
 * constant, or half a cosine down to the floor, which the update after the last would have: the curve of
 * transformers' `get_cosine_with_min_lr_schedule_with_warmup`, but that its warm-up begins at 0.
 */
export function learningRateAt(
  step: number,
  { kind, learningRate, warmupSteps, steps, floor }: Schedule,
): number {
  if (step < warmupSteps) return (learningRate * (step + 1)) / warmupSteps;
  if (kind === "constant") return learningRate;
  const progress = Math.min((step - warmupSteps) / Math.max(steps - warmupSteps, 1), 1);
  return learningRate * (floor + (1 - floor) * 0.5 * (1 + Math.cos(Math.PI * progress)));
}

/**
 * The schedule of a run that begins with update `from`: as long as the run,
 * unless `scheduleSteps` says otherwise.
 *
 * @throws {InputError} for the length of a schedule that has none.
 */
export function scheduleOf(options: ScheduleOptions, from = 0): Schedule {
  const { schedule: kind, learningRate, warmupSteps, steps, scheduleSteps } = options;
  if (kind === "constant" && scheduleSteps !== undefined) {
    throw new InputError(
      `Cannot use --schedule-steps ${scheduleSteps} with a constant rate: expected --schedule cosine`,
    );
  }
  return { kind, learningRate, warmupSteps, steps: scheduleSteps ?? from + steps, floor: COSINE_FLOOR };
}

/**
 * The schedule of a run that goes on after update `from`: the saved one, and what the user should know of it.
 *
 * @param saved Null where the version that saved the run did not keep it.
 * @param given Settings that the user has named; the others are as saved.
 * @throws {InputError} where a setting that was named contradicts the saved one.
 */
export function continuedSchedule(
  saved: Schedule | null,
  options: ScheduleOptions,
  { folder, from, given }: { folder: string; from: number; given: (name: keyof TrainOptions) => boolean },
): { schedule: Schedule; notes: string[] } {
  if (saved === null) {
    const schedule = scheduleOf(options, from);
    return {
      schedule,
      notes: [
        `the version that saved ${folder} did not keep its schedule: taken as ${scheduleText(schedule)}`,
      ],
    };
  }
  const refuse = (flag: string, value: unknown, was: unknown) =>
    new InputError(
      `Cannot continue ${folder} with ${flag} ${value}: the run it was saved from has ${was}; leave the flag out, ` +
        "or start a new run from its weights with --fresh",
    );
  if (given("schedule") && options.schedule !== saved.kind) {
    throw refuse("--schedule", options.schedule, saved.kind);
  }
  if (given("warmupSteps") && options.warmupSteps !== saved.warmupSteps) {
    throw refuse("--warmup-steps", options.warmupSteps, saved.warmupSteps);
  }
  const { scheduleSteps } = options;
  if (scheduleSteps !== undefined && (saved.kind === "constant" || scheduleSteps !== saved.steps)) {
    throw refuse(
      "--schedule-steps",
      scheduleSteps,
      saved.kind === "constant" ? "a constant rate" : saved.steps,
    );
  }
  const { learningRate } = given("learningRate") ? options : saved;
  const notes = learningRate === saved.learningRate
    ? []
    : [`from here on at --lr ${learningRate}, before at ${saved.learningRate}`];
  return { schedule: { ...saved, learningRate }, notes };
}

/** What to say where updates `from … to − 1` go past the end of a schedule; null where they do not. */
export function beyondSchedule(schedule: Schedule, from: number, to: number): string | null {
  const { kind, steps, learningRate, floor } = schedule;
  if (kind === "constant" || to <= steps) return null;
  const first = Math.max(from, steps) + 1;
  const beyond = first === to ? `step ${to} lies` : `steps ${first} to ${to} lie`;
  return `${beyond} past the end of ${scheduleText(schedule)}: the rate stays at ${
    Number((floor * learningRate).toPrecision(6))
  }`;
}

function scheduleText({ kind, learningRate, steps }: Schedule): string {
  return kind === "constant" ? `a constant rate of ${learningRate}` : `a cosine over ${steps} steps`;
}
