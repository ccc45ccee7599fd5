/** Which configurations the charts with a part for each show: a factorial has too many for bars and panels. */
import { type Analysis, type Configuration, phaseKind } from "./derive.ts";

/** Beyond this many, the phases below speak for the rest, whose figures stand in the table of all cells. */
const MANY = 24;
const MAIN_PHASES = ["ladder", "single"];

/** The batch sweep, the ladder and the single methods; where these are few, all that there is. */
export function shownConfigurations(
  analysis: Analysis,
  isWorthIt: (configuration: Configuration) => boolean = () => true,
): Configuration[] {
  const { configurations } = analysis;
  // What failed is always shown: it has no curve that is worth it, but a word that is.
  const worthy = configurations.filter((one) => one.ok.length === 0 || isWorthIt(one));
  if (worthy.length <= MANY) return worthy;
  const main = worthy.filter(({ phase }) =>
    MAIN_PHASES.includes(phase) || phaseKind(analysis, phase) === "batch-sweep"
  );
  return (main.length > 0 ? main : worthy).slice(0, MANY);
}
