import { heldOutAt } from "../results/held_out_at.ts";
import { MARGINS } from "../results/margins.ts";
import type { CellRecord, Decision } from "../results/record.ts";
import { mean } from "../results/stats.ts";
import { switchesNothingOn } from "./rounds.ts";

/** What is read as the end of a curve: its last quarter of tokens. */
const LAST_SHARE = 0.25;

const RULE =
  `What ${
    MARGINS.lossTokens.value * 100
  } % more tokens buy at the end of the baseline's curve, at the rate decided: the fall of the ` +
  "held-out loss over the last quarter of the tokens, as steep in their logarithm, mean over the sweep's seeds; at least " +
  `${MARGINS.lossFloor.value} nats.`;

/**
 * Decides how much held-out loss may be lost and count as kept, before the cells that it judges run.
 *
 * @param cells Records of a rate sweep.
 * @param rate The rate that it decided for AdamW.
 * @returns Null where no cell of the baseline ended well with losses on the way.
 */
export function decideLossMargin(cells: readonly CellRecord[], rate: number): Decision | null {
  const baselines = cells.filter(({ config, status }) =>
    status === "ok" && switchesNothingOn(config) && config.learningRate === rate
  );
  const falls = baselines.flatMap((cell) => {
    const tokens = Math.max(...cell.heldOut.map((point) => point.tokens));
    const [before, after] = [heldOutAt(cell, tokens * (1 - LAST_SHARE)), heldOutAt(cell, tokens)];
    // Two points, at the start and the end, are no curve.
    if (before === null || after === null || cell.heldOut.length < 3) return [];
    const perLog = (before - after) / -Math.log(1 - LAST_SHARE);
    return [{ cell, tokens, nats: perLog * Math.log(1 + MARGINS.lossTokens.value) }];
  });
  if (falls.length === 0) return null;
  const read = mean(falls.map(({ nats }) => nats));
  const floor = MARGINS.lossFloor.value;
  const value = Math.max(read, floor);
  const { config } = baselines[0];
  return {
    name: `lossMargin/${config.model}`,
    rule: RULE,
    inputs: falls.map(({ cell: { id } }) => id),
    figures: Object.fromEntries(
      falls.map(({ cell: { config: { seed } }, tokens, nats }) => [`seed ${seed}`, { tokens, nats }]),
    ),
    chosen: `${value.toFixed(4)} nats`,
    value,
    reason:
      `${MARGINS.lossTokens.value * 100} % more tokens buy ${config.model} ${
        read.toFixed(4)
      } nats at the end of the sweep` +
      (read < floor ? `: less than the ${floor} that are allowed in any case` : ""),
  };
}
