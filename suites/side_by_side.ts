/** Cells that run one a core at once: whose times no one asks for. */
import type { Environment } from "../results/record.ts";
import type { TieredPhase } from "./suite.ts";

/**
 * What a cell takes of the run's time beside others, as a part of what it takes alone: two trainings of
 * gpt2-pico at once on two cores took 1.28 to 1.45 times as long as one.
 */
const SHARE_OF_TIME = 0.7;

/** How many cells of a phase run at once: on a GPU one, since it is one device, else one a core. */
export function lanesOf(
  { sideBySide = false }: Pick<TieredPhase, "sideBySide">,
  { software, cpuCount }: Pick<Environment, "software" | "cpuCount">,
): number {
  return sideBySide && software ? Math.max(1, cpuCount) : 1;
}

/** What a cell of a phase takes of the run's time, as a part of what it takes alone. */
export function shareOfTime(lanes: number): number {
  return lanes > 1 ? SHARE_OF_TIME : 1;
}

/** A cell that runs. */
interface Place {
  bytes: number;
  /** The most that have run at once while it did, itself included. */
  most: number;
}

/** The cells that run at once, and the memory that they may plan for together. */
export class SideBySide {
  readonly #budgetBytes: number;
  readonly #places = new Set<Place>();
  #left = Promise.withResolvers<void>();

  /** @param budgetBytes Null where nothing is known. */
  constructor(budgetBytes: number | null) {
    this.#budgetBytes = budgetBytes ?? Infinity;
  }

  /**
   * Waits for room, and takes it. A cell by itself always has room: whether it fits at all is decided
   * elsewhere.
   *
   * @param bytes What it is planned to need.
   * @returns Leaves, and says how many ran at once at most, itself included.
   */
  async enter(bytes: number): Promise<() => number> {
    const used = () => [...this.#places].reduce((sum, one) => sum + one.bytes, 0);
    while (this.#places.size > 0 && used() + bytes > this.#budgetBytes) await this.#left.promise;
    const place = { bytes, most: 0 };
    this.#places.add(place);
    for (const one of this.#places) one.most = Math.max(one.most, this.#places.size);
    return () => {
      this.#places.delete(place);
      this.#left.resolve();
      this.#left = Promise.withResolvers<void>();
      return place.most;
    };
  }
}

/**
 * Works through items in their order, some at once, until one of them says that the rest is not to be begun,
 * or throws.
 *
 * @returns Whether all were done.
 */
export async function inLanes<T>(
  items: readonly T[],
  lanes: number,
  work: (item: T) => Promise<boolean>,
): Promise<boolean> {
  const left = items.values();
  let goesOn = true;
  const lane = async () => {
    for (const item of left) {
      if (!goesOn) return;
      let went = false;
      try {
        went = await work(item);
      } finally {
        goesOn &&= went;
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(lanes, items.length) }, lane));
  return goesOn;
}
