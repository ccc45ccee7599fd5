import { join } from "node:path";
import { type Command, EXIT } from "../command.ts";

/** `deno task report`: pages from run folders. */
export const report: Command = {
  spec: {
    name: "report",
    what: "Writes the report of one or more run folders. Reads their records and nothing else.",
    positionals: { name: "RUN...", what: "run folders, each with a run.json", least: 1, most: Infinity },
    flags: { out: { value: "DIR", what: "where the pages go", default: "report/ in the first run folder" } },
    examples: [
      "deno task report bench/paper-software",
      "deno task report results/paper/* --out site",
    ],
  },
  async run({ positionals, values }, { writeReport, print }) {
    const out = values.out ?? join(positionals[0], "report");
    await writeReport([...positionals], out);
    print(join(out, "index.html"));
    return EXIT.done;
  },
};
