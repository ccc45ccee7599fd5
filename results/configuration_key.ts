import { canonicalJson } from "./canonical_json.ts";
import type { CellRole } from "./record.ts";
import type { RunConfig } from "./settings.ts";

/** How the cell that another starts from is called: that of each seed is another one. */
export type StartName = (id: string) => string;

/**
 * What the cells of one configuration of a phase share: role and settings, all but the seed and which cell of
 * that seed they start from.
 */
export function configurationKey(
  { config, role }: { config: RunConfig; role?: CellRole | null },
  startName: StartName,
): string {
  const startFrom = config.startFrom === null ? null : startName(config.startFrom);
  return canonicalJson({ ...config, seed: null, startFrom, role: role ?? null });
}
