// The same GPT-2 training step in this engine and in its peers, side by side: `deno task peers --help`.
import process from "node:process";
import { InputError } from "../../../engine/input_error.ts";
import { EXIT } from "../../../suites/cli/command.ts";
import { type CommandSpec, helpText, parseFlags } from "../../../suites/cli/flags.ts";
import { type Bound, checkBounds, compareRuns, comparisonText, ENGINE } from "./comparison.ts";
import type { PeerRow, PeerRun } from "./comparison.ts";
import { SHAPES, writeJob } from "./job.ts";
import { ENGINE_PROGRAM, PACKAGED_PEERS, PeerProcess, torchPeer, writeWeights } from "./peer_process.ts";
import type { PeerProgram } from "./peer_process.ts";
import type { PeerShape } from "./protocol.ts";

const PEER_NAMES = [...Object.keys(PACKAGED_PEERS), "torch"];

const SPEC: CommandSpec = {
  name: "peers",
  what:
    "Trains the same GPT-2 in this engine, jax-js, TensorFlow.js and PyTorch (CPU), a step of each in turn, and prints " +
    "times, GPU bytes and losses side by side. The packages are fetched when it is first run.",
  flags: {
    shapes: { value: "LIST", what: `of ${Object.keys(SHAPES).join(", ")}`, default: "S,M" },
    peers: { value: "LIST", what: `of ${PEER_NAMES.join(", ")}, or none`, default: "all there are" },
    rounds: { value: "N", what: "timed steps of each peer", default: "5" },
    warmup: { value: "N", what: "steps of each peer before them", default: "2" },
    enforce: { what: "exit with 1 where a bound is missed or not measured" },
    json: { what: "one JSON document on standard output, with every sample" },
  },
  examples: [
    "deno task peers",
    "deno task peers --shapes S --peers jax-js,tfjs --rounds 9 --json",
    "THREEFOLD_PYTHON=~/venv/bin/python deno task peers --peers torch",
  ],
};

/** One shape's result. */
interface Comparison {
  shape: PeerShape;
  rows: PeerRow[];
  bounds: Bound[];
  runs: PeerRun[];
  /** Peers that were asked for and could not run, with the reason. */
  missing: Record<string, string>;
}

function list(text: string, what: string, known: readonly string[]): string[] {
  const names = text.split(",");
  const unknown = names.find((name) => !known.includes(name));
  if (unknown === undefined) return [...new Set(names)];
  throw new InputError(`Unknown ${what} ${unknown}: expected ${known.join(", ")}`);
}

function count(text: string, flag: string, least: number): number {
  const number = Number(text);
  if (Number.isInteger(number) && number >= least && number <= 1000) return number;
  throw new InputError(`Flag --${flag} is ${text}: expected a whole number from ${least} to 1000`);
}

/** The programs asked for, and why the others cannot run. */
async function programsOf(peers: readonly string[]) {
  const programs: Record<string, PeerProgram> = { [ENGINE]: ENGINE_PROGRAM };
  const missing: Record<string, string> = {};
  for (const peer of peers) {
    const program = peer === "torch" ? await torchPeer() : PACKAGED_PEERS[peer];
    if (program) programs[peer] = program;
    else missing[peer] = "no Python with torch and numpy found: name one in THREEFOLD_PYTHON";
  }
  return { programs, missing };
}

/** All steps at one shape: processes stay alive, and one computes at a time. */
async function runShape(
  shape: PeerShape,
  { peers, rounds, warmup, note }: {
    peers: readonly string[];
    rounds: number;
    warmup: number;
    note: (text: string) => void;
  },
): Promise<Comparison> {
  const { programs, missing } = await programsOf(peers);
  const folder = await Deno.makeTempDir({ prefix: "threefold-peers-" });
  const open: { run: PeerRun; peer: PeerProcess }[] = [];
  const onInterrupt = () => {
    // Peers end by themselves when their input does.
    Deno.removeSync(folder, { recursive: true });
    Deno.exit(EXIT.interrupted);
  };
  Deno.addSignalListener("SIGINT", onInterrupt);
  try {
    const job = await writeJob(folder, shape, warmup + rounds);
    await writeWeights(job);
    for (const [name, program] of Object.entries(programs)) {
      const peer = new PeerProcess(program, job);
      try {
        const { version, adapter } = await peer.ready();
        const run: PeerRun = { peer: name, version, adapter, warmup: [], timed: [] };
        open.push({ run, peer });
        for (let step = 0; step < warmup; step++) run.warmup.push(await peer.step());
        note(`${shape.name}: ${name} is ready (${version} on ${adapter})`);
      } catch (error) {
        await peer.close();
        if (name === ENGINE) throw new Error(`The engine could not run: ${(error as Error).message}`);
        if (open.at(-1)?.run.peer === name) open.pop();
        missing[name] = (error as Error).message;
        note(`${shape.name}: ${name} cannot run: ${missing[name]}`);
      }
    }
    for (let round = 0; round < rounds; round++) {
      // Another one goes first every round, so that none always follows the same other.
      for (let i = 0; i < open.length; i++) {
        const { run, peer } = open[(round + i) % open.length];
        run.timed.push(await peer.step());
      }
      const times = open.map(({ run: { peer, timed } }) =>
        `${peer} ${timed[round].ms.toFixed(0)} (${timed[round].cpuMs.toFixed(0)})`
      );
      note(`${shape.name}: round ${round + 1} of ${rounds}, ms (of processor time): ${times.join(", ")}`);
    }
    const runs = open.map(({ run }) => run);
    const rows = compareRuns(runs);
    return { shape, rows, bounds: checkBounds(shape, rows), runs, missing };
  } finally {
    Deno.removeSignalListener("SIGINT", onInterrupt);
    await Promise.all(open.map(({ peer }) => peer.close()));
    await Deno.remove(folder, { recursive: true });
  }
}

/** @returns The exit code: 0 done, 1 a bound was not held where that is enforced, 2 wrong usage. */
export async function main(args: readonly string[]): Promise<number> {
  const note = (text: string) => console.error(text);
  try {
    const parsed = parseFlags(SPEC, args);
    if (!parsed) {
      console.log(helpText(SPEC));
      return EXIT.done;
    }
    const { values, switches } = parsed;
    const shapes = list(values.shapes ?? "S,M", "shape", Object.keys(SHAPES));
    const peers = values.peers === "none"
      ? []
      : values.peers === undefined
      ? PEER_NAMES
      : list(values.peers, "peer", PEER_NAMES);
    const rounds = count(values.rounds ?? "5", "rounds", 1);
    const warmup = count(values.warmup ?? "2", "warmup", 1);
    const comparisons: Comparison[] = [];
    for (const name of shapes) {
      const comparison = await runShape(SHAPES[name], { peers, rounds, warmup, note });
      comparisons.push(comparison);
      if (!switches.has("json")) console.log(textOf(comparison));
    }
    if (switches.has("json")) console.log(JSON.stringify({ rounds, warmup, comparisons }, null, 1));
    const held = comparisons.every(({ bounds }) => bounds.every(({ holds }) => holds === true));
    return switches.has("enforce") && !held ? EXIT.failed : EXIT.done;
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    note(error.message);
    return EXIT.usage;
  }
}

function textOf({ shape, rows, bounds, runs, missing }: Comparison): string {
  return [
    comparisonText(shape, rows, bounds),
    ...runs.map(({ peer, version, adapter }) => `  ${peer}: ${version}, ${adapter}`),
    ...Object.entries(missing).map(([peer, reason]) => `  ${peer} did not run: ${reason}`),
    "",
  ].join("\n");
}

if (import.meta.main) process.exit(await main(Deno.args));
