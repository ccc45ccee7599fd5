/** A rate sweep whose best rate lies at an end of its grid goes on beyond it: docs/decisions/0026. */
import type { CellRecord } from "../results/record.ts";
import { rateBeyond } from "./learning_rates.ts";
import { type Cell, cellOf } from "./matrix.ts";
import type { TieredPhase } from "./suite.ts";

/**
 * The cells that a rate sweep has come to beyond those of its suite: for each optimizer one rate more, with
 * all seeds, while the best is at an end, as often as the phase's `extend` says.
 *
 * @param first The cells of the suite.
 * @param recordOf The record of a cell, where it stands. While one is missing nothing more is added.
 */
export function cellsBeyond(
  phase: TieredPhase,
  first: readonly Cell[],
  recordOf: (id: string) => CellRecord | null,
): Cell[] {
  const optimizers = Map.groupBy(first, ({ config }) => config.optimizer);
  return [...optimizers.values()].flatMap((cells) => {
    const added: Cell[] = [];
    for (let times = 0; times < (phase.extend ?? 0); times++) {
      const all = [...cells, ...added];
      const records = all.map(({ id }) => recordOf(id));
      if (records.includes(null)) break;
      const beyond = rateBeyond(records.filter((record) => record !== null));
      if (beyond === null) break;
      added.push(
        ...all.filter(({ config }) => config.learningRate === beyond.from).map((cell) =>
          cellOf(phase, {
            ...cell,
            label: relabelled(cell.label, beyond),
            config: { ...cell.config, learningRate: beyond.to },
          })
        ),
      );
    }
    return added;
  });
}

/** `AdamW at 0.001` → `AdamW at 0.002`. */
function relabelled(label: string, { from, to }: { from: number; to: number }): string {
  const named = label.replaceAll(/[0-9.e+-]*[0-9]/g, (number) => Number(number) === from ? `${to}` : number);
  return named === label ? `${label}, lr ${to}` : named;
}
