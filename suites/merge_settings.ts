import type { Settings } from "../results/settings.ts";

/**
 * Merges settings from general to particular. Options are merged key by key,
 * everything else is replaced; `steps` and `tokens` say the same thing, so the
 * more particular one takes the place of the other; so do their warm-ups.
 */
export function mergeSettings(...levels: (Settings | undefined)[]): Settings {
  const merged: Settings = {};
  for (const level of levels) {
    const { methodOptions, optimizerOptions, ...rest } = level ?? {};
    if (rest.steps !== undefined) delete merged.tokens;
    if (rest.tokens !== undefined) delete merged.steps;
    if (rest.warmupSteps !== undefined) delete merged.warmupTokens;
    if (rest.warmupTokens !== undefined) delete merged.warmupSteps;
    Object.assign(merged, rest);
    if (optimizerOptions) merged.optimizerOptions = { ...merged.optimizerOptions, ...optimizerOptions };
    for (const [method, options] of Object.entries(methodOptions ?? {})) {
      merged.methodOptions = {
        ...merged.methodOptions,
        [method]: { ...merged.methodOptions?.[method], ...options },
      };
    }
  }
  return merged;
}
