import type { Cell } from "./matrix.ts";
import type { Engine, PlannedAdapter, TrainingPlan } from "./engine.ts";
import { planKey } from "./memory_keys.ts";

/** Plans by what they depend on: seeds, repeats and rates share one. */
export class PlanCache {
  readonly #engine: Pick<Engine, "planTraining">;
  readonly #adapter: PlannedAdapter | undefined;
  readonly #plans = new Map<string, Promise<TrainingPlan | Error>>();

  /** @param adapter What cells will run on; default: what the machine most likely has. */
  constructor(engine: Pick<Engine, "planTraining">, adapter?: PlannedAdapter) {
    this.#engine = engine;
    this.#adapter = adapter;
  }

  /** The plan, or the error that planning ended with. */
  get({ config, kind }: Pick<Cell, "config" | "kind">): Promise<TrainingPlan | Error> {
    // Cells that are only planned are about GPUs large enough for them, wherever they are planned.
    const adapter = kind === "planned" ? "gpu" : this.#adapter;
    const key = `${adapter} ${planKey(config)}`;
    const plan = this.#plans.get(key) ??
      this.#engine.planTraining(config, adapter).catch((error) => error as Error);
    this.#plans.set(key, plan);
    return plan;
  }
}
