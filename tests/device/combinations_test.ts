import assert from "node:assert/strict";
import { ROLES } from "../../engine/graph/types.ts";
import { InputError } from "../../engine/input_error.ts";
import { IMPLEMENTED_METHODS } from "../../engine/train/methods.ts";
import { IMPLEMENTED_OPTIMIZERS } from "../../engine/train/methods.ts";
import { METHODS, trainsAdapters } from "../../results/methods.ts";
import { checkMethods, checkMethodSettings } from "../../suites/methods.ts";
import { assertClose } from "../support/numerics.ts";
import { type Combination, openTinyRuns, type TinyRun } from "../support/tiny_runs.ts";
import { isLongRun } from "../support/long_run.ts";
import { deviceTest, sharedDevice } from "../support/with_device.ts";

// Every method with every optimizer, every two methods that go together, and every
// largest set of methods that does: what goes together is read from the table that the
// command line uses, so that a new method is in here without a word. Methods together are
// run with AdamW and one more optimizer, each in turn; with every one in long runs.

const ACCUMULATION = "accumulation";
const PLAIN: Combination = { methods: [], optimizer: "adamw" };

/** Whether the table lets methods work together. */
function valid(methods: readonly string[]): boolean {
  try {
    const named = methods.filter((id) => id !== ACCUMULATION);
    checkMethods(named, "adamw");
    const gradientAccumulationSteps = methods.includes(ACCUMULATION) ? 2 : 1;
    checkMethodSettings(named, { clip: 0, gradientAccumulationSteps, optimizer: "adamw", methodOptions: {} });
    return true;
  } catch (error) {
    if (error instanceof InputError) return false;
    throw error;
  }
}

function subsets(items: readonly string[]): string[][] {
  return items.reduce<string[][]>((sets, item) => [...sets, ...sets.map((set) => [...set, item])], [[]]);
}

const methodIds = METHODS.map(({ id }) => id)
  .filter((id) => id === ACCUMULATION || IMPLEMENTED_METHODS.includes(id));
const savers = METHODS.filter(({ id, costsMemory }) => methodIds.includes(id) && !costsMemory)
  .map(({ id }) => id);
const singles = methodIds.map((id) => [id]);
const pairs = subsets(methodIds).filter((set) => set.length === 2 && valid(set));
/** Sets of methods that save memory to which no other one can be added. */
const stacks = subsets(savers).filter((set) =>
  valid(set) && savers.every((id) => set.includes(id) || !valid([...set, id]))
);

/** What a run holds, as its method's promise is put. */
interface Held {
  activations: number;
  /** With master copies. */
  weights: number;
  optimizer: number;
  /** Most gradients alive at any time. */
  gradients: number;
  trainable: number;
  losses: number[];
}

function heldBy({ result, plan, steps }: TinyRun): Held {
  const { activations, weights, masterWeights, optimizer } = result.bookedByRole;
  const arena = Math.max(...plan.programs.flatMap(({ live }) => live.map(({ gradients }) => gradients)));
  const persistent = plan.buffers.filter(({ kind }) => kind === "persistent")
    .reduce((sum, { bytesByRole }) => sum + bytesByRole.gradients, 0);
  return {
    activations,
    weights: weights + masterWeights,
    optimizer,
    gradients: arena + persistent,
    trainable: result.trainableParameters,
    losses: steps.map(({ loss }) => loss),
  };
}

/** Throws where a run does not hold less, or does not compute the same, as was promised. */
type Claim = (on: Held, off: Held) => void;

const fewer = (what: keyof Omit<Held, "losses">): Claim => (on, off) =>
  assert.ok(on[what] < off[what], `${what}: ${on[what]}, without it ${off[what]}`);
const identicalLosses: Claim = (on, off) => assert.deepEqual(on.losses, off.losses, "losses");
const adaptersAlone: Claim = (on, off) => {
  fewer("trainable")(on, off);
  fewer("gradients")(on, off);
  // SGD without momentum has no state to save.
  assert.ok(off.optimizer === 0 ? on.optimizer === 0 : on.optimizer < off.optimizer, "optimizer state");
};

/** What a method promises, against the same run without it. */
const PROMISES: Readonly<Record<string, readonly Claim[]>> = {
  accumulation: [fewer("activations")],
  checkpoint: [fewer("activations"), identicalLosses],
  fp16: [fewer("activations")],
  flash: [fewer("activations")],
  lora: [adaptersAlone],
  "qlora-nf4": [adaptersAlone, fewer("weights")],
  "qlora-int8": [adaptersAlone, fewer("weights")],
  "optimizer-in-backward": [fewer("gradients"), identicalLosses],
  // Logits of 64 words fit one chunk, so that it is the same step; over more words it has a test of its own.
  "whole-logits": [identicalLosses],
};

/** What an optimizer promises, against AdamW. */
const OPTIMIZER_PROMISES: Readonly<Record<string, (on: Held, off: Held, adapters: boolean) => void>> = {
  adamw: () => {},
  adafactor: fewer("optimizer"),
  // Tensors of fewer than 4096 elements keep f32 moments: here those of adapters all do.
  adamw8bit: (on, off, adapters) =>
    adapters ? assert.equal(on.optimizer, off.optimizer) : fewer("optimizer")(on, off),
  sgd: (on) => assert.equal(on.optimizer, 0),
};

const runs = openTinyRuns();
const { gpu } = await sharedDevice();
const finished = new Map<string, Promise<TinyRun>>();

/** The run of a combination; each is made once. */
function runOf({ methods, optimizer }: Combination): Promise<TinyRun> {
  const key = [...[...methods].sort(), optimizer].join();
  if (!finished.has(key)) finished.set(key, runs.then(({ run }) => run({ methods, optimizer })));
  return finished.get(key)!;
}

Deno.test.afterAll(async () => await (await runs)[Symbol.asyncDispose]());

function checkRun({ steps, result, plan }: TinyRun): void {
  const losses = steps.map(({ loss }) => loss);
  assert.ok(losses.every(Number.isFinite), `losses ${losses}`);
  // Data of which nothing is random: 6.1 falls below 1 with AdamW, below 5 with the slowest.
  const last = (losses.at(-1)! + losses.at(-2)!) / 2;
  assert.ok(last < 0.8 * losses[0], `losses ${losses}`);
  assert.equal(result.bookedPeakBytes, plan.peakBytes, "booked and planned bytes");
  for (const role of ROLES) assert.equal(result.bookedByRole[role], plan.bytesByRole[role], role);
}

/**
 * No method changes the loss before the first update by more than its precision; adapters start from nothing.
 */
async function checkFirstLoss(methods: readonly string[], run: TinyRun): Promise<void> {
  // 4 bits of NormalFloat leave a twentieth of each weight open, 8 bits a hundredth; f16 has 11, f32 24.
  const allowed = methods.includes("qlora-nf4")
    ? 0.05
    : methods.includes("qlora-int8")
    ? 0.01
    : methods.includes("fp16")
    ? 2e-3
    : 1e-6;
  const plain = await runOf(PLAIN);
  assertClose([run.steps[0].loss], [plain.steps[0].loss], allowed, "first loss");
}

/**
 * Each method keeps its promise against the same run without it, and leaves a trace in bytes or dispatches.
 */
async function checkPromises({ methods, optimizer }: Combination, run: TinyRun): Promise<void> {
  for (const id of methods) {
    assert.ok(PROMISES[id], `what ${id} promises is not written here`);
    const without = await runOf({ methods: methods.filter((other) => other !== id), optimizer });
    for (const promise of PROMISES[id]) promise(heldBy(run), heldBy(without));
    const same = ROLES.every((role) => run.result.bookedByRole[role] === without.result.bookedByRole[role]) &&
      run.result.dispatchesPerStep === without.result.dispatchesPerStep;
    assert.equal(same, id === "whole-logits", `${id}: the same bytes and dispatches as without it`);
  }
  assert.ok(OPTIMIZER_PROMISES[optimizer], `what ${optimizer} promises is not written here`);
  const withAdamw = await runOf({ methods, optimizer: "adamw" });
  OPTIMIZER_PROMISES[optimizer](heldBy(run), heldBy(withAdamw), trainsAdapters(methods));
}

/** The optimizers that a set of methods is run with. */
function optimizersFor(methods: readonly string[]): readonly string[] {
  const turn = [...pairs, ...stacks].findIndex((set) => set === methods);
  if (turn < 0 || isLongRun) return IMPLEMENTED_OPTIMIZERS;
  const others = IMPLEMENTED_OPTIMIZERS.filter((id) => id !== PLAIN.optimizer);
  return [PLAIN.optimizer, others[turn % others.length]];
}

const sets = [[], ...singles, ...pairs, ...stacks];
for (const methods of sets) {
  const name = methods.join(" + ") || "no method";
  const noF16 = methods.includes("fp16") && !gpu.kernels.target.shaderF16;
  const ignore = noF16;
  Deno.test(
    `${name}${noF16 ? " (the adapter lacks shader-f16)" : ""}`,
    { ...deviceTest, ignore },
    async (t) => {
      for (const optimizer of optimizersFor(methods)) {
        await t.step(optimizer, async () => {
          const run = await runOf({ methods, optimizer });
          checkRun(run);
          await checkFirstLoss(methods, run);
          await checkPromises({ methods, optimizer }, run);
        });
      }
    },
  );
}

Deno.test(
  "whole logits of 50 257 words: the losses of chunked ones, and 64 rows more at once",
  deviceTest,
  async () => {
    const { run, untrainedModel } = await runs;
    const model = await untrainedModel(50_257);
    // 320 rows, of which chunks have 256.
    const changes = { model, sequenceLength: 64, microBatchSize: 5, steps: 2 };
    const chunked = await run(PLAIN, changes);
    const whole = await run({ ...PLAIN, methods: ["whole-logits"] }, changes);
    assertClose(heldBy(whole).losses, heldBy(chunked).losses, 1e-6, "loss");
    assert.equal(
      whole.result.bookedByRole.workspace - chunked.result.bookedByRole.workspace,
      // Logits, and 24 parts of the gradient of 32 channels.
      4 * 64 * (50_260 + 24 * 32),
    );
    assert.ok(whole.result.dispatchesPerStep < chunked.result.dispatchesPerStep, "dispatches");
  },
);
