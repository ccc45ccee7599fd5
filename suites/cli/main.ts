import process from "node:process";
import { InputError } from "../../engine/input_error.ts";
import { tuneLavapipe } from "../../mod.ts";
import { type Command, EXIT, type Services } from "./command.ts";
import { bench } from "./commands/bench.ts";
import { compare } from "./commands/compare.ts";
import { doctor } from "./commands/doctor.ts";
import { evaluate } from "./commands/eval.ts";
import { generate } from "./commands/generate.ts";
import { merge } from "./commands/merge.ts";
import { plan } from "./commands/plan.ts";
import { report } from "./commands/report.ts";
import { train } from "./commands/train.ts";
import { validate } from "./commands/validate.ts";
import { didYouMean } from "../did_you_mean.ts";
import { PROJECT } from "../environment.ts";
import { helpText, parseFlags } from "./flags.ts";
import { workTree } from "../work_tree.ts";

const COMMANDS: readonly Command[] = [
  bench,
  train,
  evaluate,
  generate,
  plan,
  report,
  compare,
  merge,
  doctor,
  validate,
];

/**
 * The command line: finds the command, parses its flags, runs it.
 *
 * @returns The exit code: 0 done, 1 a failure, 2 wrong usage or input, 130 interrupted.
 */
export async function main(args: readonly string[], services: Services): Promise<number> {
  const [name, ...rest] = args;
  try {
    if (name === undefined || name === "--help" || name === "-h" || name === "help") {
      services.print(overview());
      return name === undefined ? EXIT.usage : EXIT.done;
    }
    const names = COMMANDS.map(({ spec }) => spec.name);
    const command = COMMANDS.find(({ spec }) => spec.name === name);
    if (!command) {
      throw new InputError(`Unknown command ${name}: expected ${names.join(", ")}${didYouMean(name, names)}`);
    }
    const parsed = parseFlags(command.spec, rest);
    if (parsed) return await command.run(parsed, services);
    services.print(helpText(command.spec));
    return EXIT.done;
  } catch (error) {
    if (isInputError(error)) {
      services.note(error.message);
      return EXIT.usage;
    }
    services.note(error instanceof Error ? error.stack ?? error.message : String(error));
    return EXIT.failed;
  }
}

/** By name: the report has a class of its own, as it imports nothing of the engine. */
function isInputError(error: unknown): error is Error {
  return error instanceof InputError || (error instanceof Error && error.name === "InputError");
}

function overview(): string {
  const rows = COMMANDS.map(({ spec }) => `  ${spec.name.padEnd(10)}${spec.what.split(/[.:]/)[0]}`);
  return ["Usage: deno task COMMAND [arguments]", "", ...rows, "", "deno task COMMAND --help says more."]
    .join("\n");
}

/** Loaded when asked for: drawing charts takes a document model that training does without. */
async function loadReport(): Promise<typeof import("../../report/main.ts")> {
  // The document model's own use of Node's deprecated punycode is no news to the reader of a report.
  Object.assign(process, { noDeprecation: true });
  return await import("../../report/main.ts");
}

if (import.meta.main) {
  // Tasks run in the project's folder; paths on the command line are meant from where it was typed.
  const typedIn = Deno.env.get("INIT_CWD");
  if (typedIn !== undefined) Deno.chdir(typedIn);
  // Processes that measure inherit it. A program that uses the engine decides for itself.
  tuneLavapipe();
  const [{ engine }, { standardError }] = await Promise.all([
    import("../engine.ts"),
    import("./progress.ts"),
  ]);
  const services: Services = {
    engine,
    measureScript: new URL("../measure.ts", import.meta.url),
    workTree: (out) => workTree(PROJECT, out),
    writeReport: async (runs, out) => await (await loadReport()).writeReport(runs, out),
    answer: {
      document: async (runs) => await (await loadReport()).answerOf(runs),
      text: async (runs) => await (await loadReport()).answerText(runs),
    },
    compareRuns: async (runs, out, options) => await (await loadReport()).compareRuns(runs, out, options),
    progress: standardError(),
    print: (text) => console.log(text),
    write: (text) => process.stdout.write(text),
    note: (text) => console.error(text),
  };
  Deno.exit(await main(Deno.args, services));
}
