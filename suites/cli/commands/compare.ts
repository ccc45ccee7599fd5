import { join } from "node:path";
import { type Command, EXIT } from "../command.ts";

/** `deno task compare`: differences between runs, across hardware or versions. */
export const compare: Command = {
  spec: {
    name: "compare",
    what: "Compares runs with the first one and writes a page of the differences.",
    positionals: { name: "RUN RUN...", what: "two or more run folders", least: 2, most: Infinity },
    flags: {
      "out": { value: "DIR", what: "where the page goes", default: "compare/ in the last run folder" },
      "fail-on": {
        value: "RULE",
        what:
          "exit with 1 where a ratio to the first run breaks the rule, as tokensPerSecond<0.9 or bookedPeakBytes>1%, or where " +
          "there is no figure; commas mean or",
      },
    },
    examples: [
      "deno task compare results/paper/a results/paper/b",
      "deno task compare before after --fail-on 'tokensPerSecond<0.9'",
    ],
  },
  async run({ positionals, values }, { compareRuns, print, note }) {
    const out = values.out ?? join(positionals.at(-1)!, "compare");
    const failOn = values["fail-on"]?.split(",") ?? [];
    const { failed, failures } = await compareRuns([...positionals], out, { failOn });
    for (const failure of failures) note(failure);
    print(join(out, "index.html"));
    return failed ? EXIT.failed : EXIT.done;
  },
};
