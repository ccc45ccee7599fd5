/** The combinations that claims C1a and C1b are about, each against the baseline at its effective batch. */
import type { Analysis } from "../rows/analysis.ts";
import { type Configuration, settingKey } from "../rows/configuration.ts";
import { bestPerSetting, type Pair, pairWeight, switchesOn } from "../rows/pairs.ts";

/** What a stack switches on beside accumulation. */
export interface StackKind {
  methods: readonly string[];
  /** Null where none is named. */
  optimizer: string | null;
}

/** C1a: accumulation, checkpointing, mixed precision and Adafactor. */
export const LEAN: StackKind = { methods: ["checkpoint", "fp16"], optimizer: "adafactor" };
/** C1b: accumulation, checkpointing, mixed precision and FlashAttention-2; no optimizer is named. */
export const FLASH: StackKind = { methods: ["checkpoint", "flash", "fp16"], optimizer: null };

/**
 * Whether a configuration is the stack. A search at equal memory takes the largest micro-batch that fits, so
 * that what it found may have nothing left to accumulate; elsewhere the stack accumulates.
 */
export function isStack(
  { config, phaseKind }: Pick<Configuration, "config" | "phaseKind">,
  { methods, optimizer }: StackKind,
): boolean {
  return [...config.methods].sort().join() === methods.join() &&
    (config.gradientAccumulationSteps > 1 || phaseKind === "equal-memory") &&
    (optimizer === null || config.optimizer === optimizer);
}

/**
 * Every setting's stack with its baseline. Which of a setting's phases speaks hangs on what it was made for
 * and on how many seeds it has, never on its figures; another micro-batch, or another optimizer, is another
 * setting.
 */
export function stackPairs({ trained }: Pick<Analysis, "trained">, kind: StackKind): Pair[] {
  const pairs = trained.filter((one) => isStack(one, kind)).flatMap((changed): Pair[] => {
    const alike = trained.filter((one) =>
      switchesOn(one, { methods: [] }) && settingKey(one) === settingKey(changed)
    );
    const baseline = alike.toSorted((a, b) => pairWeight(b, changed) - pairWeight(a, changed))[0];
    return baseline ? [{ baseline, changed }] : [];
  }).toSorted((a, b) => pairWeight(b.baseline, b.changed) - pairWeight(a.baseline, a.changed));
  return bestPerSetting(pairs, ({ config }) => [config.microBatchSize, config.optimizer]);
}
