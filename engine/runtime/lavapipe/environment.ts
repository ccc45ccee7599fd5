import { type Environment, OPERATING_SYSTEM, writableEnvironment } from "../../host.ts";

/**
 * Threads a core: two are faster than one by a twentieth and than eight by as much
 * (`docs/notes/software-adapters.md`).
 */
const THREADS_A_CORE = 2;
/** Machines with as many cores keep a thread a core: they have idle ones to wake a thread on. */
const MANY_CORES = 16;
const THREADS = "LP_NUM_THREADS";
const VECTOR_WIDTH = "LP_NATIVE_VECTOR_WIDTH";
/** Bits of a vector that Mesa takes by itself. */
const OWN_WIDTH = 256;

/**
 * Tells Mesa's software adapter how many threads to compute with, unless the environment does.
 *
 * By itself it takes one a core, cuts each dispatch into as many runs of workgroups, and has the threads
 * sleep between dispatches. Linux does not look for an idle core when it wakes one while it takes all few
 * cores for busy: two threads then share a core, and another is idle. With more threads and shorter runs
 * there is one on every core more often, and whichever runs takes what the others have not begun.
 *
 * Mesa reads the variable when the first adapter is asked for. The engine itself leaves the environment
 * alone: programs call this first, as the command line does.
 *
 * @param variables The environment; null where it may not be written.
 */
export function tuneLavapipe(
  { os = OPERATING_SYSTEM, cores = navigator.hardwareConcurrency, variables = environment() }: {
    os?: string;
    cores?: number;
    variables?: Environment | null;
  } = {},
): void {
  if (os !== "linux" || !variables) return;
  if (cores >= 2 && cores < MANY_CORES && !variables.get(THREADS)) {
    variables.set(THREADS, String(Math.min(THREADS_A_CORE * cores, MANY_CORES)));
  }
}

/** Invocations of a subgroup of Mesa's software adapter: one for each 32 bits of a vector. */
export function lavapipeLanes(variables: Pick<Environment, "get"> | null = environment()): number {
  const told = Number(variables?.get(VECTOR_WIDTH));
  return (told > 0 ? told : OWN_WIDTH) / 32;
}

/**
 * What Mesa's software adapter computes with: the threads it was told, null where it was not, and the width
 * of its vectors in bits, which its name has. Both null for other adapters.
 *
 * @param name Of the adapter: `llvmpipe (LLVM 15.0.6, 256 bits)`.
 */
export function lavapipeSettings(
  name: string,
  variables: Pick<Environment, "get"> | null = environment(),
): { threads: number | null; vectorWidth: number | null } {
  if (!/llvmpipe|lavapipe/i.test(name)) return { threads: null, vectorWidth: null };
  const number = (text: string | undefined) => text ? Number(text) : null;
  const bits = name.match(/\b(\d+) bits\b/)?.[1];
  return { threads: number(variables?.get(THREADS)), vectorWidth: number(bits) };
}

/** The process's environment, where it may be written. */
function environment(): Environment | null {
  return writableEnvironment([THREADS, VECTOR_WIDTH]);
}
