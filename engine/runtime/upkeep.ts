import { garbageCollector } from "../host.ts";
import type { Gpu } from "./gpu.ts";

/**
 * Longest time without a turn of the event loop, ms. A turn is a wait of a timer, 1 to 3 ms in Deno, so that
 * turns cost a hundredth of the time at most; and a signal is heard in a quarter of a second.
 */
export const TURN_EVERY_MS = 250;

/**
 * Compute passes after which their remains are collected, if that may be. One leaves half a KiB outside of
 * the JavaScript heap, so that 1024 of them are half a MiB: a hundredth of what the smallest models take
 * besides an empty device.
 */
export const COLLECT_EVERY_PASSES = 1024;

/**
 * Part of the time that collections may take: after one of 30 ms, as in small models on a quiet core, the
 * next is 3 s away.
 */
export const COLLECTION_SHARE = 0.01;

/** What upkeep is done with; tests have their own. */
export interface UpkeepTools {
  /** Lets the event loop turn; null where it turns in every wait for the device. */
  turn: (() => Promise<void>) | null;
  /** Collects all garbage; null where it is not to be collected, or cannot be. */
  collect: (() => void) | null;
  /** The clock, ms. */
  now?: () => number;
}

/**
 * Keeps a loop of steps from holding on to what is no longer needed. To be run in each, while the device is
 * busy.
 *
 * *Turns of the event loop.* Where waits for the device end within the call (`callsWaitForQueue`), all that a
 * loop awaits is there at once, and nothing else ever runs: no timer, no listener of a signal. Deno also
 * keeps each call of `mapAsync` until then.
 *
 * *Collections.* JavaScript holds encoders, passes and command buffers by small objects, and takes its time
 * to collect them; what they hold in turn it does not see. On software adapters the memory of the process is
 * what is observed of the device, and it would grow with the number of steps: by 40 MB over 1500 of 62
 * passes.
 */
export class Upkeep {
  readonly #turn: (() => Promise<void>) | null;
  readonly #collect: (() => void) | null;
  readonly #now: () => number;
  #turnedAt: number;
  #passes = 0;
  #mayCollectAt = -Infinity;

  constructor({ turn, collect, now = () => performance.now() }: UpkeepTools) {
    this.#turn = turn;
    this.#collect = collect;
    this.#now = now;
    this.#turnedAt = now();
  }

  /** What a session on this device needs. */
  static of({ provider, adapter }: Pick<Gpu, "provider" | "adapter">): Upkeep {
    return new Upkeep({
      turn: provider.callsWaitForQueue ? turnOfEventLoop : null,
      collect: adapter.software ? garbageCollector() : null,
    });
  }

  /** Counts passes that were encoded. */
  encoded(passes: number): void {
    this.#passes += passes;
  }

  /** Does what is due. */
  async run(): Promise<void> {
    if (this.#turn && this.#now() - this.#turnedAt >= TURN_EVERY_MS) {
      await this.#turn();
      this.#turnedAt = this.#now();
    }
    if (this.#collect && this.#passes >= COLLECT_EVERY_PASSES && this.#now() >= this.#mayCollectAt) {
      const started = this.#now();
      this.#collect();
      const ended = this.#now();
      this.#mayCollectAt = ended + (ended - started) * (1 / COLLECTION_SHARE - 1);
      this.#passes = 0;
    }
  }
}

/**
 * By a timer, not `setImmediate`: only while it waits for one does Deno look for signals, sockets and what
 * else is due.
 */
function turnOfEventLoop(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}
