import type { CellRecord, Environment, RunRecord } from "./record.ts";

/** What the key of an environment is made of. */
export type KeyParts = Pick<
  Environment,
  "adapter" | "software" | "cpu" | "driver" | "gpuProviderVersion" | "threads" | "vectorWidth"
>;

/** Parts of the key by name. A software adapter is a program: the processor is its card. */
function keyParts(environment: KeyParts): Record<string, string | null> {
  const { adapter, software, cpu, driver, gpuProviderVersion, threads, vectorWidth } = environment;
  return {
    adapter,
    processor: software ? cpu : null,
    driver,
    "WebGPU by": gpuProviderVersion || null,
    threads: !software ? null : threads === null ? "as the driver has them" : String(threads),
    "vector width": vectorWidth === null ? null : `${vectorWidth} bits`,
  };
}

/** Parts that do not say what they are. */
const NAMED = ["driver", "threads", "vector width"];

/** The key of an environment: its parts in one line, those that it has. */
export function environmentKey(environment: KeyParts): string {
  return Object.entries(keyParts(environment))
    .filter(([, part]) => part !== null)
    .map(([name, part]) => NAMED.includes(name) ? `${name} ${part}` : part)
    .join(" | ");
}

/**
 * Bits of the vectors that Mesa's software adapter has in its name, `llvmpipe (LLVM 15.0.6, 256 bits)`; else
 * null.
 */
export function vectorWidthOf(adapter: string): number | null {
  const bits = adapter.match(/^llvmpipe \(.*\b(\d+) bits\)/)?.[1];
  return bits === undefined ? null : Number(bits);
}

/** What figures come from: the parts of `RunRecord` and `CellRecord` that say so. */
export type Origin = Pick<RunRecord, "numerics" | "environment">;

/** One thing in which two origins differ. */
export interface Difference {
  what: string;
  before: string;
  now: string;
}

/**
 * In what two origins differ that changes times or bits: environment key, numerics and code. Code is compared
 * by work trees where both are known, which tells copies of a commit from changed ones, and by commits
 * otherwise.
 */
export function differences(before: Origin, now: Origin): Difference[] {
  const found: Difference[] = [];
  const add = (what: string, one: string | number | null, other: string | number | null) => {
    if (one !== other) found.push({ what, before: String(one ?? "none"), now: String(other ?? "none") });
  };
  if (before.environment.key !== now.environment.key) {
    const [one, other] = [keyParts(before.environment), keyParts(now.environment)];
    for (const what of Object.keys(one)) add(what, one[what], other[what]);
    // Keys are compared as they stand: what made them may have been other parts.
    if (found.length === 0) add("environment key", before.environment.key, now.environment.key);
  }
  add("numerics", before.numerics, now.numerics);
  const [one, other] = [before.environment, now.environment];
  if (one.tree !== null && other.tree !== null) {
    if (one.tree !== other.tree) add("work tree", codeOf(before), codeOf(now));
  } else add("commit", one.commit, other.commit);
  return found;
}

/** The code in a few words: the start of the commit, and of the work tree where that is known. */
function codeOf({ environment: { commit, tree } }: Origin): string {
  const named = commit === null ? "no commit" : commit.slice(0, 12) + (commit.endsWith("+") ? "+" : "");
  return tree === null ? named : `${tree.slice(0, 12)} (${named})`;
}

/** Cells of one origin among others. */
export interface OriginShare {
  origin: Origin;
  cells: number;
}

/**
 * The origins of the cells that were measured or planned, most cells first; those that were left out do not
 * count. More than one: figures of different machines, numerics or code stand beside each other.
 */
export function originsOf(cells: readonly CellRecord[]): OriginShare[] {
  const shares: OriginShare[] = [];
  for (const cell of cells) {
    if (cell.status === "not-run") continue;
    const share = shares.find(({ origin }) => differences(origin, cell).length === 0);
    if (share) share.cells++;
    else shares.push({ origin: { numerics: cell.numerics, environment: cell.environment }, cells: 1 });
  }
  return shares.sort((a, b) => b.cells - a.cells);
}

/** What is mixed among cells, in a sentence; null where they are of one origin. */
export function mixtureOf(cells: readonly CellRecord[]): string | null {
  const [most, ...others] = originsOf(cells);
  if (others.length === 0) return null;
  const parts = others.map(({ origin, cells: count }) => {
    const words = differences(most.origin, origin).map(({ what, before, now }) =>
      `${what} ${now}, not ${before}`
    );
    return `${count} of another (${words.join("; ")})`;
  });
  const total = most.cells + others.reduce((sum, { cells }) => sum + cells, 0);
  return `Mixed: ${most.cells} of the ${total} cells that ran are of one origin, ${parts.join(", ")}.`;
}
