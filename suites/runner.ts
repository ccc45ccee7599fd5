import type { CellRecord, Decision, RunRecord, Status } from "../results/record.ts";
import { readCells, readRun, writeCell, writeRun } from "../results/files.ts";
import { InputError } from "../engine/input_error.ts";
import { firstRounds, look } from "./adaptive_rounds.ts";
import { decideBatchSize } from "./batch_size.ts";
import type { Engine, TrainingPlan } from "./engine.ts";
import { calibrate, estimateMs } from "./estimate.ts";
import { findFinalists, judgedCells, searchCells, searchMemory, timedBefore } from "./equal_memory.ts";
import { type ForecastCell, forecastCells, reuseKey, rootOf, wantedCells } from "./forecast.ts";
import { decideLearningRates } from "./learning_rates.ts";
import { cellsBeyond } from "./longer_rate_grid.ts";
import { decideLossMargin } from "./loss_margin.ts";
import {
  type Cell,
  expandPhase,
  type Filter,
  inShard,
  type Known,
  missingDecision,
  NOTHING_KNOWN,
  type SearchedCells,
  type Shard,
} from "./matrix.ts";
import { measureCell, overBudgetReason, plannedCell, reusedCell, unmeasured } from "./measure_cell.ts";
import { trainsAdapters } from "../results/methods.ts";
import { checkImplemented } from "./methods.ts";
import type { MemorySource } from "./observed_memory.ts";
import { PlanCache } from "./plan_cache.ts";
import type { Message } from "./protocol.ts";
import { exclusively, type RunLock } from "./run_lock.ts";
import { inRunningOrder } from "./rounds.ts";
import { joined, newRun, type RunOrigin } from "./run_record.ts";
import { SavedModels } from "./saved_models.ts";
import { inLanes, lanesOf, shareOfTime, SideBySide } from "./side_by_side.ts";
import { notRunReason, PRUNED, smallerOutOfMemory, stands } from "./standing.ts";
import type { TieredPhase } from "./suite.ts";

/** Told what the run does, for displays. */
export interface RunListener {
  /** @param remainingMs What the cells that are left are expected to take, this one included. */
  onCell(cell: Cell, position: { done: number; total: number; remainingMs: number; cellMs: number }): void;
  /** @param id The cell's. */
  onMessage(message: Message, id: string): void;
  onRecord(record: CellRecord, position: { done: number; total: number }): void;
  onDecision(decision: Decision): void;
  /** A search asks the planner what fits. */
  onPlan?(phase: string, done: number, total: number): void;
  onNote(text: string): void;
  /** A phase has run as far as it goes; the run goes on when this is done. */
  afterPhase?(): Promise<void>;
}

/** Everything a run needs; nothing is read from the surroundings. */
export interface RunOptions extends RunOrigin {
  out: string;
  /** Keeps other runners out of `out`, but for those of other shards. */
  lock: Pick<RunLock, "renew">;
  shard: Shard | null;
  filter: Filter | null;
  /** Statuses of cells that are run again, beside `killed`. */
  retry: ReadonlySet<Status>;
  /** What repeats a cell that starts from another one, the cell's id put behind it. */
  cellCommand: string;
  /** Leaves the weights that cells saved where they are. */
  keepModels: boolean;
  memory: MemorySource | "process" | { reason: string };
  baselineBytes: number | null;
  measureScript: URL;
  profile: boolean;
  engine: Pick<Engine, "planTraining" | "implementedMethods" | "implementedOptimizers">;
  signal: AbortSignal;
  listener: RunListener;
}

export interface RunOutcome {
  run: RunRecord;
  records: CellRecord[];
  /**
   * `interrupted`: stopped from outside. `blocked`: a phase waits for a decision that cannot be made here.
   * `unfinished`: cells were killed, and no phase waits for them.
   */
  ended: "complete" | "interrupted" | "blocked" | "unfinished";
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
  readonly #run: ReturnType<typeof newRun>;
  readonly #models: SavedModels;
  #records = new Map<string, CellRecord>();
  /** Cells that have had their turn in this run; they get no second one. */
  readonly #tried = new Set<string>();
  #known: Known = NOTHING_KNOWN;
  /** Whether a phase waits for cells that this run does not run. */
  #waits = false;
  /** Whether an adaptive phase has not looked yet. */
  #looksLater = false;
  readonly #sideBySide: SideBySide;
  /** Weights that are trained again, by the id of their cell. */
  readonly #ensuring = new Map<string, Promise<string | null>>();
  #forecasted: { known: Known; all: ForecastCell[]; cells: ForecastCell[] } | null = null;

  constructor(options: RunOptions) {
    this.#options = options;
    this.#plans = new PlanCache(options.engine, options.environment.software ? "software" : "gpu");
    this.#models = new SavedModels(options.out);
    this.#sideBySide = new SideBySide(options.choice.memoryBudgetBytes);
    this.#run = newRun(options);
  }

  async load(): Promise<void> {
    const { cells, unreadable } = await readCells(this.#options.out);
    this.#records = cells;
    for (const problem of unreadable) {
      this.#options.listener.onNote(`${problem}; it is not a whole record: its cell is run again`);
    }
  }

  async run(): Promise<RunOutcome> {
    const { tiered, listener, shard } = this.#options;
    await this.#checkAll();
    for (const phase of tiered.phases) {
      const missing = missingDecision(phase, this.#known);
      if (missing !== null) return await this.#blocked(phase, missing);
      const goesOn = phase.kind === "equal-memory"
        ? await this.#runEqualMemory(phase)
        : await this.#runPhase(phase);
      if (!goesOn || !await this.#addRounds(phase)) return this.#outcome("interrupted");
      await listener.afterPhase?.();
    }
    await this.#write({ atEnd: true });
    const killed = this.#cut([...this.#tried]);
    if (this.#waits) return this.#outcome("blocked");
    if (this.#run.finishedAt === null) {
      listener.onNote(
        killed.length > 0
          ? `${killedText(killed)}: --resume runs ${killed.length === 1 ? "it" : "them"} again`
          : shard !== null
          ? `some cells belong to other shards: ${OTHER_SHARDS} to finish the run`
          : "some cells that --filter leaves out are still to be run",
      );
    }
    return this.#outcome(killed.length > 0 ? "unfinished" : "complete");
  }

  /** Runs what is known of a phase's cells, and decides what they decide. @returns False if interrupted. */
  async #runPhase(phase: TieredPhase): Promise<boolean> {
    const all = expandPhase(phase, this.#known);
    const cells = all.filter((cell) => this.#isWanted(cell));
    this.#announce(all.filter((cell) => cells.includes(cell) || this.#records.has(cell.id)));
    await this.#write();
    const ordered = inRunningOrder(all, this.#run.orderSeed);
    const own = ordered.filter((cell) => cells.includes(cell) && this.#isMine(cell));
    if (!await inLanes(own, this.#lanesOf(phase.name), (cell) => this.#runCell(cell))) return false;
    if (this.#options.shard !== null) await this.#readOthers();
    if (this.#goesBeyond(phase, all)) return await this.#runPhase(phase);
    this.#decide(phase, cells);
    const before = this.#known.cells.filter((cell) => cell.phase !== phase.name);
    this.#known = { ...this.#known, cells: [...before, ...all] };
    return true;
  }

  /** Adds the rates beyond a rate sweep's grid that its records ask for. @returns Whether there are more. */
  #goesBeyond(phase: TieredPhase, all: readonly Cell[]): boolean {
    if (phase.kind !== "rate-sweep") return false;
    const before = this.#known.added.get(phase.name) ?? [];
    const first = all.filter((cell) => !before.includes(cell));
    const added = cellsBeyond(phase, first, (id) => this.#standing(id));
    if (added.length <= before.length) return false;
    this.#known = { ...this.#known, added: new Map([...this.#known.added, [phase.name, added]]) };
    return true;
  }

  /**
   * Asks the planner what fits, runs the search, decides, and runs what is judged. Where something is still
   * to run elsewhere the phase waits, and later ones go on. @returns False if interrupted.
   */
  async #runEqualMemory(phase: TieredPhase): Promise<boolean> {
    const { listener, signal, engine, choice, tiered } = this.#options;
    const timed = timedBefore(phase, tiered, this.#known.cells);
    const records = timed.map(({ id }) => this.#standing(id));
    if (records.includes(null)) return await this.#wait(phase, "the times of methods alone", timed);
    const plan = (config: Cell["config"]) => this.#plans.get({ config, kind: "trained" });
    const found = await searchMemory(phase, {
      known: this.#known,
      engine,
      plan,
      deviceBytes: choice.memoryBudgetBytes,
      timed: records.filter((record) => record !== null),
      onPlan: (done, total) => listener.onPlan?.(phase.name, done, total),
      signal,
    }).catch((error) => {
      if (signal.aborted) return null;
      throw error;
    });
    if (found === null) return false;
    const search = searchCells(phase, found, this.#known);
    this.#learn(phase, { search, judged: null });
    if (!await this.#runPhase(phase)) return false;
    const made = await findFinalists(phase, found, {
      known: this.#known,
      recordOf: (id) => this.#standing(id),
      plan,
    });
    if (made === null) return await this.#wait(phase, "the times of its search", search);
    for (const decision of made.decisions) this.#announceDecision(decision);
    this.#learn(phase, { search, judged: judgedCells(phase, found, made.finalists, this.#known) });
    return await this.#runPhase(phase);
  }

  /**
   * Looks at the first rounds of an adaptive phase and runs what they leave open. Where some of their cells
   * are still to run, here or elsewhere, the next run looks. @returns False if interrupted.
   */
  async #addRounds(phase: TieredPhase): Promise<boolean> {
    if (phase.rounds !== "adaptive") return true;
    const { searched } = this.#known;
    const first = firstRounds(phase, expandPhase(phase, this.#known));
    const found = phase.kind === "equal-memory" && !searched.get(phase.name)?.judged
      ? null
      : look(phase, first, (id) => this.#standing(id));
    if (found === null) {
      this.#looksLater = true;
      return true;
    }
    this.#announceDecision(found.decision);
    this.#known = { ...this.#known, added: new Map([...this.#known.added, [phase.name, found.added]]) };
    return await this.#runPhase(phase);
  }

  #learn({ name }: TieredPhase, cells: SearchedCells): void {
    this.#known = { ...this.#known, searched: new Map([...this.#known.searched, [name, cells]]) };
  }

  /** The record of a cell, where it stands. */
  #standing(id: string): CellRecord | null {
    const record = this.#records.get(id);
    return record && stands(record, this.#records) ? record : null;
  }

  /** Says that a phase waits for cells, and lets later ones go on. */
  async #wait({ name }: TieredPhase, missing: string, cells: readonly Cell[]): Promise<true> {
    this.#waits = true;
    const why = this.#whyMissing(cells.map(({ id }) => id)) ?? "they did not run to their end";
    this.#options.listener.onNote(`Phase ${name} needs ${missing}: ${why}`);
    await this.#write();
    return true;
  }

  /**
   * Writes `run.json`. Shards that share a folder take turns, and each keeps what the others have written.
   */
  async #write({ atEnd = false } = {}): Promise<void> {
    const { out, shard, lock } = this.#options;
    if (!await lock.renew()) return;
    const write = async () => {
      if (atEnd) await this.#finish();
      await writeRun(out, shard === null ? this.#run : joined(this.#run, await readRun(out)));
    };
    if (shard === null) return await write();
    await exclusively(out, async () => {
      await this.#readOthers();
      await write();
    });
  }

  /** Calls the run finished where every cell is, and removes weights that nobody will start from. */
  async #finish(): Promise<void> {
    const { keepModels, shard } = this.#options;
    const whole = !this.#waits && !this.#looksLater &&
      this.#run.cells.every(({ id }) => stands(this.#records.get(id), this.#records));
    // First: a run that is killed here is resumed, and finds nothing to start from them.
    if (!keepModels && whole) await this.#models.removeAll();
    else if (!keepModels && shard !== null && this.#cut([...this.#tried]).length === 0) {
      await this.#models.remove(this.#forecast().cells.map(({ cell }) => cell.id));
    }
    if (whole) this.#run.finishedAt = new Date().toISOString();
  }

  /** Takes up what runners of other shards have recorded in the same folder. */
  async #readOthers(): Promise<void> {
    for (const [id, record] of (await readCells(this.#options.out)).cells) {
      if (!this.#tried.has(id)) this.#records.set(id, record);
    }
  }

  /** Those of the cells that were killed. */
  #cut(ids: readonly string[]): string[] {
    return ids.filter((id) => this.#records.get(id)?.status === "killed");
  }

  /**
   * Every cell must be one that the engine trains and that the planner accepts, before the first one runs.
   */
  async #checkAll(): Promise<void> {
    for (const { cell } of this.#forecast().cells) {
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

  /**
   * The cells to come, those of them that this run is to do among them; what is not decided yet is guessed.
   */
  #forecast(): { all: ForecastCell[]; cells: ForecastCell[] } {
    if (
      this.#forecasted?.known.batchSize !== this.#known.batchSize ||
      this.#forecasted.known.rates !== this.#known.rates ||
      this.#forecasted.known.searched !== this.#known.searched ||
      this.#forecasted.known.added !== this.#known.added
    ) {
      const { tiered, filter, shard } = this.#options;
      const all = forecastCells(tiered, this.#known);
      const cells = wantedCells(all, filter).filter(({ cell }) =>
        shard === null || inShard(rootOf(cell, all), shard)
      );
      this.#forecasted = { known: this.#known, all, cells };
    }
    return this.#forecasted;
  }

  /** Whether the filter lets a cell through, or one that starts from it. */
  #isWanted(cell: Cell): boolean {
    const { filter } = this.#options;
    return filter === null ||
      wantedCells(this.#forecast().all, filter).some((one) => one.cell.id === cell.id);
  }

  #isMine(cell: Cell): boolean {
    const { shard } = this.#options;
    return shard === null || inShard(rootOf(cell, this.#forecast().all), shard);
  }

  /** Whether a cell is done with, in this run. */
  #isDone({ id }: Pick<Cell, "id">): boolean {
    return this.#tried.has(id) || stands(this.#records.get(id), this.#records, this.#options.retry);
  }

  #announce(cells: readonly Cell[]): void {
    const known = new Set(this.#run.cells.map(({ id }) => id));
    for (const { id, phase, label } of cells) if (!known.has(id)) this.#run.cells.push({ id, phase, label });
  }

  /** How many cells of a phase run at once. */
  #lanesOf(name: string): number {
    const phase = this.#options.tiered.phases.find((phase) => phase.name === name)!;
    return lanesOf(phase, this.#options.environment);
  }

  /** @returns False where the run was interrupted. */
  async #runCell(cell: Cell): Promise<boolean> {
    const { listener, signal, environment } = this.#options;
    if (signal.aborted) return false;
    if (this.#isDone(cell)) return true;
    const plan = await this.#plans.get(cell);
    const remaining = await this.#remainingMs(cell);
    listener.onCell(cell, { ...this.#position(), ...remaining });
    const record = plan instanceof Error
      ? unmeasured(cell, null, environment, "error", `cannot plan: ${plan.stack ?? plan}`)
      : this.#withoutRunning(cell, plan) ?? await this.#measureBeside(cell, plan);
    if (record === null) return false;
    // A record that another runner may have made in the meantime is not overwritten.
    if (!await this.#options.lock.renew()) return false;
    await writeCell(this.#options.out, record);
    this.#records.set(record.id, record);
    this.#tried.add(record.id);
    listener.onRecord(record, this.#position());
    return true;
  }

  /** Measures a cell when there is room beside those that run. */
  async #measureBeside(cell: Cell, plan: TrainingPlan): Promise<CellRecord | null> {
    const leave = await this.#sideBySide.enter(plan.plannedPeakBytes);
    let concurrency = 1;
    const record = await this.#measure(cell, plan).finally(() => concurrency = leave());
    return record && record.process !== null && concurrency > 1 ? { ...record, concurrency } : record;
  }

  /**
   * Trains a cell, from the weights of the cell it starts from. @returns Null where the run was interrupted.
   */
  async #measure(cell: Cell, plan: TrainingPlan): Promise<CellRecord | null> {
    const { measureScript: script, environment, memory, baselineBytes, signal, profile, listener } =
      this.#options;
    const { startFrom } = cell.config;
    if (startFrom !== null) {
      // Cells that run at once may start from the same weights.
      const ensuring = this.#ensuring.get(startFrom) ?? this.#ensureModel(startFrom);
      this.#ensuring.set(startFrom, ensuring);
      const problem = await ensuring.finally(() => this.#ensuring.delete(startFrom));
      if (signal.aborted) return null;
      if (problem !== null) return unmeasured(cell, plan, environment, "not-run", problem);
    }
    const saves = this.#saves(cell);
    const record = await measureCell(cell, plan, {
      script,
      environment,
      memory,
      baselineBytes,
      signal,
      profile,
      start: startFrom === null ? null : this.#models.path(startFrom),
      save: saves ? await this.#models.begin(cell.id) : null,
      command: startFrom === null ? null : `${this.#options.cellCommand} --filter id=${cell.id}`,
      onMessage: (message) => listener.onMessage(message, cell.id),
    });
    if (!saves || record?.status !== "ok") {
      await this.#models.discard(cell.id);
      return record;
    }
    return { ...record, adapterBytes: await this.#models.commit(cell.id) };
  }

  /** Cells save what later ones start from, and their adapters. */
  #saves(cell: Cell): boolean {
    return trainsAdapters(cell.config.methods) ||
      this.#forecast().all.some(({ cell: { config } }) => config.startFrom === cell.id);
  }

  /**
   * Sees to it that the weights of a cell are there; where they are gone, the
   * cell is trained again and its record stays.
   *
   * @returns Why they cannot be had, or null.
   */
  async #ensureModel(id: string): Promise<string | null> {
    const record = this.#records.get(id);
    const source = this.#forecast().all.find(({ cell }) => cell.id === id)!.cell;
    if (!record) return `cell ${id}, ${source.label}, which it starts from, has not run`;
    if (record.status !== "ok") return notRunReason(record);
    if (await this.#models.has(id)) return null;
    this.#options.listener.onNote(
      `The weights of ${source.label} are gone: it is trained again, its record stays`,
    );
    const plan = await this.#plans.get(source);
    if (plan instanceof Error) throw plan;
    const again = await this.#measure(source, plan);
    if (again === null) return "the run was interrupted";
    return again.status === "ok"
      ? null
      : `cell ${id}, ${source.label}, trained again, ended as ${again.status}`;
  }

  #withoutRunning(cell: Cell, plan: TrainingPlan): CellRecord | null {
    const { environment, choice: { memoryBudgetBytes: budget } } = this.#options;
    if (cell.kind === "planned") return plannedCell(cell, plan, environment);
    if (cell.prunedBecause !== null) {
      return unmeasured(cell, plan, environment, "not-run", PRUNED + cell.prunedBecause);
    }
    const twin = this.#twinOf(cell);
    if (twin) return reusedCell(cell, twin);
    const smaller = smallerOutOfMemory(
      cell.config,
      this.#records.values().filter((record) => this.#isDone(record)),
    );
    if (smaller) {
      const reason =
        `the smaller micro-batch ${smaller.config.microBatchSize} of the same configuration ran out of ` +
        `memory in cell ${smaller.id}`;
      return unmeasured(cell, plan, environment, "not-run", reason);
    }
    if (budget === null || plan.plannedPeakBytes <= budget) return null;
    return unmeasured(cell, plan, environment, "oom", overBudgetReason(plan, budget));
  }

  /** The record of an earlier phase's cell with the same configuration, where the phase takes those. */
  #twinOf(cell: Cell): CellRecord | null {
    if (!this.#options.tiered.phases.find(({ name }) => name === cell.phase)?.reuse || this.#saves(cell)) {
      return null;
    }
    const twin = this.#known.cells.find((earlier) =>
      earlier.role !== "search" && reuseKey(earlier) === reuseKey(cell)
    );
    const record = twin && this.#records.get(twin.id);
    if (!record || ["not-run", "error", "killed"].includes(record.status)) return null;
    return record.sameRunAs === null ? record : this.#records.get(record.sameRunAs) ?? null;
  }

  #decide(phase: TieredPhase, cells: readonly Cell[]): void {
    if (phase.kind !== "batch-sweep" && phase.kind !== "rate-sweep") return;
    const records = cells.map(({ id }) => this.#records.get(id)).filter((record) => record !== undefined);
    const complete = records.length === cells.length && records.length > 0;
    const standing = records.filter((record) => stands(record, this.#records));
    if (phase.kind === "batch-sweep") {
      const decision = complete && standing.length === records.length
        ? decideBatchSize(phase.name, records, phase.smallestChoice)
        : null;
      this.#known = { ...this.#known, batchSize: decision === null ? null : decision.value as number };
      if (decision !== null) this.#announceDecision(decision);
      return;
    }
    if (!complete) return;
    const waiting = new Set(
      records.filter((record) => !standing.includes(record)).map(({ config }) => config.optimizer),
    );
    const decided = decideLearningRates(standing.filter(({ config }) => !waiting.has(config.optimizer)));
    this.#known = {
      ...this.#known,
      rates: new Map([
        ...this.#known.rates,
        ...decided.map(({ optimizer, tuned }) => [optimizer, tuned] as const),
      ]),
    };
    for (const { decision } of decided) this.#announceDecision(decision);
    const rate = decided.find(({ optimizer }) => optimizer === "adamw")?.tuned.rate;
    const margin = rate === undefined ? null : decideLossMargin(standing, rate);
    if (margin !== null) this.#announceDecision(margin);
  }

  #announceDecision(decision: Decision): void {
    this.#run.decisions.push(decision);
    this.#options.listener.onDecision(decision);
  }

  async #blocked(phase: TieredPhase, missing: string): Promise<RunOutcome> {
    const { tiered } = this.#options;
    const sweeps = tiered.phases.filter(({ kind }) => kind === "batch-sweep" || kind === "rate-sweep")
      .map(({ name }) => name);
    const cells = this.#known.cells.filter((cell) => sweeps.includes(cell.phase)).map(({ id }) => id);
    const why = this.#whyMissing(cells) ??
      (missing.includes("rate") ? "no rate ran to its end" : "no batch size ran to its end");
    this.#options.listener.onNote(`Phase ${phase.name} needs ${missing}: ${why}`);
    await this.#write();
    return this.#outcome("blocked");
  }

  /** Why cells that something rests on have no records; null where none of this run's doing. */
  #whyMissing(cells: readonly string[]): string | null {
    const { shard, filter } = this.#options;
    const cut = this.#cut(cells);
    return cut.length > 0
      ? `${killedText(cut)}: run again with --resume`
      : shard
      ? `cells of other shards are missing: ${OTHER_SHARDS}`
      : filter
      ? "the filter leaves out cells that it rests on"
      : null;
  }

  #outcome(ended: RunOutcome["ended"]): RunOutcome {
    const records = this.#run.cells.map(({ id }) => this.#records.get(id)).filter((record) =>
      record !== undefined
    );
    return { run: this.#run, records, ended };
  }

  #position(): { done: number; total: number } {
    const { cells } = this.#forecast();
    return { done: cells.filter(({ cell }) => this.#isDone(cell)).length, total: cells.length };
  }

  async #remainingMs(current: Cell): Promise<{ remainingMs: number; cellMs: number }> {
    const calibration = calibrate([...this.#records.values()], this.#options.choice.tier, this.#run.roofline);
    let [remainingMs, cellMs] = [0, 0];
    for (const { cell, runs } of this.#forecast().cells) {
      if (!runs || this.#isDone(cell)) continue;
      const plan = await this.#plans.get(cell);
      if (plan instanceof Error) continue;
      const ms = estimateMs(
        { steps: cell.config.steps, modelFlopsPerStep: plan.modelFlopsPerStep },
        calibration,
      ) * shareOfTime(this.#lanesOf(cell.phase));
      remainingMs += ms;
      if (cell.id === current.id) cellMs = ms;
    }
    return { remainingMs, cellMs };
  }
}

/** What brings shards together. */
const OTHER_SHARDS = "once they have ended, run again with --resume; " +
  "if they ran in folders of their own, put these together first: deno task merge RUN... --out DIR";

/** `1 cell was killed` */
function killedText({ length }: readonly string[]): string {
  return length === 1 ? "1 cell was killed" : `${length} cells were killed`;
}
