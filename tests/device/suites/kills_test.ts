// Real measuring processes, killed from outside at moments that a seed gives.
import assert from "node:assert/strict";
import { join } from "node:path";
import type { CellRecord, RunRecord } from "../../../results/record.ts";
import { engine } from "../../../suites/engine.ts";
import { main } from "../../../suites/cli/main.ts";
import { seededNumbers } from "../../support/seeded.ts";
import { isLongRun } from "../../support/long_run.ts";

/**
 * A process takes a second or two of two cores to train; the runner's own tests always kill 20, which train
 * nothing.
 */
const KILLS = isLongRun ? 20 : 8;
const SEED = 20260101;

/** Two batch sizes with two seeds, and a cell of the chosen one. */
const suiteText = (repeats: number) =>
  `title: kills
defaults:
  model: gpt2-pico
  data: moby-dick
  tokenizer: bytes
  heldOutFraction: 0.02
  heldOutWindows: 1
  sequenceLength: 16
  tokens: 128
phases:
  - { name: batch-size, kind: batch-sweep, repeats: ${repeats}, seeds: [1, 2], axes: { effectiveBatchSize: [1, 2] } }
  - { name: single, kind: matrix, seeds: [1], defaults: { effectiveBatchSize: chosen }, cells: [{ label: baseline }] }
`;

/** What tells the measuring processes of this test from those of tests beside it. */
const TOKEN = `kills=${crypto.randomUUID()}`;

async function bench(...args: string[]): Promise<{ code: number; said: string }> {
  const said: string[] = [];
  const say = (text: string) => {
    said.push(text);
  };
  const code = await main(["bench", ...args], {
    engine,
    measureScript: new URL(`../../../suites/measure.ts?${TOKEN}`, import.meta.url),
    writeReport: () => Promise.resolve(),
    compareRuns: () => Promise.resolve({ failed: false, failures: [] }),
    progress: { terminal: false, columns: 80, colour: false, writeLine: say, now: Date.now },
    print: say,
    write: say,
    note: say,
  });
  return { code, said: said.join("\n") };
}

async function records(out: string): Promise<{ run: RunRecord; cells: CellRecord[] }> {
  const read = async (path: string) => JSON.parse(await Deno.readTextFile(join(out, path)));
  const run: RunRecord = await read("run.json");
  return { run, cells: await Promise.all(run.cells.map(({ id }) => read(`cells/${id}.json`))) };
}

/** Measuring processes of this test that are there. */
function measuring(): number[] {
  return [...Deno.readDirSync("/proc")].map(({ name }) => Number(name)).filter((pid) => {
    try {
      return pid > 0 && Deno.readTextFileSync(`/proc/${pid}/cmdline`).includes(TOKEN);
    } catch {
      return false; // it has ended
    }
  });
}

/** Kills every measuring process but the first, which looks at the adapter, each after its own delay. */
class Killer {
  /** Kills so far. */
  count = 0;
  readonly #delaysMs: number[];
  readonly #seen = new Set<number>();
  readonly #timers: ReturnType<typeof setTimeout>[] = [];
  readonly #watch: ReturnType<typeof setInterval>;

  constructor(delaysMs: readonly number[]) {
    this.#delaysMs = [...delaysMs];
    this.#watch = setInterval(() => measuring().forEach((pid) => this.#meet(pid)), 20);
  }

  #meet(pid: number): void {
    if (this.#seen.has(pid)) return;
    this.#seen.add(pid);
    const delay = this.#seen.size === 1 ? undefined : this.#delaysMs.shift();
    if (delay === undefined) return;
    this.#timers.push(setTimeout(() => {
      if (!measuring().includes(pid)) return;
      Deno.kill(pid, "SIGKILL");
      this.count++;
    }, delay));
  }

  stop(): void {
    clearInterval(this.#watch);
    this.#timers.forEach(clearTimeout);
  }
}

Deno.test({
  name:
    `${KILLS} kills of measuring processes: no oom, nothing skipped, and one --resume has every cell and its losses`,
  ignore: Deno.build.os !== "linux", // processes are found in /proc
  async fn() {
    const folder = await Deno.makeTempDir({ prefix: "threefold-" });
    try {
      const [whole, out] = [join(folder, "whole"), join(folder, "out")];
      const suites = [join(folder, "whole.yaml"), join(folder, "repeats.yaml")];
      await Deno.writeTextFile(suites[0], suiteText(1));
      await Deno.writeTextFile(suites[1], suiteText(KILLS / 4));
      const undisturbed = await bench(suites[0], "--out", whole);
      assert.equal(undisturbed.code, 0, undisturbed.said);
      const expected = await records(whole);

      // Anywhere from the start of the process to shortly before its end.
      const longest = 0.8 * Math.min(...expected.cells.map(({ wallMs }) => wallMs));
      let killed = 0;
      for (let round = 0; killed < KILLS; round++) {
        const delays = Array.from(
          seededNumbers(KILLS - killed, SEED + round),
          (x) => ((x + 1) / 2) * longest,
        );
        console.log(`seed ${SEED + round}: kills after ${delays.map((ms) => ms.toFixed(0)).join(", ")} ms`);
        const killer = new Killer(delays);
        const { code, said } = await bench(suites[1], "--out", out, ...round > 0 ? ["--resume"] : [])
          .finally(() => killer.stop());
        killed += killer.count;
        assert.ok(killer.count > 0, said);
        const { run, cells } = await records(out);
        const statuses = new Set(cells.map(({ status }) => status));
        for (const status of statuses) assert.ok(status === "killed" || status === "ok", said);
        if (!statuses.has("killed")) continue;
        assert.equal(code, 1, said);
        assert.deepEqual(run.decisions, [], "nothing is decided by cells that were killed");
        assert.equal(run.finishedAt, null);
      }
      const resumed = await bench(suites[1], "--out", out, "--resume");
      assert.equal(resumed.code, 0, resumed.said);
      const { run, cells } = await records(out);
      assert.notEqual(run.finishedAt, null);
      assert.equal(run.decisions.length, 1);
      assert.equal(cells.length, KILLS + 1);
      const twinOf = ({ config }: CellRecord) =>
        expected.cells.find((one) =>
          one.config.microBatchSize === config.microBatchSize && one.config.seed === config.seed
        )!;
      for (const cell of cells) {
        assert.equal(cell.status, "ok", `${cell.label}: ${cell.reason}`);
        assert.deepEqual(cell.samples!.loss, twinOf(cell).samples!.loss);
        const losses = ({ heldOut }: CellRecord) =>
          heldOut.map(({ step, tokens, loss }) => ({ step, tokens, loss }));
        assert.deepEqual(losses(cell), losses(twinOf(cell)));
      }
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});
