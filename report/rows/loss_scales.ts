/** The loss scale over the steps of mixed-precision runs, and whether it did what it promises. */
import type { Configuration } from "./configuration.ts";

export interface ScaleRun {
  id: string;
  phase: string;
  label: string;
  seed: number;
  status: string;
  /** Scale of each step. */
  scale: number[];
  /** Steps whose update was skipped. */
  skipped: number[];
  /** Skipped steps that the next one did not follow with half the scale. */
  faults: number;
  /** Whether the last loss is a number. */
  endsFinite: boolean;
}

/** Every run that recorded a loss scale, once: repeats and copies of a run in later phases are left out. */
export function scaleRuns(configurations: readonly Configuration[]): ScaleRun[] {
  return configurations.flatMap(({ cells, phase, label }) =>
    cells.filter(({ samples, sameRunAs }) => samples?.lossScale && sameRunAs === null).map(
      (cell): ScaleRun => {
        const scale = cell.samples!.lossScale!;
        const skipped = cell.samples!.skipped ?? [];
        const isHalved = (step: number) =>
          step + 1 >= scale.length || scale[step + 1] === Math.max(scale[step] / 2, 1);
        return {
          id: cell.id,
          phase,
          label,
          seed: cell.config.seed,
          status: cell.status,
          scale,
          skipped,
          faults: skipped.filter((step) => !isHalved(step)).length,
          endsFinite: cell.status === "ok" && typeof cell.samples!.loss.at(-1) === "number",
        };
      },
    )
  );
}
