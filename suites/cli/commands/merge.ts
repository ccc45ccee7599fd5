import { join } from "node:path";
import { InputError } from "../../../engine/input_error.ts";
import { type Command, EXIT } from "../command.ts";
import { mergeRuns, type Part, readParts, requireOneRun, unite } from "../../merge_runs.ts";
import { PROJECT } from "../../environment.ts";
import { loadSuite } from "../../suite_checks.ts";
import type { SuiteFile } from "../../suite.ts";

/** `deno task merge`: shards of a run as one. */
export const merge: Command = {
  spec: {
    name: "merge",
    what:
      "Puts runs of one suite that were made apart together as one: its decisions, its report. Needs no GPU and " +
      "measures nothing.",
    positionals: {
      name: "RUN...",
      what: "run folders: shards, or parts of one run",
      least: 1,
      most: Infinity,
    },
    flags: {
      "out": { value: "DIR", what: "folder of the merged run, which is not there yet" },
      "suite": { value: "SUITE", what: "the suite file", default: "what the runs were started with" },
      "allow-mixed": {
        what: "merge even where adapter, driver, numerics or code differ; the report says so",
      },
    },
    examples: [
      "deno task merge bench/s1 bench/s2 bench/s3 --out bench/whole",
      "deno task merge bench/s1 bench/s2 --suite mine.yaml --out bench/whole",
    ],
  },
  async run({ positionals, values, switches }, { engine, writeReport, answer, print, note }) {
    const { out } = values;
    if (out === undefined) {
      throw new InputError("Cannot merge without --out: expected a folder that is not there yet");
    }
    const parts = await readParts(positionals);
    requireOneRun(parts, switches.has("allow-mixed"));
    const suite = await suiteOf(parts[0], values.suite, (path) => loadSuite(path, engine));
    const { cells, conflicts } = unite(parts);
    if (conflicts.length > 0) {
      for (const { id, label, folders: [one, other] } of conflicts) {
        note(`Cell ${id} (${label}) is one thing in ${one} and another in ${other}`);
      }
      note("Nothing was written: a cell has one record; take the folder out that should not be there");
      return EXIT.failed;
    }
    const merged = await mergeRuns(parts, cells, { out, suite, engine });
    for (const text of merged.notes) note(text);
    note(`${merged.cells} cells of ${parts.length} ${parts.length === 1 ? "run" : "runs"}`);
    await writeReport([out], join(out, "report"));
    if (answer) note(`\n${await answer.text([out])}\n`);
    print(join(out, "report", "index.html"));
    if (merged.missing === 0) return EXIT.done;
    note(`The run is not whole. To go on: deno task bench ${suite.path} --out ${out} --resume`);
    return EXIT.failed;
  },
};

/** The suite file of a run: as named, else as the run was started with it, else of its name in suites/. */
async function suiteOf(
  { run: { suite: name, suiteHash, command }, folder }: Part,
  named: string | undefined,
  load: (path: string) => Promise<SuiteFile>,
): Promise<SuiteFile> {
  const started = command.match(/(?:^| )('([^']+\.ya?ml)'|(\S+\.ya?ml))(?= |$)/);
  const own = join(PROJECT, "suites", `${name}.yaml`);
  const given = started?.[2] ?? started?.[3];
  const isThere = async (path: string) => await Deno.stat(path).then(() => true, () => false);
  const path = named ?? (given !== undefined && await isThere(given) ? given : own);
  const suite = await load(path);
  if (suite.hash === suiteHash) return suite;
  throw new InputError(
    `Cannot merge ${folder} by ${path}: its hash is ${suite.hash.slice(0, 12)}, that of the run ${
      suiteHash.slice(0, 12)
    }; name the suite with --suite, or go back to the code of the run`,
  );
}
