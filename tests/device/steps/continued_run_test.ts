import assert from "node:assert/strict";
import { main } from "../../../suites/cli/main.ts";
import { engine } from "../../../suites/engine.ts";
import { fakeServices } from "../../host/suites/fake_services.ts";
import { TemporaryFolder } from "../../host/formats/temporary_folder.ts";
import { languageModelFixture } from "../../support/model_fixture.ts";
import { deviceTest } from "../../support/with_device.ts";

const fixture = await languageModelFixture("gpt2_tiny");
const DATA = ["--data", fixture.tokenFile, "--seq-len", "16", "--batch-size", "8", "--seed", "5"];
const COSINE = ["--schedule", "cosine", "--lr", "0.01", "--warmup-steps", "2"];

/** Runs `train` on the real engine. */
async function train(...args: string[]): Promise<{ code: number; out: string[]; notes: string[] }> {
  const [out, notes]: [string[], string[]] = [[], []];
  const services = { ...fakeServices((text) => out.push(text), (text) => notes.push(text)), engine };
  return { code: await main(["train", ...args], services), out, notes };
}

interface Step {
  step: number;
  loss: number;
  learningRate: number;
}

/** The steps of a run with `--json`. */
async function stepsOf(...args: string[]): Promise<{ steps: Step[]; notes: string[] }> {
  const { code, out, notes } = await train(...args, ...DATA, "--json");
  assert.equal(code, 0, notes.join("\n"));
  const steps = out.map((line) => JSON.parse(line)).filter(({ done }) => !done);
  return { steps: steps.map(({ step, loss, learningRate }) => ({ step, loss, learningRate })), notes };
}

/** A model's folder without what it says of dropout. */
function withoutDropout(): TemporaryFolder {
  const folder = new TemporaryFolder();
  const { resid_pdrop: _1, embd_pdrop: _2, attn_pdrop: _3, ...config } = JSON.parse(
    Deno.readTextFileSync(`${fixture.modelFolder}/config.json`),
  );
  folder.file("config.json", JSON.stringify(config));
  Deno.copyFileSync(`${fixture.modelFolder}/model.safetensors`, folder.file("model.safetensors"));
  return folder;
}

/** Changes the state of a saved run. */
function editState(folder: TemporaryFolder, edit: (state: Record<string, unknown>) => void): void {
  const path = folder.file("training_state.json");
  const state = JSON.parse(Deno.readTextFileSync(path));
  edit(state);
  Deno.writeTextFileSync(path, JSON.stringify(state));
}

Deno.test(
  "4 + 4 steps of a cosine give the losses and rates of 8, and nothing need be said a second time",
  deviceTest,
  async () => {
    using saved = new TemporaryFolder();
    const start = ["--model", fixture.modelFolder, ...COSINE];
    const whole = await stepsOf(...start, "--steps", "8");
    const first = await stepsOf(...start, "--steps", "4", "--schedule-steps", "8", "--save", saved.path);
    const rest = await stepsOf("--model", saved.path, "--steps", "4");
    assert.deepEqual([...first.steps, ...rest.steps], whole.steps);
    assert.equal(new Set(whole.steps.map(({ learningRate }) => learningRate)).size, 7, "rates of a curve");
    assert.ok(rest.notes.includes("continuing at step 4"), rest.notes.join("\n"));

    const text = await train("--model", saved.path, "--steps", "4", ...DATA);
    assert.ok(text.notes.some((line) => line.startsWith("step 5/8: ")), text.notes.join("\n"));
    assert.ok(text.notes.some((line) => line.startsWith("step 8/8: ")), text.notes.join("\n"));
    assert.ok(!text.notes.some((line) => line.includes("past the end")), text.notes.join("\n"));

    // What contradicts the saved schedule, and what goes past its end.
    const other = await train("--model", saved.path, "--steps", "4", "--schedule-steps", "6", ...DATA);
    assert.equal(other.code, 2);
    assert.match(other.notes.at(-1)!, /with --schedule-steps 6: the run it was saved from has 8;/);
    const longer = await stepsOf("--model", saved.path, "--steps", "5");
    assert.ok(
      longer.notes.includes("step 9 lies past the end of a cosine over 8 steps: the rate stays at 0.001"),
    );
    assert.equal(longer.steps.at(-1)!.learningRate, 0.001);
    const anew = await stepsOf("--model", saved.path, "--steps", "1", "--fresh");
    assert.deepEqual([anew.steps[0].step, anew.steps[0].learningRate], [0, 0.001]);
    const differently = await stepsOf("--model", saved.path, "--steps", "1", "--no-shuffle");
    assert.equal(differently.steps[0].step, 0);
    assert.ok(
      differently.notes.includes(
        `starting a new run from the weights of ${saved.path}: shuffle is false, was true`,
      ),
      differently.notes.join("\n"),
    );

    // As versions before wrote it, and damaged.
    editState(saved, (state) => state.schedule = { ...state.schedule as object, steps: "8" });
    const damaged = await train("--model", saved.path, "--steps", "4", ...DATA);
    assert.equal(damaged.code, 2);
    assert.match(damaged.notes.at(-1)!, /training_state\.json: schedule\.steps is "8", expected a number/);
    editState(saved, (state) => {
      delete state.schedule;
      delete state.dropout;
    });
    const old = await stepsOf("--model", saved.path, "--steps", "4", ...COSINE);
    assert.deepEqual(old.steps, rest.steps);
    assert.ok(
      old.notes.some((line) => line.startsWith("continuing at step 4; the version that saved ")),
      old.notes.join("\n"),
    );
  },
);

Deno.test(
  "a folder's model drops what its configuration says, and the first line says so",
  deviceTest,
  async () => {
    using folder = withoutDropout();
    using saved = new TemporaryFolder();
    const model = ["--model", folder.path];
    const followed = await stepsOf(...model, "--steps", "4");
    assert.equal(
      followed.notes[0],
      `dropout resid_pdrop 0.1, embd_pdrop 0.1, attn_pdrop 0.1, as transformers reads ${folder.path}/config.json; ` +
        "--dropout 0 turns it off",
    );
    assert.deepEqual((await stepsOf(...model, "--steps", "4", "--dropout", "0.1")).steps, followed.steps);
    const off = await stepsOf(...model, "--steps", "4", "--dropout", "0", "--save", saved.path);
    assert.deepEqual(off.notes, []);
    const [dropped, whole] = [followed, off].map(({ steps }) => steps.map(({ loss }) => loss));
    dropped.forEach((loss, step) => assert.notEqual(loss, whole[step]));

    // Going on, a run drops what it dropped before, whatever the configuration says, and so does one saved by
    // a version that did not keep it.
    const further = await stepsOf(...model, "--steps", "5", "--dropout", "0");
    for (const [how, edit] of [["that run, 0", null], ["not kept: taken as 0", "dropout"]] as const) {
      if (edit) editState(saved, (state) => delete state[edit]);
      const rest = await stepsOf("--model", saved.path, "--steps", "1");
      assert.deepEqual(rest.steps, further.steps.slice(4));
      assert.match(rest.notes[0], /^dropout resid_pdrop 0\.1/);
      assert.match(rest.notes[1], new RegExp(`^continuing at step 4; .*dropout .*${how}$`));
    }
  },
);

Deno.test("a preset drops nothing, before it is saved and after", deviceTest, async () => {
  using saved = new TemporaryFolder();
  const preset = ["--model", "gpt2-pico"];
  const whole = await stepsOf(...preset, "--steps", "3");
  const first = await stepsOf(...preset, "--steps", "2", "--save", saved.path);
  assert.deepEqual(first.notes, []);
  const config = JSON.parse(Deno.readTextFileSync(saved.file("config.json")));
  assert.deepEqual([config.resid_pdrop, config.embd_pdrop, config.attn_pdrop], [0, 0, 0]);
  const rest = await stepsOf("--model", saved.path, "--steps", "1");
  assert.deepEqual([...first.steps, ...rest.steps], whole.steps);
  assert.match(
    rest.notes[0],
    /^dropout resid_pdrop 0, embd_pdrop 0, attn_pdrop 0, as transformers reads [^;]*$/,
  );
  // A new run from its weights has none either; what is asked for is kept.
  const anew = await stepsOf("--model", saved.path, "--steps", "1", "--fresh");
  assert.deepEqual(
    anew.steps,
    (await stepsOf("--model", saved.path, "--steps", "1", "--fresh", "--dropout", "0")).steps,
  );
  const dropping = await stepsOf(...preset, "--steps", "3", "--dropout", "0.2");
  await stepsOf(...preset, "--steps", "2", "--dropout", "0.2", "--save", saved.path);
  assert.deepEqual((await stepsOf("--model", saved.path, "--steps", "1")).steps, dropping.steps.slice(2));
});
