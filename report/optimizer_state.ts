/** Bytes of optimizer state a parameter: as a run held them, and as the planner lays them out at 3 B parameters. */
import type { Configuration } from "./derive.ts";
import type { Evidence } from "./evidence.ts";
import { formatNumber, formatSignificant } from "./format.ts";
import { OPTIMIZER_STATE } from "./paper.ts";

export interface OptimizerState {
  optimizer: string;
  /** Of a run; null where none was trained with it. */
  measured: { configuration: Configuration; bytes: number } | null;
  /** Of the planned model with 3 B parameters. */
  planned: { configuration: Configuration; bytes: number } | null;
}

/** The paper's three optimizers, in its order, as far as the records know them. */
export function optimizerStates({ trained, planned }: Evidence): OptimizerState[] {
  return Object.keys(OPTIMIZER_STATE).map((optimizer) => {
    const own = trained.filter((one) => one.config.optimizer === optimizer && !trainsAdapters(one));
    return {
      optimizer,
      measured: first(own.toSorted((a, b) => weight(b) - weight(a))),
      planned: first(planned.filter((one) => one.phase === "3b" && one.config.optimizer === optimizer)),
    };
  }).filter(({ measured, planned }) => measured ?? planned);
}

const weight = ({ phase, config }: Configuration) =>
  (phase === "optimizers" ? 2 : 0) + (config.methods.length === 0 ? 1 : 0);

function trainsAdapters({ config }: Configuration): boolean {
  return config.methods.some((method) => /lora/.test(method));
}

/** The first configuration whose optimizer bytes are known: all state is alive at the peak, since it is never freed. */
function first(candidates: readonly Configuration[]): { configuration: Configuration; bytes: number } | null {
  for (const configuration of candidates) {
    const parameters = configuration.ok[0]?.trainableParameters;
    if (configuration.memory && parameters) {
      return { configuration, bytes: configuration.memory.byRole.optimizer / parameters };
    }
  }
  return null;
}

/** `8.00`, `0.0022`: two decimals, or two digits where there would be none left. */
export function bytesText(bytes: number): string {
  return bytes > 0 && bytes < 0.1 ? formatSignificant(bytes, 2) : formatNumber(bytes, 2);
}
