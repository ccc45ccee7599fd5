// Training steps of this engine and of PyTorch on the same GPU: `deno task bench:gpu --help`.
import { resolve } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { InputError } from "../../engine/input_error.ts";
import { EXIT } from "../../suites/cli/command.ts";
import { type CommandSpec, helpText, parseFlags } from "../../suites/cli/flags.ts";
import { applyGpuFlags, GPU_FLAGS } from "../../suites/cli/gpu_flags.ts";
import { compareGpu, gpuComparisonText, type SidedRun } from "./gpu_comparison.ts";
import {
  DEFAULT_ENGINE_VARIANTS,
  ENGINE_VARIANTS,
  engineAdapter,
  type GpuCase,
  type GpuRun,
  type GpuSteps,
  lastLine,
  parseCount,
  parseGpuCase,
  parseVariants,
  runEngine,
} from "./gpu_step.ts";
import { pythonWith } from "./peers/peer_process.ts";

const TORCH_VARIANTS = ["f32-eager", "f32-sdpa", "bf16-sdpa", "f16-sdpa", "bf16-eager", "f16-eager"];
const DEFAULT_TORCH_VARIANTS = TORCH_VARIANTS.slice(0, 4);

const SPEC: CommandSpec = {
  name: "bench:gpu",
  what:
    "Trains the same model in this engine and in PyTorch, one after the other on the same GPU, and prints times, " +
    "peaks and their ratios. PyTorch is that of THREEFOLD_PYTHON, or of the system's Python.",
  positionals: { name: "CASE...", what: "MODEL:bB:tT, as in gpt2:b4:t1024", least: 1, most: 100 },
  flags: {
    engine: {
      value: "LIST",
      what: `of ${Object.keys(ENGINE_VARIANTS).join(", ")}, or none`,
      default: DEFAULT_ENGINE_VARIANTS.join(","),
    },
    torch: {
      value: "LIST",
      what: `of ${TORCH_VARIANTS.join(", ")}, or none`,
      default: DEFAULT_TORCH_VARIANTS.join(","),
    },
    rounds: { value: "N", what: "how often both sides take turns", default: "2" },
    steps: { value: "N", what: "timed steps in a round", default: "15" },
    warmup: { value: "N", what: "steps before them, in every round", default: "5" },
    device: { value: "cuda|cpu", what: "what PyTorch computes on", default: "cuda" },
    out: { value: "FILE", what: "JSON file for every sample; written after each run" },
    ...GPU_FLAGS,
  },
  examples: [
    "deno task bench:gpu gpt2:b4:t1024 bert-large:b4:t512 --out gpu.json",
    "deno task bench:gpu gpt2:b8:t1024 --engine f16-flash --torch bf16-sdpa",
    "deno task bench:gpu gpt2-nano:b2:t64 --device cpu --steps 3",
  ],
};

interface Options extends GpuSteps {
  engine: readonly string[];
  torch: readonly string[];
  rounds: number;
  device: string;
}

/** All runs of one case. */
interface CaseRuns {
  case: string;
  runs: SidedRun[];
}

/** PyTorch's lines for all variants of a case, in one process; those it did not print, with the reason. */
async function runTorch(
  gpuCase: GpuCase,
  { torch, steps, warmup, device }: Options,
  python: string | null,
): Promise<GpuRun[]> {
  const failed = (variant: string, error: string): GpuRun => {
    const [dtype, attention] = variant.split("-");
    return { case: gpuCase.name, dtype, attention, error };
  };
  if (python === null) {
    return torch.map((variant) =>
      failed(variant, "no Python with torch found: name one in THREEFOLD_PYTHON")
    );
  }
  const { stdout, stderr } = await new Deno.Command(python, {
    args: [
      ...[
        fileURLToPath(new URL("peers/torch_gpu.py", import.meta.url)),
        `${gpuCase.name}:${torch.join(",")}`,
      ],
      ...["--steps", `${steps}`, "--warmup", `${warmup}`, "--device", device, "--json"],
    ],
    stdout: "piped",
    stderr: "piped",
  }).output();
  const lines: GpuRun[] = new TextDecoder().decode(stdout).split("\n")
    .filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));
  return torch.map((variant) =>
    lines.find(({ dtype, attention }) => `${dtype}-${attention}` === variant) ??
      failed(variant, lastLine(stderr))
  );
}

/** Both sides in turns, so that what changes on the machine meanwhile meets both. */
async function runCase(
  gpuCase: GpuCase,
  options: Options,
  { python, add }: { python: string | null; add: (run: SidedRun) => Promise<void> },
): Promise<void> {
  for (let round = 0; round < options.rounds; round++) {
    for (const variant of options.engine) {
      await add({ side: "threefold", round, run: await runEngine(gpuCase, variant, options) });
    }
    if (options.torch.length === 0) continue;
    for (const run of await runTorch(gpuCase, options, python)) await add({ side: "torch", round, run });
  }
}

function runText({ side, round, run }: SidedRun): string {
  const outcome = "error" in run ? `did not run: ${run.error}` : `${run.medianMs.toFixed(2)} ms`;
  return `${run.case}: round ${round + 1}, ${side} ${run.dtype}-${run.attention} ${outcome}`;
}

/** A side's variants: those named, none, or those that are run by default. */
function variantsOf(text: string | undefined, known: readonly string[], normal: readonly string[]) {
  return text === undefined ? normal : text === "none" ? [] : parseVariants(text, known);
}

function optionsOf(values: Readonly<Record<string, string>>): Options {
  const { device = "cuda" } = values;
  if (!["cuda", "cpu"].includes(device)) {
    throw new InputError(`Flag --device is ${device}: expected cuda or cpu`);
  }
  return {
    engine: variantsOf(values.engine, Object.keys(ENGINE_VARIANTS), DEFAULT_ENGINE_VARIANTS),
    torch: variantsOf(values.torch, TORCH_VARIANTS, DEFAULT_TORCH_VARIANTS),
    rounds: parseCount(values.rounds ?? "2", "Flag --rounds"),
    steps: parseCount(values.steps ?? "15", "Flag --steps"),
    warmup: parseCount(values.warmup ?? "5", "Flag --warmup"),
    device,
  };
}

/** @returns The exit code: 0 done, 1 nothing ran, 2 wrong usage. */
export async function main(args: readonly string[]): Promise<number> {
  try {
    const parsed = parseFlags(SPEC, args);
    if (!parsed) {
      console.log(helpText(SPEC));
      return EXIT.done;
    }
    const cases = parsed.positionals.map(parseGpuCase);
    const options = optionsOf(parsed.values);
    if (options.engine.length + options.torch.length === 0) {
      throw new InputError("Nothing to run: --engine and --torch are both none");
    }
    applyGpuFlags(parsed);
    return await compareCases(cases, options, parsed.values.out);
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    console.error(error.message);
    return EXIT.usage;
  }
}

async function compareCases(
  cases: readonly GpuCase[],
  options: Options,
  out: string | undefined,
): Promise<number> {
  const document: {
    options: Options;
    adapter: Awaited<ReturnType<typeof engineAdapter>>;
    cases: CaseRuns[];
  } = {
    options,
    adapter: null,
    cases: [],
  };
  const save = async () => {
    if (out === undefined) return;
    // Tasks run in the project's folder; the path is meant from where it was typed.
    const path = resolve(Deno.env.get("INIT_CWD") ?? ".", out);
    const compared = document.cases.map((each) => ({ ...each, ratios: compareGpu(each.runs).ratios }));
    await Deno.writeTextFile(path, JSON.stringify({ ...document, cases: compared }, null, 1));
  };
  await save(); // a path that cannot be written is said now, not after an hour
  const python = options.torch.length > 0 ? await pythonWith(["torch"]) : null;
  for (const gpuCase of cases) {
    const runs: SidedRun[] = [];
    document.cases.push({ case: gpuCase.name, runs });
    const add = async (run: SidedRun) => {
      runs.push(run);
      console.error(runText(run));
      await save();
    };
    await runCase(gpuCase, options, { python, add });
    console.log(gpuComparisonText(gpuCase.name, compareGpu(runs)));
  }
  if (options.engine.length > 0) document.adapter = await engineAdapter();
  await save();
  const all = document.cases.flatMap(({ runs }) => runs);
  const torch = all.find(({ side, run }) => side === "torch" && !("error" in run))?.run;
  console.log(
    `threefold: ${document.adapter ? `${document.adapter.engine} on ${document.adapter.gpu}` : "not run"}`,
  );
  console.log(
    `torch: ${torch && "torch" in torch ? `${torch.torch} on ${torch.gpu ?? "the CPU"}` : "not run"}`,
  );
  return all.some(({ run }) => !("error" in run)) ? EXIT.done : EXIT.failed;
}

if (import.meta.main) process.exit(await main(Deno.args));
