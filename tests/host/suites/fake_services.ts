import { join } from "node:path";
import type { Services } from "../../../suites/cli/command.ts";
import { fakeEngine } from "./fake_engine.ts";

/** What commands get in tests: a trainer and a report that are quick, and plain progress without colour. */
export function fakeServices(print: (text: string) => void, note: (text: string) => void): Services {
  return {
    engine: fakeEngine,
    workTree: () => Promise.resolve({ commit: "c".repeat(40), tree: "d".repeat(40) }),
    measureScript: new URL("./fake_measure.ts", import.meta.url),
    writeReport: async (runs, out) => {
      await Deno.mkdir(out, { recursive: true });
      await Deno.writeTextFile(join(out, "index.html"), `<p>${runs.join(" ")}</p>`);
    },
    compareRuns: (_runs, _out, { failOn }) =>
      Promise.resolve({ failed: failOn.length > 0, failures: failOn.map((rule) => `broken: ${rule}`) }),
    progress: { terminal: false, columns: 80, colour: false, writeLine: note, now: () => performance.now() },
    print,
    write: print,
    note,
  };
}
