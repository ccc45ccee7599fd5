/** What cells must share for their memory to be the same. */
import { canonicalJson } from "../results/canonical_json.ts";
import { partOf, RUN_SETTINGS, type RunConfig, type SettingTable } from "../results/settings.ts";

/** What the memory of a step depends on, besides the micro-batch size. */
export function memoryKey(
  { microBatchSize: _, ...config }: RunConfig,
  table: SettingTable = RUN_SETTINGS,
): string {
  const values: Record<string, unknown> = config;
  const depends = Object.entries(table).filter(([, { memory }]) => memory).map(([name, { memory }]) =>
    [name, typeof memory === "object" ? Number(values[name]) > memory.above : values[name]] as const
  );
  return canonicalJson(Object.fromEntries(depends));
}

/** What a plan depends on: seeds and rates share one. */
export function planKey(config: RunConfig, table: SettingTable = RUN_SETTINGS): string {
  return canonicalJson(partOf(config, ({ memory }) => memory !== false, table));
}
