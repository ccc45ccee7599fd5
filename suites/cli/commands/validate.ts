import { type Command, EXIT } from "../command.ts";
import { forecastCells } from "../../forecast.ts";
import { type Tier, TIERS } from "../../schema.ts";
import { tieredSuite } from "../../suite.ts";
import { loadSuite } from "../../suite_checks.ts";

/** `deno task validate`: checks a suite without running it. */
export const validate: Command = {
  spec: {
    name: "validate",
    what:
      "Checks a suite: keys, values, names, and that every cell can be. Names file, line and column of each problem.",
    positionals: { name: "SUITE", what: "a suite file", least: 1, most: 1 },
    flags: { json: { what: "print what the suite runs as JSON" } },
    examples: ["deno task validate suites/paper.yaml"],
  },
  async run({ positionals: [path], switches }, { engine, print }) {
    const file = await loadSuite(path, engine);
    const tiers = file.suite.tiers ? Object.keys(file.suite.tiers) as Tier[] : [TIERS[0]];
    const counts = tiers.flatMap((tier) =>
      [false, true].map((quick) => {
        const tiered = tieredSuite(file, tier, quick);
        return {
          tier,
          quick,
          cells: forecastCells(tiered).length,
          phases: tiered.phases.map(({ name }) => name),
        };
      })
    );
    if (switches.has("json")) print(JSON.stringify({ suite: path, hash: file.hash, tiers: counts }));
    else {
      print(`${path} is valid: ${file.suite.title}`);
      for (const { tier, quick, cells, phases } of counts) {
        print(`  ${tier}${quick ? " --quick" : ""}: ${cells} cells in ${phases.join(", ")}`);
      }
    }
    return EXIT.done;
  },
};
