import type { Command, Dispatch, KernelChoice } from "../graph/op.ts";
import { InputError } from "../input_error.ts";
import { paramsSize } from "../plan/lower.ts";
import type { Plan } from "../plan/plan.ts";
import { type ChoiceCache, hashOf, type KeptChoice } from "./autotune_cache.ts";
import type { Gpu } from "./device.ts";
import { timeKernels } from "./kernel_timer.ts";
import type { PipelineCache } from "./pipelines.ts";

/** `on`: kernels are timed on GPUs, once. `force`: they are timed anew, on software adapters too. `off`: rules choose. */
export const AUTOTUNE_MODES = ["on", "off", "force"] as const;
/** One of `AUTOTUNE_MODES`. */
export type AutotuneMode = typeof AUTOTUNE_MODES[number];

/** Kernels that were chosen by the clock, by the key of what they were chosen for. */
export type KernelChoices = Readonly<Record<string, string>>;

/** What a process may spend on timing, ms. The first kernel of all is timed whatever it takes. */
export const AUTOTUNE_BUDGET_MS = 2000;

/** A kernel must be this much faster than that of the rules to be chosen: below it, noise would choose. */
const LEAST_GAIN = 1.03;

/** The mode that the environment variable `THREEFOLD_AUTOTUNE` names; `on` without it. @throws {InputError} */
export function defaultAutotuneMode(): AutotuneMode {
  const name = Deno.env.get("THREEFOLD_AUTOTUNE");
  return name === undefined || name === "" ? "on" : autotuneModeNamed(name, "THREEFOLD_AUTOTUNE");
}

/** The mode of this name. @param what How messages call the setting: `"--autotune"`. @throws {InputError} for any other. */
export function autotuneModeNamed(name: string, what: string): AutotuneMode {
  const mode = AUTOTUNE_MODES.find((mode) => mode === name);
  if (mode) return mode;
  throw new InputError(`Cannot use ${what} ${name}: expected ${AUTOTUNE_MODES.join(", ")}`);
}

/** Launches of a plan that share a choice; the largest stands for all. */
interface Candidates {
  choice: KernelChoice;
  dispatch: Dispatch;
  flops: number;
}

/** Chooses the kernels of plans by the clock, on one device; keeps what it chose for later processes. */
export class Autotuner {
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

  /**
   * The plan with the chosen kernels: buffers, programs, launches and their number stay what they are.
   *
   * Where the time runs out, what is left is chosen by the rules, and kept as well: the next run is to use the kernels
   * that this one used.
   *
   * @returns Also the choices for all launches that had one; none where nothing is tuned.
   */
  async tune(
    gpu: Gpu,
    plan: Plan,
    pipelines: PipelineCache,
    onProgress?: (done: number, of: number) => void,
  ): Promise<{ plan: Plan; choices: KernelChoices }> {
    if (this.#mode === "off" || (this.#mode === "on" && gpu.target.software)) return { plan, choices: {} };
    const groups = [...candidatesOf(plan)].sort(([, a], [, b]) => b.flops - a.flops);
    if (groups.length === 0) return { plan, choices: {} };
    if (!this.#read && this.#mode === "on") {
      for (const [key, kept] of await this.#cache.read()) this.#chosen.set(key, kept);
    }
    this.#read = true;
    const added = new Map<string, KeptChoice>();
    for (const [i, [key, { choice, dispatch }]] of groups.entries()) {
      const launches = choice.names.map((name) =>
        [name, name === choice.chosen ? dispatch : choice.use(name)] as const
      );
      const code = hashOf(launches.map(([name, { kernel }]) => `${name}\n${kernel.code}`).join("\n"));
      const kept = this.#chosen.get(key);
      if (kept?.code === code && choice.names.includes(kept.kernel)) continue;
      onProgress?.(i, groups.length);
      const kernel = await this.#fastest(gpu, launches, choice.chosen, pipelines);
      this.#chosen.set(key, { kernel, code });
      added.set(key, { kernel, code });
    }
    await this.#cache.add(added);
    const choices = Object.fromEntries(groups.map(([key]) => [key, this.#chosen.get(key)!.kernel]).sort());
    return { plan: withChoices(plan, choices), choices };
  }

  async #fastest(
    gpu: Gpu,
    launches: readonly (readonly [string, Dispatch])[],
    byRule: string,
    pipelines: PipelineCache,
  ): Promise<string> {
    const mayGoOn = () => this.#spentMs + performance.now() - started < this.#budgetMs;
    const started = performance.now();
    if (!mayGoOn()) return byRule;
    const times = await timeKernels(gpu, launches, pipelines, mayGoOn);
    this.#spentMs += performance.now() - started;
    const [fastest, ms] = [...times].reduce((best, entry) => entry[1] < best[1] ? entry : best, [
      byRule,
      (times.get(byRule) ?? 0) / LEAST_GAIN,
    ]);
    return ms > 0 ? fastest : byRule;
  }
}

/** Launches with more than one kernel to choose from, by key. */
function candidatesOf(plan: Plan): Map<string, Candidates> {
  const found = new Map<string, Candidates>();
  for (const command of plan.programs.flatMap(({ commands }) => commands)) {
    // Launches that read the scratch texture are not timed: theirs is the one form there is.
    if ("clear" in command || command.texels || !command.choice || command.choice.names.length < 2) continue;
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

/** The plan with other kernels. @throws {Error} if one of them takes more uniform space than was planned for it. */
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
