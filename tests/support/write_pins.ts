// Writes the pins of the numerics that engine/numerics.ts has: deno task pins [--amend]
import { dirname, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { isDeepStrictEqual } from "node:util";
import { NUMERICS } from "../../engine/numerics.ts";
import { output } from "../../suites/command_output.ts";
import { driverSettings } from "../ci/run_tests.ts";
import {
  entriesIn,
  hashOfEntry,
  needsF16,
  type PinEntry,
  PINNED_CELLS,
  type PinnedCell,
  PINS_FILE,
  placeOf,
  problemsOf,
  startHashes,
  textOf,
  trainPinned,
} from "./pins.ts";
import { sharedDevice } from "./with_device.ts";

/** What is to become of the pins, or why nothing may. */
export type Outcome = { entries: PinEntry[]; said: string } | { refused: string };

/**
 * Puts pins that were just taken in one place among the entries there are.
 *
 * @param committed The entries in HEAD: those pins are others' already, and change with the number alone.
 * @param amend Replaces the pins of the number all the same, and drops those of other places.
 */
export function updated(
  entries: readonly PinEntry[],
  committed: readonly PinEntry[],
  taken: Pick<PinEntry, "numerics" | "start" | "losses">,
  amend: boolean,
): Outcome {
  const { numerics } = taken;
  const older = entries.filter((entry) => entry.numerics < numerics);
  const last = older.at(-1);
  const whole: PinEntry = { ...taken, before: last ? hashOfEntry(last) : null };
  const own = committed.find((entry) => entry.numerics === numerics);
  const [here] = taken.losses;
  let entry = whole;
  let said = `pinned numerics ${numerics}`;
  if (own && !amend) {
    const pinned = own.losses.find(({ place }) => place === here.place);
    const isSame = isDeepStrictEqual(own.start, taken.start) &&
      (pinned === undefined || isDeepStrictEqual(pinned.cells, here.cells));
    if (!isSame) {
      return {
        refused:
          `The numbers are no longer those that numerics ${numerics} was pinned with: raise NUMERICS in ` +
          "engine/numerics.ts and run this again. (--amend replaces the pins of a number that no record has yet.)",
      };
    }
    if (pinned) return { entries: [...entries], said: `numerics ${numerics} are pinned as they are` };
    entry = { ...own, losses: [...own.losses, here] };
    said = `pinned numerics ${numerics} in one more place: ${here.place}`;
  }
  const next = [...older, entry];
  const problems = problemsOf(next, numerics);
  return problems.length > 0 ? { refused: `Cannot pin: ${problems.join("; ")}` } : { entries: next, said };
}

/** Trains every pinned cell here. */
async function takePins(): Promise<Pick<PinEntry, "numerics" | "start" | "losses">> {
  const { adapter, kernels: { target } } = (await sharedDevice()).gpu;
  const cells: Record<string, PinnedCell> = {};
  for (const [name, options] of Object.entries(PINNED_CELLS)) {
    if (needsF16(options) && !target.shaderF16) continue;
    console.error(name);
    cells[name] = await trainPinned(options);
  }
  const losses = [{ place: await placeOf(adapter), cells }];
  return { numerics: NUMERICS, start: await startHashes(), losses };
}

async function main(args: readonly string[]): Promise<number> {
  // As tests are told, so that pins are of the place where they are compared.
  for (const [name, value] of Object.entries(driverSettings())) Deno.env.set(name, value);
  const path = fileURLToPath(PINS_FILE);
  const text = await Deno.readTextFile(path).catch(() => null);
  const root = await output("git", ["-C", dirname(path), "rev-parse", "--show-toplevel"]);
  const head = root && await output("git", ["-C", root, "show", `HEAD:${relative(root, path)}`]);
  const result = updated(
    text ? entriesIn(text) : [],
    head ? entriesIn(head) : [],
    await takePins(),
    args.includes("--amend"),
  );
  if ("refused" in result) {
    console.error(result.refused);
    return 1;
  }
  await Deno.mkdir(dirname(path), { recursive: true });
  await Deno.writeTextFile(path, textOf(result.entries));
  console.log(result.said);
  return 0;
}

if (import.meta.main) Deno.exit(await main(Deno.args));
