import { join, relative } from "node:path";
import { InputError } from "../../../engine/input_error.ts";
import { NUMERICS } from "../../../mod.ts";
import { mixtureOf } from "../../../results/environment.ts";
import { readCells, readRun } from "../../../results/files.ts";
import type { CellRecord, RunRecord, Status } from "../../../results/record.ts";
import { hubAccess } from "../hub_model.ts";
import { pinModels, type PinnedSuite, withModels } from "../../hub_models.ts";
import { firstRounds, look } from "../../adaptive_rounds.ts";
import { cgroupLimitBytes } from "../../cgroup.ts";
import { type Command, EXIT, type Services } from "../command.ts";
import { didYouMean } from "../../did_you_mean.ts";
import type { AdapterDescription } from "../../engine.ts";
import { environmentOf, PROJECT } from "../../environment.ts";
import { calibrate, durationText, estimateBasis, estimateMs } from "../../estimate.ts";
import type { Arguments } from "../flags.ts";
import { applyGpuFlags, GPU_FLAGS } from "../gpu_flags.ts";
import { findFinalists, judgedCells, searchCells, searchMemory, timedBefore } from "../../equal_memory.ts";
import { forecastCells, rootOf, wantedCells } from "../../forecast.ts";
import type { TunedRate } from "../../learning_rates.ts";
import { cellsBeyond } from "../../longer_rate_grid.ts";
import {
  type Cell,
  type Filter,
  inShard,
  type Known,
  missingDecision,
  NOTHING_KNOWN,
  parseFilter,
  parseShard,
  type SearchedCells,
} from "../../matrix.ts";
import { type Baseline, measureBaseline, overBudgetReason, providerFlags } from "../../measure_cell.ts";
import { deviceMemoryBytes, memorySource } from "../../observed_memory.ts";
import { lanesOf, shareOfTime } from "../../side_by_side.ts";
import { Progress } from "../progress.ts";
import { checkResume } from "../../resume.ts";
import { archiveRun } from "../../run_archive.ts";
import { PlanCache } from "../../plan_cache.ts";
import { type RunOptions, type RunOutcome, runSuite } from "../../runner.ts";
import { RETRIED, stands } from "../../standing.ts";
import { bytesText } from "../../../results/bytes.ts";
import { type Tier, TIERS } from "../../schema.ts";
import { type SuiteFile, type TieredSuite, tieredSuite } from "../../suite.ts";
import { loadSuite } from "../../suite_checks.ts";
import { effectiveBatchSize } from "../../../results/tokens_per_step.ts";
import { RunLock } from "../../run_lock.ts";
import { chooseTier, softwareTier, type TierChoice } from "../../tiers.ts";

/** `deno task bench`: runs a suite and reports on it. */
export const bench: Command = {
  spec: {
    name: "bench",
    what:
      "Runs a suite: every cell in a process of its own, every record written as soon as it is known, then the report.",
    positionals: { name: "[SUITE]", what: "a suite file (default: the paper's protocol)", least: 0, most: 1 },
    flags: {
      "out": { value: "DIR", what: "run folder", default: "a new one in bench/" },
      "quick": { what: "a smaller but complete run; what some tiers do unless asked for the whole" },
      "full": { what: "the whole run, also on a tier that is quick by default" },
      "resume": {
        what:
          "go on with a run that was stopped, and with killed cells; without --out, the latest of the suite",
      },
      "retry": {
        value: "STATUS,…",
        what: "resume, and run cells again that ended so: timeout, device-lost, error, …",
      },
      "allow-mixed": {
        what: "resume even where adapter, driver, numerics or code differ from the run's; the report says so",
      },
      "archive": {
        value: "FILE",
        what:
          "write the run folder as one tar file after each phase, to be taken away and gone on with elsewhere",
      },
      "keep-models": { what: "leave the weights that cells start from in models/ of the run folder" },
      "shard": { value: "I/N", what: "run only part I of N, by cell id" },
      "until-decision": {
        what:
          "with --shard: end well where what comes next waits for a decision that rests on other shards' cells",
      },
      "filter": {
        value: "EXPR",
        what: "run only some cells: field=value, field!=value, field~text; commas mean and",
      },
      "dry-run": { what: "list cells, planned memory and estimated time; run nothing" },
      "tier": { value: "NAME", what: TIERS.join(", "), default: "what fits the adapter" },
      "profile": { what: "time every kernel over one more step of each cell" },
      ...GPU_FLAGS,
    },
    examples: [
      "deno task bench --quick",
      "deno task bench suites/paper.yaml --out bench/mine",
      "deno task bench suites/paper.yaml --out bench/mine --resume",
      "deno task bench suites/paper.yaml --out bench/mine --retry timeout,error",
      "deno task bench suites/finetune.yaml --full --keep-models",
      "deno task bench --filter 'effectiveBatchSize=4,seed=1' --dry-run",
    ],
  },
  run: runBench,
};

const NO_RETRIES: ReadonlySet<Status> = new Set();

/** `timeout,error` → those statuses. @throws {InputError} */
function parseRetry(text: string): ReadonlySet<Status> {
  const names = text.split(",").map((name) => name.trim());
  const unknown = names.find((name) => !RETRIED.some((status) => status === name));
  if (unknown === undefined) return new Set(names as Status[]);
  throw new InputError(
    `Cannot use --retry ${text}: expected statuses of ${RETRIED.join(", ")}${didYouMean(unknown, RETRIED)}`,
  );
}

const DEFAULT_SUITE = join(PROJECT, "suites", "paper.yaml");

async function runBench(args: Arguments, services: Services): Promise<number> {
  const { values, switches } = args;
  applyGpuFlags(args);
  const shard = values.shard === undefined ? null : parseShard(values.shard);
  const filter = values.filter === undefined ? null : parseFilter(values.filter);
  const archive = values.archive ?? null;
  const asTier = values.tier === undefined ? null : requireTier(values.tier);
  const suite = await loadSuite(args.positionals[0] ?? displayPath(DEFAULT_SUITE), services.engine);
  if (asTier !== null) requireTierOf(suite, asTier);
  const asked = askedSize(switches);
  const dryRun = switches.has("dry-run");
  const retry = values.retry === undefined ? NO_RETRIES : parseRetry(values.retry);
  const resume = switches.has("resume") || values.retry !== undefined;
  // Looked at first: opening the adapter takes longer than finding out that there is nothing to resume.
  const resumed = resume ? values.out ?? await latestFolder(suite, asked) : null;
  const early = resumed ?? values.out ?? null;
  await using lock = new RunLock(shard);
  // Before anything is looked at: what another runner is about to write is not there yet.
  const sharesFolder = early !== null && !dryRun && await claim(early, lock);
  // A scheduler starts shards when it likes: one that comes when others have ended joins them all the same.
  const joins = sharesFolder || shard !== null;
  const previous = early === null ? null : await previousRun(early, resume || joins, dryRun);
  if (previous) requireSameRun(early!, previous, suite, asked);
  const sameTier = asTier === null || asTier === previous?.tier;
  const finished = previous && sameTier && !dryRun
    ? await wholeRun(early!, previous, { suite, retry, engine: services.engine })
    : null;
  // Nothing is left to run: no adapter is asked for.
  if (finished) {
    return await conclude(finished, { out: early!, suite, args, quick: finished.run.quick }, services);
  }
  const interruption = onInterrupt();
  try {
    const probe = await probeMachine(services, interruption.signal, {
      dryRun,
      roofline: !dryRun && !previous?.roofline,
    });
    if (interruption.signal.aborted) return EXIT.interrupted;
    const choice = await pickTier(asTier ?? unpickable(previous), probe);
    const size = sizeOf(asked, previous, suite, choice.tier);
    const { quick } = size;
    const { tiered, models: hubModels } = await withPinnedModels(tieredSuite(suite, choice.tier, quick), {
      previous,
      filter,
      services,
      dryRun,
    });
    const planned = tiered.phases.every(({ kind }) => kind === "plan");
    if (probe.adapter === null && !planned && !dryRun) throw new InputError(probe.failure);
    const out = early ?? newFolder(suite, quick);
    if (!dryRun) await claim(out, lock);
    if (previous && previous.tier !== choice.tier) {
      throw new InputError(
        `Cannot resume ${out}: it holds a run of tier ${previous.tier}, this is ${choice.tier}`,
      );
    }
    if (tiered.memoryBudgetBytes !== null) choice.memoryBudgetBytes = tiered.memoryBudgetBytes;
    const options = {
      suite,
      tiered,
      hubModels,
      choice,
      quick,
      out,
      shard,
      filter,
      retry,
      previous,
      engine: services.engine,
    };
    if (size.note !== null) services.note(size.note);
    if (dryRun) return await listCells(options, services);
    const adapter = probe.adapter ?? NO_ADAPTER;
    const environment = await environmentOf(adapter, await services.workTree?.(out));
    if (previous) {
      const now = { numerics: NUMERICS, environment };
      const note = checkResume(out, previous, now, switches.has("allow-mixed"));
      if (note !== null) services.note(note);
    }
    const progress = new Progress(services.progress);
    const outcome = await runSuite({
      ...options,
      lock,
      command: ["deno task bench", ...commandWords(args)].join(" "),
      cellCommand: [
        "deno task bench",
        displayPath(suite.path),
        quick ? "--quick" : "--full",
        "--tier",
        choice.tier,
        ...providerFlags(environment),
      ]
        .join(" "),
      keepModels: switches.has("keep-models"),
      environment,
      memory: await memorySource(adapter),
      baselineBytes: probe.adapter === null ? null : probe.peakResidentBytes,
      roofline: probe.adapter === null ? null : probe.roofline,
      measureScript: services.measureScript,
      profile: switches.has("profile"),
      signal: AbortSignal.any([interruption.signal, lock.signal]),
      listener: archive === null
        ? progress
        : Object.assign(progress, { afterPhase: () => archiveRun(out, archive) }),
    }).finally(() => progress.stop());
    await lock.requireHeld();
    const code = await conclude(outcome, { out, suite, args, quick }, services);
    if (archive !== null) await archiveRun(out, archive);
    return code;
  } finally {
    interruption.end();
  }
}

/** Stands in for the adapter where a suite only plans and there is none. */
const NO_ADAPTER = {
  name: "none: planned only",
  provider: "wgpu",
  providerVersion: "",
  vendor: "",
  architecture: "",
  driver: null,
  software: false,
  features: [],
  limits: {},
  subgroupSize: 0,
  threads: null,
  vectorWidth: null,
} as AdapterDescription;

/** What was asked for; null leaves it to the run that is resumed, then to the tier. @throws {InputError} */
function askedSize(switches: ReadonlySet<string>): "quick" | "full" | null {
  if (switches.has("quick") && switches.has("full")) {
    throw new InputError("Cannot use both --quick and --full: expected one of them");
  }
  return switches.has("quick") ? "quick" : switches.has("full") ? "full" : null;
}

/** Whether the run is a quick one, and what to say where nobody asked for it. */
function sizeOf(
  asked: "quick" | "full" | null,
  previous: RunRecord | null,
  suite: SuiteFile,
  tier: Tier,
): { quick: boolean; note: string | null } {
  if (asked !== null) return { quick: asked === "quick", note: null };
  if (previous) return { quick: previous.quick, note: null };
  if (!tieredSuite(suite, tier, true).quickByDefault) return { quick: false, note: null };
  const note =
    `Quick protocol, as the tier ${tier} runs ${suite.name} unless asked for more: fewer seeds, tokens and ` +
    "repeats; --full runs the whole";
  return { quick: true, note };
}

/** Aborts at the first ctrl-C; a second one ends the program at once. */
function onInterrupt(): { signal: AbortSignal; end(): void } {
  const controller = new AbortController();
  const onSignal = () => {
    if (controller.signal.aborted) Deno.exit(EXIT.interrupted);
    controller.abort();
  };
  const signals: Deno.Signal[] = Deno.build.os === "windows" ? ["SIGINT"] : ["SIGINT", "SIGTERM"];
  for (const signal of signals) Deno.addSignalListener(signal, onSignal);
  return {
    signal: controller.signal,
    end: () => signals.forEach((signal) => Deno.removeSignalListener(signal, onSignal)),
  };
}

type Probe =
  | Baseline & { deviceMemoryBytes: number | null }
  | { adapter: null; failure: string };

/** Asks for the adapter in a process of its own: the runner itself never holds a device. */
async function probeMachine(
  { measureScript, note }: Services,
  signal: AbortSignal,
  { dryRun, roofline }: { dryRun: boolean; roofline: boolean },
): Promise<Probe> {
  const baseline = await measureBaseline(measureScript, { signal, roofline });
  if ("failure" in baseline) {
    if (dryRun) note(baseline.failure);
    return { adapter: null, failure: baseline.failure };
  }
  return { ...baseline, deviceMemoryBytes: await deviceMemoryBytes(baseline.adapter) };
}

/** The suite with models of the hub by their commits, and without what needs one that cannot be had. */
async function withPinnedModels(
  tiered: TieredSuite,
  { previous, filter, services, dryRun }: {
    previous: RunRecord | null;
    filter: Filter | null;
    services: Services;
    dryRun: boolean;
  },
): Promise<PinnedSuite> {
  const wanted = new Set(wantedCells(forecastCells(tiered), filter).map(({ cell }) => cell.phase));
  const pinned = await pinModels(tiered, {
    hub: hubAccess(services, dryRun ? "config" : "model"),
    previous: previous?.hubModels ?? [],
    isWanted: (phase) => wanted.has(phase),
  });
  const left = new Set(pinned.tiered.phases.map(({ name }) => name));
  const out = tiered.phases.filter(({ name }) => !left.has(name)).map(({ name }) => name);
  for (const { name, model, because } of pinned.models) {
    services.note(model === null ? `Without ${name}: ${because}` : `model ${model}`);
  }
  if (out.length > 0) {
    services.note(`Left out, as they need it: phase${out.length > 1 ? "s" : ""} ${out.join(", ")}`);
  }
  return pinned;
}

async function pickTier(forced: Tier | null, probe: Probe): Promise<TierChoice> {
  const memory = {
    memoryBytes: Deno.systemMemoryInfo().total,
    cgroupLimitBytes: await cgroupLimitBytes(),
  };
  const choice = probe.adapter === null ? softwareTier(memory, "no adapter was found") : chooseTier({
    adapterName: probe.adapter.name,
    software: probe.adapter.software,
    deviceMemoryBytes: probe.deviceMemoryBytes,
    maxBufferSize: probe.adapter.limits.maxBufferSize ?? 0,
    ...memory,
  });
  return forced === null ? choice : { ...choice, tier: forced, reason: "asked for by --tier" };
}

function requireTier(name: string): Tier {
  const tier = TIERS.find((tier) => tier === name);
  if (tier) return tier;
  throw new InputError(`Unknown tier ${name}: expected ${TIERS.join(", ")}${didYouMean(name, TIERS)}`);
}

/** Asked for, the tier must be one that the suite is written for. @throws {InputError} */
function requireTierOf({ suite: { tiers }, path }: SuiteFile, tier: Tier): void {
  if (!tiers || tiers[tier]) return;
  throw new InputError(
    `Cannot run ${path} with --tier ${tier}: expected one of its tiers, ${Object.keys(tiers).join(", ")}`,
  );
}

/** The tier of a run where no machine is picked for it: what goes on with the run has it too. */
function unpickable(run: RunRecord | null): Tier | null {
  return run?.tier === "gpu-short" ? run.tier : null;
}

async function previousRun(out: string, resume: boolean, dryRun: boolean): Promise<RunRecord | null> {
  let run: RunRecord | null;
  try {
    run = await readRun(out);
  } catch (error) {
    if (error instanceof Deno.errors.NotADirectory) {
      throw new InputError(`Cannot write to ${out} (--out): it is not a folder`);
    }
    throw error;
  }
  if (run && !resume && !dryRun) {
    throw new InputError(
      `${out} already holds a run: add --resume to go on with it, or choose another --out`,
    );
  }
  return resume ? run : null;
}

/**
 * A run with a record that stands for every cell of its suite, as it is; null where something is left to do:
 * a run that a filter cut is finished, and not whole.
 */
async function wholeRun(
  out: string,
  run: RunRecord,
  { suite, retry, engine }: { suite: SuiteFile; retry: ReadonlySet<Status>; engine: Services["engine"] },
): Promise<RunOutcome | null> {
  if (run.finishedAt === null) return null;
  const { cells } = await readCells(out);
  const records = run.cells.map(({ id }) => cells.get(id)).filter((record) => record !== undefined);
  if (records.length < run.cells.length || !records.every((one) => stands(one, cells, retry))) return null;
  const tier = requireTier(run.tier);
  const tiered = withModels(tieredSuite(suite, tier, run.quick), run.hubModels ?? []);
  const choice = { tier, reason: run.tierReason, memoryBudgetBytes: tiered.memoryBudgetBytes };
  const known = await knownFrom(run, cells, { tiered, choice, engine });
  const isThere = forecastCells(tiered, known).every(({ cell, guessed }) => !guessed && cells.has(cell.id));
  return isThere ? { run, records, ended: "complete" } : null;
}

/** What the records of a run decide, as far as they do. */
async function knownFrom(
  run: RunRecord,
  records: ReadonlyMap<string, CellRecord>,
  { tiered, choice, engine }: Pick<RunOptions, "tiered" | "choice" | "engine">,
): Promise<Known> {
  const plans = new PlanCache(engine, choice.tier === "software" ? "software" : "gpu");
  const recordOf = (id: string) => {
    const record = records.get(id);
    return record && stands(record, records) ? record : null;
  };
  const decided = decidedBefore(run, records);
  return addedBefore(
    await searchedBefore(decided, { tiered, choice, engine, plans, recordOf }),
    tiered,
    recordOf,
  );
}

function requireSameRun(
  out: string,
  run: RunRecord,
  suite: SuiteFile,
  asked: "quick" | "full" | null,
): void {
  if (run.suiteHash !== suite.hash) {
    throw new InputError(
      `Cannot resume ${out}: it holds a run of ${run.suite} with hash ${
        run.suiteHash.slice(0, 12)
      }, but ${suite.path} ` +
        `has ${suite.hash.slice(0, 12)}; choose another --out, or restore the suite`,
    );
  }
  if (asked !== null && run.quick !== (asked === "quick")) {
    throw new InputError(
      `Cannot resume ${out}: it holds a ${run.quick ? "quick" : "full"} run, this is one with --${asked}`,
    );
  }
}

/**
 * Makes a folder this run's.
 *
 * @returns Whether it is there already as that of other shards, which are at work.
 * @throws {InputError} where it cannot be written to, or another runner has it.
 */
async function claim(folder: string, lock: RunLock): Promise<boolean> {
  try {
    await Deno.mkdir(join(folder, "cells"), { recursive: true });
    await Deno.remove(await Deno.makeTempFile({ dir: folder, prefix: ".writable-" }));
  } catch (error) {
    const why = error instanceof Deno.errors.NotADirectory ? "it is not a folder" : (error as Error).message;
    throw new InputError(`Cannot write to ${folder} (--out): ${why}`);
  }
  return await lock.take(folder);
}

/** A new folder in `bench/`. */
function newFolder(suite: SuiteFile, quick: boolean): string {
  const stamp = new Date().toISOString().slice(0, 19).replaceAll(":", "").replace("T", "-");
  return join("bench", `${suite.name}${quick ? "-quick" : ""}-${stamp}`);
}

/** The latest run of the same suite in `bench/`. @throws {InputError} where there is none. */
async function latestFolder(suite: SuiteFile, asked: "quick" | "full" | null): Promise<string> {
  const found: { folder: string; startedAt: string }[] = [];
  try {
    for await (const { name } of Deno.readDir("bench")) {
      const folder = join("bench", name);
      const run = await readRun(folder).catch(() => null);
      if (run?.suiteHash === suite.hash && (asked === null || run.quick === (asked === "quick"))) {
        found.push({ folder, startedAt: run.startedAt });
      }
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  const latest = found.sort((a, b) => a.startedAt < b.startedAt ? 1 : -1)[0];
  if (latest) return latest.folder;
  throw new InputError(
    `Nothing to resume: bench/ holds no ${
      asked === null ? "" : `${asked} `
    }run of ${suite.name} with this suite; ` +
      "name it with --out",
  );
}

async function listCells(
  options: Pick<
    RunOptions,
    "tiered" | "choice" | "shard" | "filter" | "retry" | "out" | "engine" | "previous"
  >,
  { print, note }: Services,
): Promise<number> {
  const { tiered, choice, shard, filter, retry, out, engine, previous } = options;
  const records = previous ? (await readCells(out)).cells : new Map<string, CellRecord>();
  const plans = new PlanCache(engine, choice.tier === "software" ? "software" : "gpu");
  const decided = previous ? await knownFrom(previous, records, options) : undefined;
  const all = forecastCells(tiered, decided);
  const wanted = wantedCells(all, filter).filter(({ cell }) =>
    shard === null || inShard(rootOf(cell, all), shard)
  );
  const calibration = calibrate([...records.values()], choice.tier);
  const phases = new Map(tiered.phases.map((phase) => [phase.name, phase]));
  const cores = { software: choice.tier === "software", cpuCount: navigator.hardwareConcurrency };
  const byPhase = new Map<string, { cells: number; ms: number }>();
  // Adaptive phases that have not looked yet: what they can add at most is listed too.
  const open = new Set(
    tiered.phases.filter(({ name, rounds }) => rounds === "adaptive" && !decided?.added.has(name))
      .map(({ name }) => name),
  );
  const upTo = (isOpen: boolean) => isOpen ? "up to " : "";
  let [totalMs, left] = [0, 0];
  for (const { cell, guessed, runs } of wanted) {
    const plan = await plans.get(cell);
    if (plan instanceof Error) throw plan;
    const done = stands(records.get(cell.id), records, retry);
    const over = runs && choice.memoryBudgetBytes !== null &&
      plan.plannedPeakBytes > choice.memoryBudgetBytes;
    const work = { steps: cell.config.steps, modelFlopsPerStep: plan.modelFlopsPerStep };
    const lanes = lanesOf(phases.get(cell.phase)!, cores);
    const ms = done || over || !runs ? 0 : estimateMs(work, calibration) * shareOfTime(lanes);
    totalMs += ms;
    if (!done && runs) left++;
    const part = byPhase.get(cell.phase) ?? { cells: 0, ms: 0 };
    byPhase.set(cell.phase, { cells: part.cells + (done || !runs ? 0 : 1), ms: part.ms + ms });
    const state = done
      ? records.get(cell.id)!.status
      : !runs
      ? idleReason(cell)
      : over
      ? overBudgetReason(plan, choice.memoryBudgetBytes!)
      : durationText(ms);
    const name = `${cell.phase}: ${cell.label}, seed ${cell.config.seed}${
      cell.repeat > 0 ? `, repeat ${cell.repeat}` : ""
    }`;
    print(
      `${cell.id}  ${name}  ${bytesText(plan.plannedPeakBytes)}  ${state}${
        guessed ? "  (not decided yet)" : ""
      }`,
    );
  }
  for (const [name, { cells, ms }] of byPhase) {
    const atOnce = lanesOf(phases.get(name)!, cores) > 1 ? ", one a core at once" : "";
    if (cells === 0) continue;
    print(`phase ${name}: ${upTo(open.has(name))}${cells} to run, about ${durationText(ms)}${atOnce}`);
  }
  const isOpen = [...byPhase].some(([name, { cells }]) => cells > 0 && open.has(name));
  print(
    `${wanted.length} cells, ${upTo(isOpen)}${left} to run, about ${durationText(totalMs)} ` +
      `(${estimateBasis(calibration)}); tier ${choice.tier}: ${choice.reason}`,
  );
  if (wanted.length === 0) note("No cell matches --filter and --shard");
  return EXIT.done;
}

/** Why a cell takes no time. */
function idleReason({ kind, prunedBecause }: Cell): string {
  if (kind === "planned") return "planned only";
  return prunedBecause === null ? "same run as an earlier cell" : `pruned: ${prunedBecause}`;
}

/** What a run that is resumed has decided. */
function decidedBefore(run: RunRecord, records: ReadonlyMap<string, CellRecord>): Known {
  const rates = new Map<string, TunedRate>();
  let batchSize: number | null = null;
  for (const { name, value, inputs } of run.decisions) {
    if (typeof value !== "number") continue;
    const [, optimizer] = name.match(/^learningRate\/(.+)$/) ?? [];
    const config = records.get(inputs[0])?.config;
    if (name === "effectiveBatchSize") batchSize = value;
    else if (optimizer && config) {
      rates.set(optimizer, { rate: value, effectiveBatchSize: effectiveBatchSize(config) });
    }
  }
  return { ...NOTHING_KNOWN, batchSize, rates };
}

/** Asks the planner for the cells of equal-memory phases, where what they rest on is there. */
async function searchedBefore(
  known: Known,
  { tiered, choice, engine, plans, recordOf }:
    & Pick<RunOptions, "tiered" | "choice" | "engine">
    & { plans: PlanCache; recordOf(id: string): CellRecord | null },
): Promise<Known> {
  const plan = (config: Cell["config"]) => plans.get({ config, kind: "trained" });
  for (const phase of tiered.phases) {
    if (phase.kind !== "equal-memory" || missingDecision(phase, known) !== null) continue;
    const timed = timedBefore(phase, tiered, forecastCells(tiered, known).map(({ cell }) => cell))
      .map(({ id }) => recordOf(id));
    if (timed.includes(null)) continue;
    const found = await searchMemory(phase, {
      known,
      engine,
      plan,
      deviceBytes: choice.memoryBudgetBytes,
      timed: timed.filter((record) => record !== null),
    });
    const made = await findFinalists(phase, found, { known, recordOf, plan });
    const cells: SearchedCells = {
      search: searchCells(phase, found, known),
      judged: made && judgedCells(phase, found, made.finalists, known),
    };
    known = { ...known, searched: new Map([...known.searched, [phase.name, cells]]) };
  }
  return known;
}

/** What adaptive phases and rate sweeps have added, where the cells of their first rounds are there. */
function addedBefore(
  known: Known,
  tiered: TieredSuite,
  recordOf: (id: string) => CellRecord | null,
): Known {
  const forecast = forecastCells(tiered, known);
  const added = tiered.phases.flatMap((phase) => {
    const own = forecast.filter(({ cell }) => cell.phase === phase.name);
    if (phase.kind === "rate-sweep") {
      return [[phase.name, cellsBeyond(phase, own.map(({ cell }) => cell), recordOf)] as const];
    }
    if (phase.rounds !== "adaptive") return [];
    const first = firstRounds(phase, own.map(({ cell }) => cell));
    if (own.some(({ cell, guessed }) => guessed && first.includes(cell))) return [];
    const found = look(phase, first, recordOf);
    return found ? [[phase.name, found.added] as const] : [];
  });
  return { ...known, added: new Map(added) };
}

/** Says what there is and how to go on, and writes the report. */
async function conclude(
  { run, records, ended }: RunOutcome,
  { out, suite, args, quick }: { out: string; suite: SuiteFile; args: Arguments; quick: boolean },
  { writeReport, answer, print, note }: Services,
): Promise<number> {
  const counts = new Map<string, number>();
  for (const { status } of records) counts.set(status, (counts.get(status) ?? 0) + 1);
  const list = [...counts].map(([status, count]) => `${count} ${status}`).join(", ") || "none finished";
  note(`${run.cells.length} cells: ${list}`);
  const mixture = mixtureOf(records);
  if (mixture !== null) note(mixture);
  for (const record of records.filter(({ status }) => status === "error")) {
    note(`error in cell ${record.id} (${record.label}, seed ${record.config.seed}): ${record.reason}`);
  }
  if (ended !== "complete") {
    const { retry: _, ...values } = args.values;
    const positionals = args.positionals.length > 0 ? args.positionals : [displayPath(suite.path)];
    const switches = new Set(args.switches).add("resume");
    const words = commandWords({ positionals, values: { ...values, out }, switches });
    note(`To go on: deno task bench ${words.join(" ")}`);
  } else if (quick && !args.switches.has("quick")) {
    note(`This was the quick protocol; the whole one: deno task bench ${displayPath(suite.path)} --full`);
  }
  if (records.length > 0) {
    await writeReport([out], join(out, "report"));
    if (answer) note(`\n${await answer.text([out])}\n`);
    print(join(out, "report", "index.html"));
  }
  if (ended === "interrupted") return EXIT.interrupted;
  const waits = ended === "blocked" && args.values.shard !== undefined &&
    args.switches.has("until-decision") && !counts.has("killed");
  const failed = ended !== "complete" && !waits || counts.has("error");
  return failed ? EXIT.failed : EXIT.done;
}

/** The arguments as they were given, but for their order. */
function commandWords({ positionals, values, switches }: Arguments): string[] {
  const flags = Object.entries(values).flatMap((
    [name, value],
  ) => [`--${name}`, /^[\w./=-]+$/.test(value) ? value : `'${value}'`]);
  return [...positionals, ...flags, ...[...switches].map((name) => `--${name}`)];
}

/** Relative to the working folder where it lies in it: records should not name folders of a machine. */
function displayPath(path: string): string {
  const short = relative(Deno.cwd(), path);
  return short.startsWith("..") ? path : short;
}
