// Runs `plan` with the flags given, in a process of its own, and prints the processor time that it has taken
// from its start, in seconds: without the system's share, which on busy machines is that of others.
import process from "node:process";
import { engine } from "../../suites/engine.ts";
import { main } from "../../suites/cli/main.ts";
import { standardError } from "../../suites/cli/progress.ts";

if (import.meta.main) {
  const code = await main(["plan", ...Deno.args], {
    engine,
    measureScript: new URL("../../suites/measure.ts", import.meta.url),
    writeReport: () => Promise.reject(new Error("plans write no report")),
    compareRuns: () => Promise.reject(new Error("plans compare nothing")),
    progress: standardError(),
    print: () => {},
    write: () => {},
    note: (text) => console.error(text),
  });
  console.log(process.cpuUsage().user / 1e6);
  Deno.exit(code);
}
