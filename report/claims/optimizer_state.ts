/** Bytes of optimizer state a parameter: as a run held them, and as planned at 3 B parameters. */
import { trainsAdapters } from "../../results/methods.ts";
import type { RunConfig } from "../../results/record.ts";
import type { Configuration } from "../rows/configuration.ts";
import type { Analysis } from "../rows/analysis.ts";
import { formatNumber, formatSignificant } from "../words/format.ts";
import { quantizesEmbeddings } from "../words/names.ts";
import { OPTIMIZER_STATE } from "./paper.ts";

export interface OptimizerState {
  optimizer: string;
  label: string;
  /** Of two forms of one optimizer, the one that verdicts go by. */
  isUsual: boolean;
  /** Of a run; null where none was trained with it. */
  measured: { configuration: Configuration; bytes: number } | null;
  /** Of the planned model with 3 B parameters. */
  planned: { configuration: Configuration; bytes: number } | null;
}

/**
 * The paper's three optimizers, in its order, as far as the records know them. 8-bit AdamW has two forms:
 * embeddings keep f32 moments, or are quantized, too; the latter stands for it where the records have no
 * other. So has Adafactor: the paper's 4 bytes are a first moment, which is left out by default.
 */
export function optimizerStates({ trained, planned }: Analysis): OptimizerState[] {
  return Object.entries(OPTIMIZER_STATE).flatMap(([optimizer, { label }]) => {
    const forms = FORMS.filter(({ of }) => of === optimizer).map((form) => {
      const isForm = ({ config }: Configuration) => config.optimizer === optimizer && form.is(config);
      const own = trained.filter((one) => isForm(one) && !trainsAdapters(one.config.methods));
      return {
        optimizer,
        label: label + form.suffix,
        measured: first(own.toSorted((a, b) => weight(b) - weight(a))),
        planned: first(planned.filter((one) => one.shows === "three-billion-plan" && isForm(one))),
      };
    });
    return forms.filter(({ measured, planned }) => measured ?? planned)
      .map((form, i) => ({ ...form, isUsual: i === 0 }));
  });
}

/** The forms of an optimizer, the one that verdicts go by first where the records have it. */
const FORMS = [
  {
    of: "adafactor",
    suffix: " with a first moment",
    is: ({ optimizerOptions }: RunConfig) => typeof optimizerOptions.beta1 === "number",
  },
  {
    of: "adafactor",
    suffix: "",
    is: ({ optimizerOptions }: RunConfig) => typeof optimizerOptions.beta1 !== "number",
  },
  { of: "adamw", suffix: "", is: () => true },
  { of: "adamw8bit", suffix: "", is: (config: RunConfig) => !quantizesEmbeddings(config) },
  { of: "adamw8bit", suffix: " with quantized embeddings", is: quantizesEmbeddings },
];

const weight = ({ shows, config }: Configuration) =>
  (shows === "optimizer-convergence" ? 2 : 0) + (config.methods.length === 0 ? 1 : 0);

/** The first whose optimizer bytes are known: state is never freed, so all of it is alive at the peak. */
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
