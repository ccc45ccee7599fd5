// The command line of the runner's tests: as suites/main.ts, with a trainer and a report that are quick.
import { join } from "node:path";
import { main } from "../../../suites/main.ts";
import { fakeEngine } from "./fake_engine.ts";

Deno.exit(
  await main(Deno.args, {
    engine: fakeEngine,
    measureScript: new URL("./fake_measure.ts", import.meta.url),
    writeReport: async (runs, out) => {
      await Deno.mkdir(out, { recursive: true });
      await Deno.writeTextFile(join(out, "index.html"), `<p>${runs.join(" ")}</p>`);
    },
    compareRuns: (_runs, _out, { failOn }) =>
      Promise.resolve({ failed: failOn.length > 0, failures: failOn.map((rule) => `broken: ${rule}`) }),
    print: (text) => console.log(text),
    note: (text) => console.error(text),
  }),
);
