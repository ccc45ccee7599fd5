// The paper's tier for a GPU that is had for half an hour: `deno task bench:short --help`.
import { join, resolve } from "node:path";
import process from "node:process";
import { InputError } from "../../engine/input_error.ts";
import { GPU_PROVIDERS, providerNamed } from "../../mod.ts";
import { EXIT } from "../../suites/cli/command.ts";
import { type CommandSpec, helpText, parseFlags } from "../../suites/cli/flags.ts";
import { engine } from "../../suites/engine.ts";
import { PROJECT } from "../../suites/environment.ts";
import { loadSuite } from "../../suites/suite_checks.ts";
import { type SuiteFile, tieredSuite } from "../../suites/suite.ts";

const TIER = "gpu-short";

const SPEC: CommandSpec = {
  name: "bench:short",
  what:
    `Runs the tier ${TIER} of a suite with each implementation of WebGPU, phase by phase in turns, so that both have had the ` +
    "same minutes whenever the machine is taken away. The run folder of each is written to one tar file after each phase. " +
    "The same command goes on where it was stopped; elsewhere it does so with the folders unpacked into DIR.",
  positionals: { name: "DIR", what: "folder of the run folders and their archives", least: 1, most: 1 },
  flags: {
    suite: { value: "SUITE", what: "a suite file with that tier", default: "suites/paper.yaml" },
    gpu: { value: "LIST", what: `of ${GPU_PROVIDERS.join(", ")}`, default: GPU_PROVIDERS.join(",") },
  },
  examples: ["deno task bench:short bench/short", "deno task bench:short bench/short --gpu dawn"],
};

/** Runs a phase, or what is left after all of them, and passes on how it ended. */
async function runPhase(suite: string, folder: string, gpu: string, phase: string | null): Promise<number> {
  const out = join(folder, gpu);
  const args = [
    suite,
    "--full",
    "--tier",
    TIER,
    "--gpu",
    gpu,
    "--out",
    out,
    "--resume",
    "--archive",
    `${out}.tar`,
  ];
  const filter = phase === null ? [] : ["--filter", `phase=${phase}`];
  const main = join(PROJECT, "suites", "cli", "main.ts");
  const child = new Deno.Command(Deno.execPath(), { args: ["run", "-A", main, "bench", ...args, ...filter] })
    .spawn();
  return (await child.status).code;
}

/**
 * Runs all phases with all implementations.
 *
 * @returns The exit code: 0, or that of the first run that ended otherwise.
 */
async function main(args: readonly string[]): Promise<number> {
  try {
    const parsed = parseFlags(SPEC, args);
    if (!parsed) {
      console.log(helpText(SPEC));
      return EXIT.done;
    }
    const { positionals: [folder], values } = parsed;
    // Tasks run in the project's folder; paths are meant from where they were typed.
    const given = (path: string) => resolve(Deno.env.get("INIT_CWD") ?? ".", path);
    const gpus = (values.gpu ?? GPU_PROVIDERS.join(",")).split(",").map((name) =>
      providerNamed(name, "--gpu")
    );
    const suite = values.suite === undefined ? join(PROJECT, "suites", "paper.yaml") : given(values.suite);
    const file = await loadSuite(suite, engine);
    if (!file.suite.tiers?.[TIER]) {
      throw new InputError(`Cannot run ${values.suite ?? suite} (--suite): expected one with a tier ${TIER}`);
    }
    return await inTurns(suite, given(folder), gpus, phasesOf(file));
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    console.error(error.message);
    return EXIT.usage;
  }
}

/** The phases that train, then what is left: plans, and the page. */
function phasesOf(file: SuiteFile): (string | null)[] {
  const trained = tieredSuite(file, TIER, false).phases.filter(({ kind }) => kind !== "plan");
  return [...trained.map(({ name }) => name), null];
}

async function inTurns(
  suite: string,
  folder: string,
  gpus: readonly string[],
  phases: readonly (string | null)[],
): Promise<number> {
  let failed: number = EXIT.done;
  for (const phase of phases) {
    for (const gpu of gpus) {
      const code = await runPhase(suite, folder, gpu, phase);
      if (code === EXIT.interrupted || code === EXIT.usage) return code;
      if (failed === EXIT.done) failed = code;
    }
  }
  return failed;
}

if (import.meta.main) process.exit(await main(Deno.args));
