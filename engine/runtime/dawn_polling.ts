/** Turns of a wait that come at once; a turn takes some ten microseconds. */
const BRISK_TURNS = 64;
/** Milliseconds between the turns after them. */
const PAUSE_MS = 1;
/** Milliseconds without a turn after which the next one begins a wait. */
const NEW_WAIT_MS = 4;

/** The part of the global scope by which dawn.node asks to be called again. */
interface Scope {
  setImmediate(callback: (...args: unknown[]) => void, ...args: unknown[]): unknown;
  setTimeout(callback: (...args: unknown[]) => void, ms: number, ...args: unknown[]): unknown;
}

/**
 * Has dawn.node look for events every millisecond in a long wait instead of all the time.
 *
 * While anything is awaited it calls `setImmediate` again and again, a new native function each time. That
 * keeps a core busy, and after some thousands of functions Deno 2.9 stands still for seconds to clear them
 * away. Functions of JavaScript are called as before.
 *
 * @param now The clock, ms.
 */
export function paceDawnPolls(
  scope: Scope = globalThis as unknown as Scope,
  now = () => performance.now(),
): void {
  const { setImmediate } = scope;
  let turns = 0, last = -Infinity;
  scope.setImmediate = (callback, ...args) => {
    if (!isNative(callback)) return setImmediate(callback, ...args);
    const at = now();
    turns = at - last > NEW_WAIT_MS ? 1 : turns + 1;
    last = at;
    return turns > BRISK_TURNS
      ? scope.setTimeout(callback, PAUSE_MS, ...args)
      : setImmediate(callback, ...args);
  };
}

const isNative = (callback: unknown) =>
  typeof callback === "function" && Function.prototype.toString.call(callback).endsWith("{ [native code] }");
