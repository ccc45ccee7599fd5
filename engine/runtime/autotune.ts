import type { Command, Dispatch, KernelChoice } from "../graph/launch.ts";
import { paramsSize } from "../plan/lower.ts";
import type { Plan } from "../plan/plan.ts";
import { ChoiceCache, hashOf, type KeptChoice } from "./autotune_cache.ts";
import type { AutotuneMode } from "./autotune_mode.ts";
import type { Gpu } from "./gpu.ts";
import { timeKernels } from "./kernel_timer.ts";
import type { PipelineCache } from "./pipelines.ts";

/** Kernels that were chosen by the clock, by the key of what they were chosen for. */
export type KernelChoices = Readonly<Record<string, string>>;

/** What a process may spend on timing, ms. The first kernel of all is timed whatever it takes. */
export const AUTOTUNE_BUDGET_MS = 2000;

/** A kernel must be this much faster than that of the rules to be chosen: below it, noise would choose. */
const LEAST_GAIN = 1.03;

/** A plan with the kernels that were chosen. */
export interface Tuned {
  plan: Plan;
  choices: KernelChoices;
  notes: string[];
}

/** Launches of a plan that share a choice; the largest stands for all. */
interface Candidates {
  choice: KernelChoice;
  dispatch: Dispatch;
  flops: number;
}

/** Chooses the kernels of plans by the clock, on one device; keeps what it chose for later processes. */
export class Autotuner {
  /** One a device, so that its sessions share what was chosen and the time for it. */
  static readonly #ofDevices = new WeakMap<GPUDevice, Autotuner>();
  readonly #mode: AutotuneMode;
  readonly #cache: ChoiceCache;
  readonly #chosen = new Map<string, KeptChoice>();
  #spentMs = 0;
  readonly #budgetMs: number;
  #read = false;

  constructor(
    mode: AutotuneMode,
    cache: ChoiceCache,
    { budgetMs = AUTOTUNE_BUDGET_MS }: { budgetMs?: number } = {},
  ) {
    this.#mode = mode;
    this.#cache = cache;
    this.#budgetMs = budgetMs;
  }

  /** The tuner of a device, in the mode it was opened with; choices are kept in the cache folder. */
  static of({ device, autotune, adapter }: Gpu): Autotuner {
    let tuner = this.#ofDevices.get(device);
    if (!tuner) this.#ofDevices.set(device, tuner = new Autotuner(autotune, new ChoiceCache(adapter)));
    return tuner;
  }

  /**
   * The plan with the chosen kernels: buffers, programs, launches and their number stay what they are.
   *
   * Where the time runs out, what is left is chosen by the rules, for this process alone: only what was timed
   * is kept.
   *
   * @returns Also the choices for all launches that had one; none where nothing is tuned. And in words what
   * was left out of them because the driver's compiler refuses it.
   */
  async tune(
    gpu: Gpu,
    plan: Plan,
    pipelines: PipelineCache,
    onProgress?: (done: number, of: number) => void,
  ): Promise<Tuned> {
    const untuned = { plan, choices: {}, notes: [] };
    if (this.#mode === "off" || (this.#mode === "on" && gpu.kernels.kind === "software")) return untuned;
    const groups = [...candidatesOf(plan)].sort(([, a], [, b]) => b.flops - a.flops);
    if (groups.length === 0) return untuned;
    if (!this.#read && this.#mode === "on") {
      for (const [key, kept] of await this.#cache.read()) this.#chosen.set(key, kept);
    }
    this.#read = true;
    const added = new Map<string, KeptChoice>();
    const notes: string[] = [];
    for (const [i, [key, { choice, dispatch }]] of groups.entries()) {
      const launches = choice.names.map((name) =>
        [name, name === choice.chosen ? dispatch : choice.use(name)] as const
      );
      const code = hashOf(launches.map(([name, { kernel }]) => `${name}\n${kernel.code}`).join("\n"));
      const kept = this.#chosen.get(key);
      if (kept?.code === code && choice.names.includes(kept.kernel)) continue;
      onProgress?.(i, groups.length);
      const { kernel, timed, refused } = await this.#fastest(gpu, launches, choice.chosen, pipelines);
      for (const [name, message] of refused) notes.push(`${name} is left out of ${key}: ${message}`);
      this.#chosen.set(key, { kernel, code });
      if (timed) added.set(key, { kernel, code });
    }
    await this.#cache.add(added);
    const choices = Object.fromEntries(groups.map(([key]) => [key, this.#chosen.get(key)!.kernel]).sort());
    return { plan: withChoices(plan, choices), choices, notes };
  }

  /**
   * @returns Whether all that the compiler takes were timed: otherwise the choice is one for want of time, or
   * of memory.
   */
  async #fastest(
    gpu: Gpu,
    launches: readonly (readonly [string, Dispatch])[],
    byRule: string,
    pipelines: PipelineCache,
  ): Promise<{ kernel: string; timed: boolean; refused: ReadonlyMap<string, string> }> {
    const mayGoOn = () => this.#spentMs + performance.now() - started < this.#budgetMs;
    const started = performance.now();
    if (!mayGoOn()) return { kernel: byRule, timed: false, refused: new Map() };
    const { ms, refused, complete } = await timeKernels(gpu, launches, pipelines, mayGoOn);
    this.#spentMs += performance.now() - started;
    return { kernel: fastestOf(ms, byRule), timed: complete && ms.size > 0, refused };
  }
}

/**
 * The fastest by name; that of the rules unless another is faster by `LEAST_GAIN`, and where nothing was
 * timed.
 */
export function fastestOf(ms: ReadonlyMap<string, number>, byRule: string): string {
  let [fastest, least] = [byRule, (ms.get(byRule) ?? Infinity) / LEAST_GAIN];
  for (const [name, time] of ms) if (time < least) [fastest, least] = [name, time];
  return fastest;
}

/**
 * The plan with other kernels where the driver's compiler refuses those of a launch that has a choice. All
 * are compiled when it returns.
 *
 * @returns The choices that were changed, and in words what was put in place of what.
 * @throws {Error} with the compiler's messages, where a launch has none that it takes.
 */
export async function replaceRefused(
  plan: Plan,
  pipelines: PipelineCache,
  onProgress?: (done: number, of: number) => void,
): Promise<Tuned> {
  const notes: string[] = [];
  const choices: Record<string, string> = {};
  // By key, what was refused so far.
  const refusals = new Map<string, Map<string, string>>();
  for (;;) {
    const requests = plan.programs.flatMap(({ commands }) => commands).flatMap((command) =>
      "clear" in command ? [] : [{
        kernel: command.kernel,
        bindingCount: command.bindings.length,
        copies: command.copies !== undefined,
        // What reads the scratch texture has been placed there by the plan, in the one form there is.
        choice: command.copies ? undefined : command.choice,
      }]
    );
    const refused = await pipelines.refused(requests, onProgress);
    if (refused.size === 0) return { plan, choices, notes };
    const messages = new Map([...refused].map(([{ kernel }, { message }]) => [kernel.code, message]));
    const others: Record<string, string> = {};
    for (const { kernel, choice } of requests) {
      const message = messages.get(kernel.code);
      if (message === undefined || choice && Object.hasOwn(others, choice.key)) continue;
      if (!choice) throw new Error(message);
      const known = refusals.get(choice.key) ?? new Map<string, string>();
      refusals.set(choice.key, known.set(choice.chosen, message));
      const other = choice.names.find((name) => !known.has(name));
      if (other === undefined) {
        throw new Error(
          `Cannot compile any of the ${known.size} kernels for ${choice.key}: ${
            [...known].map(([name, message]) => `${name}: ${message}`).join("; ")
          }`,
        );
      }
      others[choice.key] = other;
      notes.push(`${other} takes the place of ${choice.chosen} in ${choice.key}: ${message}`);
    }
    Object.assign(choices, others);
    plan = withChoices(plan, others);
  }
}

/** Launches with more than one kernel to choose from, by key. */
function candidatesOf(plan: Plan): Map<string, Candidates> {
  const found = new Map<string, Candidates>();
  for (const command of plan.programs.flatMap(({ commands }) => commands)) {
    // Launches that read the scratch texture are not timed: theirs is the one form there is.
    if ("clear" in command || command.copies || !command.choice || command.choice.names.length < 2) continue;
    const { choice, flops = 0 } = command;
    const known = found.get(choice.key);
    if (!known) found.set(choice.key, { choice, dispatch: command, flops });
    else {
      known.flops += flops;
      if (flops > (known.dispatch.flops ?? 0)) Object.assign(known, { choice, dispatch: command });
    }
  }
  return found;
}

/**
 * The plan with other kernels. @throws {Error} if one of them takes more uniform
 * space than was planned for it.
 */
function withChoices(plan: Plan, choices: KernelChoices): Plan {
  const chosen = (command: Command): Command => {
    if ("clear" in command || !command.choice) return command;
    const { key, chosen, names, use } = command.choice;
    const name = choices[key];
    // Launches of one key may differ in what fits them.
    if (name === undefined || name === chosen || !names.includes(name)) return command;
    const other = use(name);
    if (paramsSize(other) !== paramsSize(command)) {
      throw new Error(
        `${other.kernel.name} ${name} has ${paramsSize(other)} bytes of params, planned ${
          paramsSize(command)
        }`,
      );
    }
    return other;
  };
  return {
    ...plan,
    programs: plan.programs.map((program) => ({ ...program, commands: program.commands.map(chosen) })),
  };
}
