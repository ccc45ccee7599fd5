import { join } from "node:path";
import { type Command, EXIT } from "../command.ts";

/** `deno task report`: pages from run folders. */
export const report: Command = {
  spec: {
    name: "report",
    what: "Writes the report of one or more run folders. Reads their records and nothing else.",
    positionals: { name: "RUN...", what: "run folders, each with a run.json", least: 1, most: Infinity },
    flags: {
      out: { value: "DIR", what: "where the pages go", default: "report/ in the first run folder" },
      json: {
        what: "print every claim and configuration as one JSON document; pages only where --out is given",
      },
    },
    examples: [
      "deno task report bench/paper-software",
      "deno task report results/paper/* --out site",
      "deno task report bench/paper-software --json",
    ],
  },
  async run({ positionals, values, switches }, { writeReport, answer, print, note }) {
    const isJson = switches.has("json") && answer !== undefined;
    const out = values.out ?? join(positionals[0], "report");
    if (!isJson || values.out !== undefined) {
      await writeReport([...positionals], out);
      (isJson ? note : print)(join(out, "index.html"));
    }
    if (isJson) print(JSON.stringify(await answer.document([...positionals]), null, 2));
    return EXIT.done;
  },
};
