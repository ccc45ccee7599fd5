import assert from "node:assert/strict";
import { openSafetensors } from "../../../engine/formats/safetensors.ts";
import { parseModelConfig, readModelConfig } from "../../../engine/model/config.ts";
import { rotaryFrequencies, rotaryTable } from "../../../engine/model/rotary.ts";
import { assertClose } from "../../support/numerics.ts";

Deno.test("rotaryFrequencies() stretches slow rotations as transformers does for Llama 3", async () => {
  const folder = `${import.meta.dirname}/../../fixtures/llama3_rope/`;
  const config = await readModelConfig(`${folder}model`);
  assert.ok(config.family === "llama" && config.rotaryScaling);
  const settings = { headSize: config.headSize, base: config.rotaryBase, scaling: config.rotaryScaling };
  using file = await openSafetensors(`${folder}expected.safetensors`);
  const expected = await file.read("inverse_frequencies");
  const frequencies = rotaryFrequencies(settings);
  // Each on its own scale: they span four powers of ten. One unit in the last place of f32 is 1.2e-7.
  expected.forEach((frequency, i) => assertClose([frequencies[i]], [frequency], 1.2e-7, `frequency ${i}`));
  const plain = rotaryFrequencies({ ...settings, scaling: null });
  assert.equal(frequencies[0], plain[0], "fast ones stay");
  assertClose([frequencies[7]], [plain[7] / 8], 1e-7, "slow ones are divided by the factor");
});

Deno.test("rotaryTable() holds cosines, then sines, of position × frequency", () => {
  const table = rotaryTable(3, { headSize: 4, base: 100, scaling: null });
  const row = (p: number) => [Math.cos(p), Math.cos(p / 10), Math.sin(p), Math.sin(p / 10)];
  assertClose(table, [0, 1, 2].flatMap(row), 1e-7, "table");
});

Deno.test("every kind of scaled rotations has transformers' frequencies and lengths", async () => {
  const file = `${import.meta.dirname}/../../fixtures/families/rotations.json`;
  const cases = JSON.parse(await Deno.readTextFile(file)) as {
    config: Record<string, unknown>;
    sequence: number;
    frequencies: number[];
    length: number;
  }[];
  assert.equal(cases.length, 14);
  for (const { config: json, sequence, frequencies, length } of cases) {
    const config = parseModelConfig(json, "config.json");
    assert.ok(config.family === "llama" && config.rotaryScaling);
    const { headSize, rotaryBase: base, rotaryScaling: scaling } = config;
    const what = `${JSON.stringify(scaling)} at ${sequence}`;
    const settings = { headSize, base, scaling };
    assertClose(rotaryFrequencies(settings, sequence), frequencies, 2e-7, what);
    const [cosine] = rotaryTable(sequence, settings);
    assert.ok(Math.abs(cosine - length) < 1e-6, `${what}: cosines of ${cosine}, expected ${length}`);
  }
});
