// Which records stand when a run goes on: what was skipped is tried again where its reason is gone.
import assert from "node:assert/strict";
import type { CellRecord, Status } from "../../../results/record.ts";
import { resolveSettings } from "../../../suites/resolve_settings.ts";
import { notRunReason, PRUNED, smallerOutOfMemory, stands } from "../../../suites/standing.ts";

function record(id: string, microBatchSize: number, status: Status, more: Partial<CellRecord> = {}) {
  const config = resolveSettings({
    model: "gpt2-nano",
    data: "moby-dick",
    effectiveBatchSize: 16,
    microBatchSize,
  });
  const reason = status === "ok" ? null : "…";
  return { id, label: id, status, reason, sameRunAs: null, startedAt: "", config, ...more } as CellRecord;
}

/** Whether the first record stands among all, `retry` being asked for. */
function isStanding([first, ...others]: CellRecord[], retry: Status[] = []): boolean {
  const records = new Map([first, ...others].map((one) => [one.id, one]));
  return stands(first, records, new Set(retry));
}

Deno.test("a cell that was skipped for a smaller one out of memory stays skipped while that one stands", () => {
  const skipped = record("skipped", 4, "not-run");
  assert.equal(isStanding([skipped, record("smaller", 2, "oom")]), true);
  assert.equal(isStanding([skipped, record("equal", 4, "oom")]), false, "as large is not smaller");
  assert.equal(isStanding([skipped, record("smaller", 2, "ok")]), false);
  assert.equal(isStanding([skipped]), false);
  assert.equal(isStanding([skipped, record("smaller", 2, "oom")], ["oom"]), false, "that is run again");
  const longer = record("longer", 2, "oom");
  longer.config.sequenceLength *= 2;
  assert.equal(isStanding([skipped, longer]), false, "of another kind of memory");
});

Deno.test("smallerOutOfMemory() is a cell out of memory with fewer sequences at a time, by one at least", () => {
  const found = (size: number, ...records: CellRecord[]) =>
    smallerOutOfMemory(record("larger", size, "ok").config, records)?.id ?? null;
  assert.equal(found(8, record("four", 4, "oom")), "four");
  assert.equal(found(4, record("four", 4, "oom")), null);
  assert.equal(found(2, record("four", 4, "oom")), null);
  assert.equal(found(8, record("four", 4, "error")), null);
});

Deno.test("a cell that a rule of its suite leaves out stays out", () => {
  assert.equal(isStanding([record("a", 4, "not-run", { reason: `${PRUNED}a rule` })]), true);
});

Deno.test("a cell whose start ended badly stays skipped while that is how it ended", () => {
  const start = record("start", 4, "error");
  const skipped = (from: CellRecord) => {
    const one = record("skipped", 4, "not-run", { reason: notRunReason(from) });
    one.config.startFrom = "start";
    return one;
  };
  assert.equal(isStanding([skipped(start), start]), true);
  assert.equal(isStanding([skipped(start), record("start", 4, "ok")]), false);
  assert.equal(
    isStanding([skipped(start), record("start", 4, "oom")]),
    false,
    "it ended in another way since",
  );
  assert.equal(isStanding([skipped(start), start], ["error"]), false);
  const killed = record("start", 4, "killed");
  assert.equal(isStanding([skipped(killed), killed]), false);
});

Deno.test("what ran stands, but killed, of a status to be retried, or taken from a run that was made again", () => {
  assert.equal(isStanding([record("a", 4, "ok")]), true);
  assert.equal(isStanding([record("a", 4, "killed")]), false);
  assert.deepEqual(
    [isStanding([record("a", 4, "error")]), isStanding([record("a", 4, "error")], ["error"])],
    [
      true,
      false,
    ],
  );
  const copy = record("copy", 4, "ok", { sameRunAs: "run", startedAt: "1" });
  const run = (startedAt: string) => record("run", 4, "ok", { startedAt });
  assert.deepEqual([isStanding([copy, run("1")]), isStanding([copy, run("2")])], [true, false]);
});
