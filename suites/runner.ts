import {
  type CellRecord,
  type Decision,
  type Environment,
  RECORD_VERSION,
  type RunRecord,
} from "../results/record.ts";
import { readCells, writeCell, writeRun } from "../results/files.ts";
import { InputError } from "../engine/input_error.ts";
import { decideBatchSize } from "./batch_size.ts";
import type { Engine, TrainingPlan } from "./engine.ts";
import { estimateMs } from "./estimate.ts";
import {
  canonicalJson,
  type Cell,
  expandPhase,
  type Filter,
  inShard,
  type Shard,
  usesDecision,
} from "./matrix.ts";
import { measureCell, overBudgetReason, unmeasured } from "./measure_cell.ts";
import { checkImplemented } from "./methods.ts";
import type { MemorySource } from "./observed_memory.ts";
import type { Message } from "./protocol.ts";
import type { SuiteFile, TieredPhase, TieredSuite } from "./suite.ts";
import type { TierChoice } from "./tiers.ts";

/** Told what the run does, for displays. */
export interface RunListener {
  /** @param remainingMs What the cells that are left are expected to take, this one included. */
  onCell(cell: Cell, position: { done: number; total: number; remainingMs: number; cellMs: number }): void;
  onMessage(message: Message): void;
  onRecord(record: CellRecord, position: { done: number; total: number }): void;
  onDecision(decision: Decision): void;
  onNote(text: string): void;
}

/** Everything a run needs; nothing is read from the surroundings. */
export interface RunOptions {
  suite: SuiteFile;
  tiered: TieredSuite;
  choice: TierChoice;
  quick: boolean;
  out: string;
  shard: Shard | null;
  filter: Filter | null;
  command: string;
  environment: Environment;
  memory: MemorySource | "process" | { reason: string };
  baselineBytes: number | null;
  measureScript: URL;
  profile: boolean;
  engine: Pick<Engine, "planTraining" | "implementedMethods" | "implementedOptimizers">;
  signal: AbortSignal;
  listener: RunListener;
  /** The run being resumed. */
  previous: RunRecord | null;
}

export interface RunOutcome {
  run: RunRecord;
  records: CellRecord[];
  /** `interrupted`: stopped from outside. `blocked`: a phase waits for a decision that cannot be made here. */
  ended: "complete" | "interrupted" | "blocked";
}

/** Cells that ended in one of these are not run again: they would end so again. */
export function isFinished(record: CellRecord | undefined): boolean {
  return record !== undefined && record.status !== "error";
}

/** Runs a suite, phase by phase and cell by cell, writing every record as soon as it is known. */
export async function runSuite(options: RunOptions): Promise<RunOutcome> {
  const runner = new Runner(options);
  await runner.load();
  return await runner.run();
}

class Runner {
  readonly #options: RunOptions;
  readonly #plans: PlanCache;
  readonly #run: RunRecord;
  #records = new Map<string, CellRecord>();
  #chosen: number | null = null;
  #forecasted: { chosen: number | null; cells: Cell[] } | null = null;

  constructor(options: RunOptions) {
    this.#options = options;
    this.#plans = new PlanCache(options.engine);
    this.#run = newRun(options);
  }

  async load(): Promise<void> {
    const { cells, unreadable } = await readCells(this.#options.out);
    this.#records = cells;
    for (const path of unreadable) {
      this.#options.listener.onNote(`${path} is not a whole record: its cell is run again`);
    }
  }

  async run(): Promise<RunOutcome> {
    const { tiered, listener } = this.#options;
    await this.#checkAll();
    for (const phase of tiered.phases) {
      if (usesDecision(phase) && this.#chosen === null) return await this.#blocked(phase);
      const all = expandPhase(phase, this.#chosen);
      const cells = all.filter((cell) => this.#options.filter?.(cell) ?? true);
      this.#announce(all.filter((cell) => cells.includes(cell) || this.#records.has(cell.id)));
      await writeRun(this.#options.out, this.#run);
      if (!await this.#runCells(cells.filter(({ id }) => this.#isMine(id)))) {
        return this.#outcome("interrupted");
      }
      if (phase.kind === "batch-sweep") this.#decide(phase, cells);
    }
    if (this.#run.cells.every(({ id }) => this.#records.has(id))) {
      this.#run.finishedAt = new Date().toISOString();
    } else {listener.onNote(
        "some cells belong to other shards: merge the cells/ folders and resume to finish the run",
      );}
    await writeRun(this.#options.out, this.#run);
    return this.#outcome("complete");
  }

  /** Every cell must be one that the engine trains and that the planner accepts, before the first one runs. */
  async #checkAll(): Promise<void> {
    for (const cell of this.#forecast()) {
      try {
        checkImplemented(cell.config.methods, cell.config.optimizer, this.#options.engine);
        const plan = await this.#plans.get(cell);
        if (plan instanceof InputError) throw plan;
      } catch (error) {
        if (!(error instanceof InputError)) throw error;
        throw new InputError(
          `Cannot run ${cell.label} of phase ${cell.phase} (cell ${cell.id}): ${error.message}`,
        );
      }
    }
  }

  /** The cells to come; where a batch size is still to be chosen, at the largest candidate. */
  #forecast(): Cell[] {
    if (this.#forecasted?.chosen !== this.#chosen) {
      const { tiered, filter } = this.#options;
      const cells = forecastCells(tiered, this.#chosen).map(({ cell }) => cell)
        .filter((cell) => (filter?.(cell) ?? true) && this.#isMine(cell.id));
      this.#forecasted = { chosen: this.#chosen, cells };
    }
    return this.#forecasted!.cells;
  }

  #isMine(id: string): boolean {
    return this.#options.shard === null || inShard(id, this.#options.shard);
  }

  #announce(cells: readonly Cell[]): void {
    const known = new Set(this.#run.cells.map(({ id }) => id));
    for (const { id, phase, label } of cells) if (!known.has(id)) this.#run.cells.push({ id, phase, label });
  }

  /** @returns False where the run was interrupted. */
  async #runCells(cells: readonly Cell[]): Promise<boolean> {
    const { listener, signal } = this.#options;
    for (const cell of cells) {
      if (signal.aborted) return false;
      if (isFinished(this.#records.get(cell.id))) continue;
      const plan = await this.#plans.get(cell);
      const remaining = await this.#remainingMs(cell);
      listener.onCell(cell, { ...this.#position(), ...remaining });
      const record = plan instanceof Error
        ? unmeasured(cell, null, this.#options.environment, "error", `cannot plan: ${plan.stack ?? plan}`)
        : this.#withoutRunning(cell, plan) ?? await this.#measure(cell, plan);
      if (record === null) return false;
      await writeCell(this.#options.out, record);
      this.#records.set(record.id, record);
      listener.onRecord(record, this.#position());
    }
    return true;
  }

  async #measure(cell: Cell, plan: TrainingPlan): Promise<CellRecord | null> {
    const { measureScript: script, environment, memory, baselineBytes, signal, profile, listener } =
      this.#options;
    const onMessage = (message: Message) => listener.onMessage(message);
    return await measureCell(cell, plan, {
      script,
      environment,
      memory,
      baselineBytes,
      signal,
      profile,
      onMessage,
    });
  }

  #withoutRunning(cell: Cell, plan: TrainingPlan): CellRecord | null {
    const { environment, choice: { memoryBudgetBytes: budget } } = this.#options;
    const smaller = smallerOutOfMemory(cell, this.#records.values());
    if (smaller) {
      const reason =
        `the smaller micro-batch ${smaller.config.microBatchSize} of the same configuration ran out of ` +
        `memory in cell ${smaller.id}`;
      return unmeasured(cell, plan, environment, "not-run", reason);
    }
    if (budget === null || plan.plannedPeakBytes <= budget) return null;
    return unmeasured(cell, plan, environment, "oom", overBudgetReason(plan, budget));
  }

  #decide(phase: TieredPhase, cells: readonly Cell[]): void {
    const records = cells.map(({ id }) => this.#records.get(id)).filter((record) => record !== undefined);
    this.#chosen = null;
    if (records.length < cells.length || records.length === 0) return;
    const decision = decideBatchSize(phase.name, records, phase.smallestChoice);
    if (decision === null) return;
    this.#chosen = decision.value as number;
    this.#run.decisions.push(decision);
    this.#options.listener.onDecision(decision);
  }

  async #blocked(phase: TieredPhase): Promise<RunOutcome> {
    const { shard, filter } = this.#options;
    const why = shard
      ? "cells of other shards are missing: merge the cells/ folders of all shards, then run again with --resume"
      : filter
      ? "the filter leaves out cells that it rests on"
      : "no batch size ran to its end";
    this.#options.listener.onNote(
      `Phase ${phase.name} needs the batch size that the sweep before it decides: ${why}`,
    );
    await writeRun(this.#options.out, this.#run);
    return this.#outcome("blocked");
  }

  #outcome(ended: RunOutcome["ended"]): RunOutcome {
    const records = this.#run.cells.map(({ id }) => this.#records.get(id)).filter((record) =>
      record !== undefined
    );
    return { run: this.#run, records, ended };
  }

  #position(): { done: number; total: number } {
    const cells = this.#forecast();
    return { done: cells.filter(({ id }) => isFinished(this.#records.get(id))).length, total: cells.length };
  }

  async #remainingMs(current: Cell): Promise<{ remainingMs: number; cellMs: number }> {
    const finished = [...this.#records.values()];
    const estimate = async (cell: Cell) => {
      const plan = await this.#plans.get(cell);
      if (plan instanceof Error) return 0;
      const work = { steps: cell.config.steps, modelFlopsPerStep: plan.modelFlopsPerStep };
      return estimateMs(work, finished, this.#options.choice.tier);
    };
    let remainingMs = 0;
    for (const cell of this.#forecast()) {
      if (!isFinished(this.#records.get(cell.id))) remainingMs += await estimate(cell);
    }
    return { remainingMs, cellMs: await estimate(current) };
  }
}

/** The cells of all phases; `guessed` where the batch size is still to be chosen and the largest candidate stands in. */
export function forecastCells(
  tiered: TieredSuite,
  chosen: number | null,
): { cell: Cell; guessed: boolean }[] {
  let candidate: number | null = null;
  return tiered.phases.flatMap((phase) => {
    const guessed = chosen === null && usesDecision(phase);
    const cells = expandPhase(phase, chosen ?? candidate);
    if (phase.kind === "batch-sweep") {
      candidate = Math.max(
        ...cells.map(({ config }) => config.microBatchSize * config.gradientAccumulationSteps),
      );
    }
    return cells.map((cell) => ({ cell, guessed }));
  });
}

/** A record that ran out of memory with fewer sequences at a time, all else that takes memory being equal. */
export function smallerOutOfMemory(cell: Cell, records: Iterable<CellRecord>): CellRecord | null {
  for (const record of records) {
    if (record.status !== "oom" || record.config.microBatchSize >= cell.config.microBatchSize) continue;
    if (memoryKey(record.config) === memoryKey(cell.config)) return record;
  }
  return null;
}

/** What the memory of a step depends on, besides the micro-batch size. */
function memoryKey(config: Cell["config"]): string {
  const {
    model,
    tokenizer,
    sequenceLength,
    gradientAccumulationSteps,
    methods,
    methodOptions,
    optimizer,
    optimizerOptions,
  } = config;
  return canonicalJson({
    model,
    tokenizer,
    sequenceLength,
    accumulates: gradientAccumulationSteps > 1, // gradients outlive a micro-step
    methods,
    methodOptions,
    optimizer,
    optimizerOptions,
    clips: config.clip > 0,
    drops: config.dropout > 0,
    evaluates: config.heldOutFraction > 0,
  });
}

/** Plans by what they depend on: seeds, repeats and rates share one. */
export class PlanCache {
  readonly #engine: Pick<Engine, "planTraining">;
  readonly #plans = new Map<string, Promise<TrainingPlan | Error>>();

  constructor(engine: Pick<Engine, "planTraining">) {
    this.#engine = engine;
  }

  /** The plan, or the error that planning ended with. */
  get({ config }: Pick<Cell, "config">): Promise<TrainingPlan | Error> {
    const { seed: _, steps: __, learningRate: ___, ...rest } = config;
    const key = canonicalJson(rest);
    const plan = this.#plans.get(key) ?? this.#engine.planTraining(config).catch((error) => error as Error);
    this.#plans.set(key, plan);
    return plan;
  }
}

function newRun({ suite, tiered, choice, quick, command, environment, previous }: RunOptions): RunRecord {
  return {
    recordVersion: RECORD_VERSION,
    suite: suite.name,
    title: suite.suite.title,
    suiteHash: suite.hash,
    tier: choice.tier,
    tierReason: choice.reason,
    quick,
    command,
    startedAt: previous?.startedAt ?? new Date().toISOString(),
    finishedAt: null,
    phases: tiered.phases.map(({ name, kind, description = "" }) => ({ name, kind, description })),
    cells: [],
    decisions: [],
    roofline: null,
    environment,
  };
}
