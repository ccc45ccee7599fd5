/** Which configurations charts with a part for each show: a factorial has too many for panels. */
import type { PhaseShows } from "../../results/record.ts";
import type { Analysis } from "./analysis.ts";
import type { Configuration } from "./configuration.ts";
import { withoutReused } from "./reused.ts";

/** Beyond this many, what follows speaks for the rest, whose figures stand in the table of all cells. */
const MANY = 24;
const MAIN: readonly (PhaseShows | null)[] = ["method-ladder", "single-methods"];

/** The batch sweep, the ladder and the single methods; where these are few, all that there is. */
export function shownConfigurations(
  { configurations }: Analysis,
  isWorthIt: (configuration: Configuration) => boolean = () => true,
): Configuration[] {
  // What failed is always shown: it has no curve that is worth it, but a word that is.
  const worthy = withoutReused(configurations.filter((one) => one.ok.length === 0 || isWorthIt(one)))
    .map(({ configuration }) => configuration);
  if (worthy.length <= MANY) return worthy;
  const main = worthy.filter(({ shows, phaseKind }) => MAIN.includes(shows) || phaseKind === "batch-sweep");
  return (main.length > 0 ? main : worthy).slice(0, MANY);
}
