/** How many rounds a phase with `rounds: adaptive` has: docs/decisions/0027. */

/** Processes of a configuration that a phase with `rounds: adaptive` begins with, at least. */
const FIRST_PROCESSES = 2;
/** Processes that it adds, at least. */
const MORE_PROCESSES = 3;

/**
 * Rounds of an adaptive phase before it looks, and those that it adds: each has a process a seed, so that a
 * phase with several seeds needs fewer.
 */
export function adaptiveRounds(seeds: readonly number[] = [0]): { first: number; more: number } {
  const rounds = (processes: number) => Math.ceil(processes / seeds.length);
  return { first: rounds(FIRST_PROCESSES), more: rounds(MORE_PROCESSES) };
}
