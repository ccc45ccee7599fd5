import { environmentVariable, homeFolder, join } from "../host.ts";

/**
 * Where the engine keeps what it can make again: `THREEFOLD_CACHE`, else `threefold` in `XDG_CACHE_HOME` or `~/.cache`.
 *
 * The folder need not exist.
 */
export function cacheFolder(): string {
  return setting("THREEFOLD_CACHE") ??
    join(setting("XDG_CACHE_HOME") ?? join(homeFolder(), ".cache"), "threefold");
}

/** An environment variable; one that is empty counts as not set. */
function setting(name: string): string | undefined {
  return environmentVariable(name) || undefined;
}
