/** Records that a later phase took over from an earlier one: the same run, which the page shows once. */
import type { Configuration } from "./configuration.ts";

/** Whether all runs of `one` are among those of `other`. */
function isWithin(one: ReadonlySet<string>, other: ReadonlySet<string>): boolean {
  return one.size <= other.size && [...one].every((id) => other.has(id));
}

/** Configurations that have a run no other one has, each with those that repeat parts of it alone. */
export function withoutReused(
  configurations: readonly Configuration[],
): { configuration: Configuration; repeated: Configuration[] }[] {
  const runs = configurations.map(({ cells }) => new Set(cells.map(({ id, sameRunAs }) => sameRunAs ?? id)));
  // Of two with the very same runs the earlier one stays.
  const home = configurations.map((_, i) =>
    configurations.findIndex((_, j) =>
      j !== i && isWithin(runs[i], runs[j]) && (runs[j].size > runs[i].size || j < i)
    )
  );
  return configurations.flatMap((configuration, i) =>
    home[i] >= 0 ? [] : [{
      configuration,
      repeated: configurations.filter((_, j) => home[j] >= 0 && isWithin(runs[j], runs[i])),
    }]
  );
}
