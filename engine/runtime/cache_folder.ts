import { homedir } from "node:os";
import { join } from "node:path";

/**
 * Where the engine keeps what it can make again: `THREEFOLD_CACHE`, else `threefold` in `XDG_CACHE_HOME` or `~/.cache`.
 *
 * The folder need not exist.
 */
export function cacheFolder(): string {
  return setting("THREEFOLD_CACHE") ??
    join(setting("XDG_CACHE_HOME") ?? join(homedir(), ".cache"), "threefold");
}

/** An environment variable; one that is empty counts as not set. */
function setting(name: string): string | undefined {
  return Deno.env.get(name) || undefined;
}
