/** What a method does at each micro-batch size, beside the same step without it. */
import { type Configuration, settingKey } from "./configuration.ts";
import { meanRatio, ratioOf } from "../../results/measured.ts";
import type { Analysis } from "./analysis.ts";
import type { Pair } from "./pairs.ts";
import type { Interval } from "../../results/stats.ts";

export interface BatchEffect extends Pair {
  microBatchSize: number;
  /** Times as long as without the method. */
  time: Interval | null;
}

/** One effect a micro-batch size, by rising size: model and data are those with the most sizes. */
export function effectsByBatch(analysis: Pick<Analysis, "trained">, method: string): BatchEffect[] {
  return effectGroups(analysis, method)[0] ?? [];
}

/**
 * The same for each model and data, at the sequence length with the most sizes; those with most sizes first.
 */
export function effectGroups({ trained }: Pick<Analysis, "trained">, method: string): BatchEffect[][] {
  const plain = trained.filter((one) => isAdamW(one) && one.config.methods.length === 0);
  const found = trained.filter((one) => isAdamW(one) && one.config.methods.join() === method)
    .flatMap((changed): BatchEffect[] => {
      const alike = plain.filter((one) =>
        settingKey(one) === settingKey(changed) &&
        one.config.microBatchSize === changed.config.microBatchSize
      );
      const baseline = alike.find(({ phase }) => phase === changed.phase) ?? alike[0];
      if (!baseline) return [];
      const time = ratioOf(baseline.tokensPerSecond, changed.tokensPerSecond);
      return [{ baseline, changed, microBatchSize: changed.config.microBatchSize, time }];
    });
  const groups = Object.values(Object.groupBy(found, ({ changed: { config } }) => modelOf(config)));
  const bySize = groups.map((group) => onePerSize(group!)).toSorted((a, b) => b.length - a.length);
  const nameOf = ([{ changed: { config } }]: BatchEffect[]) => JSON.stringify([config.model, config.data]);
  return bySize.filter((group, i) => bySize.findIndex((other) => nameOf(other) === nameOf(group)) === i);
}

const modelOf = ({ model, data, sequenceLength }: Configuration["config"]) =>
  JSON.stringify([model, data, sequenceLength]);

function isAdamW({ config }: Configuration): boolean {
  return config.optimizer === "adamw";
}

/** The phase made for this question speaks, where it has the size; else the configuration with most cells. */
function onePerSize(effects: readonly BatchEffect[]): BatchEffect[] {
  const weight = ({ changed, baseline }: BatchEffect) =>
    (changed.shows === "batch-size-effects" ? 1000 : 0) + (changed.phase === baseline.phase ? 500 : 0) +
    changed.ok.length;
  const sizes = [...new Set(effects.map(({ microBatchSize }) => microBatchSize))].sort((a, b) => a - b);
  return sizes.map((size) =>
    effects.filter(({ microBatchSize }) => microBatchSize === size)
      .toSorted((a, b) => weight(b) - weight(a))[0]
  );
}

/** Times as long as without the method, over all batch sizes; null where none was timed. */
export function meanTime(effects: readonly BatchEffect[], confidence?: number): Interval | null {
  const rates = effects.map(({ baseline, changed }) => [baseline.tokensPerSecond, changed.tokensPerSecond]);
  return meanRatio(rates.flatMap(([a, b]) => a && b ? [[a, b] as const] : []), confidence);
}

/** Where a method that costs memory at small batches begins to save it. */
export type BreakEven =
  | { kind: "between"; below: number; above: number; at: number }
  | { kind: "always saves" | "never saves"; smallest: number; largest: number };

/** The micro-batch size from which on the method saves memory: by a straight line between measured ones. */
export function breakEven(effects: readonly BatchEffect[]): BreakEven | null {
  const extra = effects.flatMap(({ microBatchSize, baseline, changed }) => {
    const [without, with_] = [baseline.memory?.bookedBytes, changed.memory?.bookedBytes];
    return without && with_ ? [{ size: microBatchSize, bytes: with_ - without }] : [];
  });
  if (extra.length < 2) return null;
  for (let i = 1; i < extra.length; i++) {
    const [low, high] = [extra[i - 1], extra[i]];
    if (low.bytes > 0 && high.bytes <= 0) {
      const at = low.size + (high.size - low.size) * low.bytes / (low.bytes - high.bytes);
      return { kind: "between", below: low.size, above: high.size, at };
    }
  }
  const [smallest, largest] = [extra[0].size, extra.at(-1)!.size];
  return { kind: extra[0].bytes > 0 ? "never saves" : "always saves", smallest, largest };
}
