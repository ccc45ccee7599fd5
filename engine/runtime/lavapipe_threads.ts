/** Threads a core: two are faster than one by a twentieth and than eight by as much (`docs/performance.md`). */
const THREADS_A_CORE = 2;
/** Machines with as many cores keep a thread a core: they have idle ones to wake a thread on. */
const MANY_CORES = 16;
const VARIABLE = "LP_NUM_THREADS";

/**
 * Tells Mesa's software adapter how many threads to compute with, unless the environment does.
 *
 * By itself it takes one a core, cuts each dispatch into as many runs of workgroups, and has the threads sleep between
 * dispatches. Linux does not look for an idle core when it wakes one while it takes all few cores for busy: two threads then
 * share a core, and another is idle. With more threads and shorter runs there is one on every core more often, and whichever
 * runs takes what the others have not begun. Mesa reads the variable when the first adapter is asked for.
 *
 * @param variable Where the environment is read and written.
 */
export function spreadLavapipe(
  { os = Deno.build.os, cores = navigator.hardwareConcurrency, variable = environment() }: {
    os?: string;
    cores?: number;
    variable?: Pick<typeof Deno.env, "get" | "set"> | null;
  } = {},
): void {
  if (os !== "linux" || cores < 2 || cores >= MANY_CORES) return;
  if (!variable || variable.get(VARIABLE)) return;
  variable.set(VARIABLE, String(Math.min(THREADS_A_CORE * cores, MANY_CORES)));
}

/** The process's environment, where it may be written. */
function environment(): typeof Deno.env | null {
  const { state } = Deno.permissions.querySync({ name: "env", variable: VARIABLE });
  return state === "granted" ? Deno.env : null;
}
