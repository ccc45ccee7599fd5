/** What a runner writes into `run.json`. */
import {
  type Environment,
  type HubModel,
  RECORD_VERSION,
  type Roofline,
  type RunRecord,
} from "../results/record.ts";
import { NUMERICS } from "../mod.ts";
import { orderSeed } from "./rounds.ts";
import type { SuiteFile, TieredSuite } from "./suite.ts";
import type { TierChoice } from "./tiers.ts";

/** What a run is known by. */
export interface RunOrigin {
  suite: SuiteFile;
  tiered: TieredSuite;
  choice: TierChoice;
  quick: boolean;
  command: string;
  environment: Environment;
  /** What was found of the models that the suite names by a branch or a tag. */
  hubModels: readonly HubModel[];
  /** What the device can do at best, where it was measured. */
  roofline?: Roofline | null;
  /** The run being resumed. */
  previous: RunRecord | null;
}

/** The record of a run that begins or goes on. */
export function newRun(
  { suite, tiered, choice, quick, command, environment, hubModels, roofline, previous }: RunOrigin,
): RunRecord & { orderSeed: number } {
  return {
    recordVersion: RECORD_VERSION,
    suite: suite.name,
    title: suite.suite.title,
    suiteHash: suite.hash,
    tier: choice.tier,
    tierReason: choice.reason,
    quick,
    numerics: NUMERICS,
    command,
    startedAt: previous?.startedAt ?? new Date().toISOString(),
    finishedAt: null,
    phases: tiered.phases.map(({ name, kind, shows = null, description = "", rounds }) => ({
      name,
      kind,
      shows,
      description,
      ...rounds === "adaptive" && { rounds },
    })),
    orderSeed: orderSeed(suite.hash),
    cells: [],
    decisions: [],
    ...hubModels.length > 0 && { hubModels: [...hubModels] },
    roofline: previous?.roofline ?? roofline ?? null,
    environment,
  };
}

/** What a run says of a folder that runs of other shards have written to as well. */
export function joined(mine: RunRecord, theirs: RunRecord | null): RunRecord {
  const value = (name: string) => mine.decisions.find((decision) => decision.name === name)?.value;
  if (
    theirs === null || theirs.suiteHash !== mine.suiteHash ||
    theirs.decisions.some(({ name, value: other }) => value(name) !== undefined && value(name) !== other)
  ) {
    return mine; // what they have written was of another run, or of cells that have run again since
  }
  const order = mine.phases.map(({ name }) => name);
  const known = new Set(mine.cells.map(({ id }) => id));
  return {
    ...mine,
    startedAt: mine.startedAt < theirs.startedAt ? mine.startedAt : theirs.startedAt,
    cells: [...mine.cells, ...theirs.cells.filter(({ id }) => !known.has(id))]
      .sort((a, b) => order.indexOf(a.phase) - order.indexOf(b.phase)),
    decisions: [
      ...mine.decisions,
      ...theirs.decisions.filter(({ name }) => value(name) === undefined),
    ],
    roofline: mine.roofline ?? theirs.roofline,
  };
}
