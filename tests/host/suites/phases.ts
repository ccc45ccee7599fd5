/** Phases for tests, as a suite cut to a tier would have them. */
import type { PhaseBody } from "../../../suites/schema.ts";
import type { TieredPhase } from "../../../suites/suite.ts";

/** A matrix of gpt2-nano; `given` goes before all else. */
export function phaseOf(body: PhaseBody, given: Partial<TieredPhase> = {}): TieredPhase {
  return {
    name: "p",
    kind: "matrix",
    repeats: 1,
    timeoutSeconds: 60,
    divergenceFactor: 1.5,
    path: ["phases", 0],
    ...body,
    timing: { warmupSteps: 2 },
    defaults: { model: "gpt2-nano", data: "moby-dick", steps: 10 },
    ...given,
  };
}
