/** Which records stand, so that their cells are not run again. */
import { type CellRecord, type Status, STATUSES } from "../results/record.ts";
import type { RunConfig } from "../results/settings.ts";
import { memoryKey } from "./memory_keys.ts";

/** Statuses that can be asked to be run again. */
export const RETRIED: readonly Status[] = STATUSES.filter((status) =>
  status !== "ok" && status !== "not-run"
);

const NONE: ReadonlySet<Status> = new Set();

/**
 * Whether a record stands: its cell is not run again. Not that of a cell that was killed, nor one with a
 * status that is to be retried, nor one that rests on such a record: because its cell starts from that one's,
 * was skipped for the sake of it, or took it for its own.
 *
 * @param records All of the run, by id.
 */
export function stands(
  record: CellRecord | undefined,
  records: ReadonlyMap<string, CellRecord>,
  retry: ReadonlySet<Status> = NONE,
): boolean {
  if (!record || !STATUSES.includes(record.status)) return false;
  const { status, reason, sameRunAs, config } = record;
  if (status === "killed" || retry.has(status)) return false;
  const ran = sameRunAs === null ? undefined : records.get(sameRunAs);
  if (ran && ran.startedAt !== record.startedAt) return false; // it has been run again since
  if (status !== "not-run" || reason?.startsWith(PRUNED)) return true;
  const source = config.startFrom === null ? undefined : records.get(config.startFrom);
  if (source && source.status !== "ok") {
    return stands(source, records, retry) && reason === notRunReason(source);
  }
  const standing = records.values().filter((one) => one.status === "oom" && stands(one, records, retry));
  return smallerOutOfMemory(config, standing) !== null;
}

/** How the reason of a cell begins that a rule of its suite keeps from running. */
export const PRUNED = "pruned: ";

/** Why a cell does not run that starts from one without weights. */
export function notRunReason({ id, label, status }: CellRecord): string {
  return `cell ${id}, ${label}, which it starts from, ended as ${status}`;
}

/** A record that ran out of memory with fewer sequences at a time, all else that takes memory being equal. */
export function smallerOutOfMemory(
  config: RunConfig,
  records: Iterable<CellRecord>,
): CellRecord | null {
  for (const record of records) {
    if (record.status !== "oom" || record.config.microBatchSize >= config.microBatchSize) continue;
    if (memoryKey(record.config) === memoryKey(config)) return record;
  }
  return null;
}
