import type { RunConfig } from "../results/record.ts";
import type { Engine, TrainingPlan } from "./engine.ts";
import { expectedTime } from "./expected_time.ts";
import { METHODS, OPTIMIZERS, trainsAdapters } from "../results/methods.ts";
import { resolveSettings } from "./resolve_settings.ts";
import { effectiveBatchSize } from "../results/tokens_per_step.ts";

/** A way to train within a memory budget. */
export interface Fit {
  methods: string[];
  optimizer: string;
  microBatchSize: number;
  gradientAccumulationSteps: number;
  peakBytes: number;
  /** Extra time a step is expected to take, as a share. From published figures, not measured here. */
  expectedSlowdown: number;
}

/** No search goes beyond: what fits so many sequences is bounded by something else than memory. */
const LARGEST_BATCH = 2 ** 16;

/**
 * The most sequences at a time that fit, the methods being as they are; 0 where not even one does.
 *
 * @param known As many as are known to fit.
 */
export async function largestMicroBatch(
  config: RunConfig,
  budgetBytes: number,
  engine: Pick<Engine, "planTraining">,
  known = 0,
): Promise<number> {
  const fits = async (microBatchSize: number) => {
    const plan = await engine.planTraining({ ...config, microBatchSize, gradientAccumulationSteps: 1 });
    return plan.plannedPeakBytes <= budgetBytes;
  };
  if (known === 0 && !await fits(1)) return 0;
  const least = Math.max(known, 1);
  let [low, high] = [least, 2 * least];
  while (high <= LARGEST_BATCH && await fits(high)) [low, high] = [high, high * 2];
  high = Math.min(high, LARGEST_BATCH + 1);
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (await fits(middle)) low = middle;
    else high = middle;
  }
  return low;
}

/**
 * The cheapest ways to train at the same effective batch size within the budget: what is asked for already
 * stays, methods are added. First those that train all parameters, then those that train adapters; within
 * both, by expected slowdown, then by how little they change.
 *
 * @returns At most one of each kind, or none where nothing fits.
 */
export async function cheapestFits(config: RunConfig, budgetBytes: number, engine: Engine): Promise<Fit[]> {
  const found: Fit[] = [];
  for (const adapters of [false, true]) {
    const candidates = variants(config, engine).filter(({ methods }) => trainsAdapters(methods) === adapters);
    candidates.sort((a, b) => a.expectedSlowdown - b.expectedSlowdown || a.changes - b.changes);
    for (const { changes: _, ...variant } of candidates) {
      const plan = await planOf(config, variant, engine);
      if (plan === null || plan.plannedPeakBytes > budgetBytes) continue;
      found.push({ ...variant, peakBytes: plan.plannedPeakBytes });
      break;
    }
  }
  return found;
}

type Variant = Omit<Fit, "peakBytes"> & { changes: number };

/**
 * Every set of methods that holds those asked for, with every optimizer that
 * keeps AdamW's quality and every split.
 */
function variants(config: RunConfig, engine: Engine): Variant[] {
  const extra = METHODS.filter(({ id, costsMemory }) =>
    engine.implementedMethods.includes(id) && !config.methods.includes(id) && !costsMemory
  ).map(({ id }) => id);
  const lean = OPTIMIZERS.filter(({ id, isLean }) => isLean && engine.implementedOptimizers.includes(id))
    .map(({ id }) => id);
  const optimizers = config.optimizer === "adamw" ? ["adamw", ...lean] : [config.optimizer];
  const batch = effectiveBatchSize(config);
  const splits = Array.from({ length: batch }, (_, i) => i + 1).filter((steps) => batch % steps === 0);
  return subsets(extra).map((added) => [...config.methods, ...added]).filter(compatible).flatMap((methods) =>
    optimizers.flatMap((optimizer) =>
      splits.map((gradientAccumulationSteps) => ({
        methods: [...methods].sort(),
        optimizer,
        microBatchSize: batch / gradientAccumulationSteps,
        gradientAccumulationSteps,
        expectedSlowdown: Number(
          (expectedTime({ methods, optimizer, gradientAccumulationSteps }) - 1).toFixed(4),
        ),
        changes: methods.length + (optimizer === config.optimizer ? 0 : 1) +
          Math.log2(gradientAccumulationSteps),
      }))
    )
  );
}

function compatible(methods: readonly string[]): boolean {
  return METHODS.every(({ id, excludes }) =>
    !methods.includes(id) || !methods.some((other) => other in excludes)
  );
}

function subsets(items: readonly string[]): string[][] {
  return items.reduce<string[][]>((sets, item) => [...sets, ...sets.map((set) => [...set, item])], [[]]);
}

/** The plan of a variant, or null where its methods cannot work with the rest of the configuration. */
async function planOf(
  config: RunConfig,
  variant: Omit<Variant, "changes">,
  engine: Engine,
): Promise<TrainingPlan | null> {
  const { methods, optimizer, microBatchSize, gradientAccumulationSteps } = variant;
  try {
    return await engine.planTraining(resolveSettings({
      ...config,
      methods,
      optimizer,
      microBatchSize,
      gradientAccumulationSteps,
      optimizerOptions: optimizer === config.optimizer ? config.optimizerOptions : {},
    }));
  } catch (error) {
    if (error instanceof Error && error.name === "InputError") return null;
    throw error;
  }
}
