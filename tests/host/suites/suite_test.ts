import assert from "node:assert/strict";
import { bytesText, parseBytes } from "../../../results/bytes.ts";
import { type Setting, SETTINGS } from "../../../results/settings.ts";
import { SUITE_SCHEMA_FILE, suiteSchemaText } from "../../../suites/schema.ts";
import { isOfNumbers } from "../../../suites/setting_values.ts";
import { parseSuite, tieredSuite } from "../../../suites/suite.ts";
import { checkSuite } from "../../../suites/suite_checks.ts";
import { PHASE_SHOWS } from "../../../results/record.ts";
import schema from "../../../suites/schema.json" with { type: "json" };

const KNOWN = { presets: ["gpt2-nano", "gpt2"], corpora: ["moby-dick"] };

/** The problems of a suite, one a line, without the file's name; empty where it is valid. */
async function problems(yaml: string): Promise<string[]> {
  try {
    await checkSuite(yaml, "s.yaml", KNOWN);
    return [];
  } catch (error) {
    assert.equal((error as Error).name, "InputError");
    return (error as Error).message.split("\n").filter((line) => /^s\.yaml:\d/.test(line)).map((line) =>
      line.slice(7)
    );
  }
}

const HEAD = "title: t\ndefaults: { model: gpt2-nano, data: moby-dick, heldOutFraction: 0.1 }\nphases:\n";

Deno.test("every kind of wrong value is named with line, column, key, value given and values expected", async () => {
  const phase = (text: string) => `${HEAD}  - { name: a, kind: matrix, ${text} }\n`;
  const cases: [string, RegExp][] = [
    [
      `tilte: t\n${HEAD}  - { name: a, kind: matrix }\n`,
      /^1:1: tilte: unknown key, expected title, .*did you mean title\?$/,
    ],
    ["phases:\n  - { name: a, kind: matrix }\n", /^1:1: missing key title$/],
    [
      `${HEAD}  - { name: a, kind: matrx }\n`,
      /^4:22: phases\[0\]\.kind: got "matrx", expected batch-sweep or matrix or rate-sweep or plan or equal-memory; did you mean matrix\?$/,
    ],
    [
      phase("defaults: { steps: 0 }"),
      /^4:49: .*defaults\.steps: got 0, expected a whole number of at least 1$/,
    ],
    [phase("defaults: { steps: 1.5 }"), /: got 1\.5, expected a whole number of at least 1$/],
    [phase("defaults: { steps: many }"), /: got "many", expected a whole number of at least 1$/],
    [phase("defaults: { dropout: 2 }"), /: got 2, expected a number from 0 to 0\.99$/],
    [phase("defaults: { shuffle: 3 }"), /: got 3, expected true or false$/],
    [
      phase("defaults: { schedule: cosin }"),
      /: got "cosin", expected constant or cosine; did you mean cosine\?$/,
    ],
    [phase("axes: { steps: [] }"), /axes\.steps: got \[\], expected a list of at least one value$/],
    [phase("axes: {}"), /axes: got \{\}, expected at least one key$/],
    [phase("seeds: [1, 1]"), /seeds: got \[1,1\], expected values that differ: items 0 and 1 are the same$/],
    [phase("cells: [{ steps: 3 }]"), /cells\[0\]: missing key label$/],
    [
      phase("defaults: { effectiveBatchSize: choosen }"),
      /: got "choosen", expected a whole number of at least 1, or chosen$/,
    ],
    [phase("timeoutSeconds: 0"), /timeoutSeconds: got 0, expected a number above 0$/],
    [phase("defaults: { tokenizer: bpe }"), /: got "bpe", expected bytes, gpt2, bpe<size>, or model/],
    [
      phase("defaults: { model: gpt2-nan }"),
      /defaults\.model: unknown preset gpt2-nan, expected gpt2-nano, gpt2 or a path; did you mean gpt2-nano\?$/,
    ],
    [
      phase("defaults: { model: ./no/such }"),
      /got \.\/no\/such, but there is no \.\/no\/such\/config\.json$/,
    ],
    [
      phase("defaults: { model: no/such }"),
      /got no\/such, but there is no such folder, and .* named with its revision, as no\/such@main, or by a commit; `deno task plan --model no\/such`/,
    ],
    [
      phase("axes: { data: [moby-dick, mobydik] }"),
      /axes\.data\[1\]: unknown corpus mobydik.*did you mean moby-dick\?$/,
    ],
    [
      phase("axes: { methods: [[], [fp61]] }"),
      /axes\.methods\[1\]\[0\]: Unknown method "fp61".*did you mean fp16\?$/,
    ],
    [phase("defaults: { methods: [accumulation] }"), /Cannot name accumulation as a method: it follows from/],
    [phase("defaults: { optimizer: adam }"), /Unknown optimizer "adam".*did you mean adamw\?$/],
    [
      phase("defaults: { methods: [lora, qlora-nf4] }"),
      /Cannot combine lora with qlora-nf4: both train LoRA adapters/,
    ],
    [
      phase("defaults: { optimizer: sgd, optimizerOptions: { beta1: 0.5 } }"),
      /Unknown setting optimizerOptions\.beta1 of optimizer sgd: expected momentum, weightDecay$/,
    ],
    [
      phase("defaults: { methods: [lora], methodOptions: { lora: { rnak: 4 } } }"),
      /Unknown setting methodOptions\.lora\.rnak .*did you mean rank\?$/,
    ],
    [
      phase("defaults: { methods: [lora], methodOptions: { lora: { rank: 0 } } }"),
      /Cannot use methodOptions\.lora\.rank 0: expected a whole number of at least 1$/,
    ],
    [
      phase("axes: { steps: [5, 5] }"),
      /axes\.steps\[1\]: steps 5 is the same cell as steps 5: expected each of them once$/,
    ],
    [
      phase("defaults: { effectiveBatchSize: 6, microBatchSize: 4 }"),
      /Cannot split effectiveBatchSize 6 by microBatchSize 4: expected a multiple of it$/,
    ],
    [
      phase("defaults: { tokens: 1000, effectiveBatchSize: 4 }"),
      /Cannot train on tokens 1000 in steps of 512: expected a multiple, such as 1024,/,
    ],
    [phase("defaults: { steps: 3, tokens: 512 }"), /Cannot use both tokens 512 and steps 3/],
    [
      phase("defaults: { effectiveBatchSize: chosen }"),
      /effectiveBatchSize is chosen, expected a batch-sweep before this phase/,
    ],
    [phase("exclude: [{ model: gpt2-nano }]"), /no cell is left: include and exclude drop all of them$/],
    [
      phase("rule: fastest-within-seed-spread"),
      /a matrix decides nothing: only a batch-sweep or a rate-sweep has a rule$/,
    ],
    [
      phase("shows: method-lader"),
      /phases\[0\]\.shows: got "?method-lader"?, expected single-methods or quality or method-ladder or .*did you mean method-ladder/i,
    ],
    [
      phase("shows: method-ladder").replace("kind: matrix", "kind: batch-sweep"),
      /got method-ladder, expected none: a batch-sweep shows itself$/,
    ],
    [phase("seeds: [1], axes: { seed: [1, 2] }"), /seeds and axes\.seed exclude each other$/],
    [
      `${phase("repeats: 1")}  - { name: a, kind: matrix }\n`,
      /^5:13: phases\[1\]\.name: got a a second time/,
    ],
    [
      `${phase("repeats: 1")}quick: { phases: { b: { repeats: 2 } } }\n`,
      /quick\.phases\.b: unknown phase, expected a/,
    ],
    [
      `${HEAD}  - { name: a, kind: batch-sweep, axes: { effectiveBatchSize: [2] } }\n`,
      /expected two or more in axes\.effectiveBatchSize$/,
    ],
    [
      `${HEAD}  - { name: a, kind: batch-sweep, axes: { effectiveBatchSize: [1, 2] }, defaults: { steps: 8 } }\n`,
      /batch sizes train on 1024, 2048 tokens: expected equal tokens/,
    ],
    [
      `${HEAD}  - { name: a, kind: batch-sweep, axes: { effectiveBatchSize: [1, 2] }, defaults: { tokens: 1024, heldOutFraction: 0 } }\n`,
      /heldOutFraction is 0, expected a share to evaluate on/,
    ],
    [
      `${phase("repeats: 1")}tiers: { gpu-smal: {} }\n`,
      /tiers\.gpu-smal: unknown key, expected software, gpu-small, gpu-large, gpu-short; did you mean gpu-small\?$/,
    ],
    [
      `${phase("repeats: 1")}tiers: { software: { memoryBudget: 4GB } }\n`,
      /memoryBudget: got "4GB", expected Device memory a cell may plan for, as 24GiB$/,
    ],
  ];
  for (const [yaml, expected] of cases) {
    const found = await problems(yaml);
    assert.equal(found.length, 1, `${yaml}\n${found.join("\n")}`);
    assert.match(found[0], expected);
  }
});

Deno.test("rounds: adaptive needs a baseline and no repeats; sideBySide is for cells whose times no one asks for", async () => {
  const sizes = "axes: { effectiveBatchSize: [1, 2] }, seeds: [1, 2], defaults: { tokens: 1024 }";
  const matrix = (text: string) =>
    `{ kind: matrix, cells: [{ label: a }, { label: b, methods: [fp16] }], ${text} }`;
  const cases: [string, RegExp | null][] = [
    [matrix("rounds: adaptive"), null],
    [matrix("rounds: fixed, repeats: 2"), null],
    [matrix("sideBySide: true, repeats: 2"), null],
    [matrix("sideBySide: maybe"), /sideBySide: got "maybe", expected true or false$/],
    [matrix("rounds: often"), /rounds: got "often", expected fixed or adaptive$/],
    [matrix("rounds: adaptive, repeats: 2"), /repeats: got 2, expected none beside rounds: adaptive/],
    [
      matrix("rounds: adaptive, sideBySide: true"),
      /sideBySide: got true, expected none beside rounds: adaptive/,
    ],
    [
      "{ kind: matrix, rounds: adaptive, cells: [{ label: b, methods: [fp16] }] }",
      /compares with a baseline: expected a cell that switches nothing on$/,
    ],
    [
      `{ kind: batch-sweep, sideBySide: true, ${sizes} }`,
      /sideBySide: got true, .* batch-sweep: its rule compares times$/,
    ],
    [
      `{ kind: batch-sweep, rounds: adaptive, ${sizes} }`,
      /rounds: got adaptive, .* batch-sweep: it judges no throughput$/,
    ],
    [
      "{ kind: plan, sideBySide: true, cells: [{ label: a }] }",
      /got true, expected none of phases of kind plan: it runs nothing$/,
    ],
    [
      "{ kind: equal-memory, sideBySide: true, seeds: [1] }",
      /got true, expected none of phases of kind equal-memory: its search compares times$/,
    ],
    ["{ kind: equal-memory, rounds: adaptive, seeds: [1], defaults: { effectiveBatchSize: 4 } }", null],
    [`{ kind: rate-sweep, sideBySide: true, axes: { learningRate: [0.1, 0.2] } }`, null],
  ];
  for (const [phase, expected] of cases) {
    const found = await problems(`${HEAD}  - ${phase.replace("{", "{ name: p,")}\n`);
    if (expected === null) assert.deepEqual(found, [], phase);
    else assert.ok(found.length === 1 && expected.test(found[0]), `${phase}\n${found.join("\n")}`);
  }
});

Deno.test("all problems of a suite are reported at once, in the order of the file", async () => {
  const found = await problems(`title: t
defaults:
  model: gpt3
  stepz: 3
phases:
  - name: a
    kind: matrix
    axes:
      methods: [[checkpont]]
    repeats: 0
`);
  assert.deepEqual(found.map((line) => line.split(":").slice(0, 2).join(":")), [
    "3:10",
    "4:3",
    "9:18",
    "10:14",
  ]);
});

Deno.test("a problem on one tier only says on which", async () => {
  const found = await problems(
    `${HEAD}  - { name: a, kind: matrix }\ntiers:\n  software: {}\n  gpu-small: { quick: { defaults: { tokens: 100 } } }\n`,
  );
  assert.equal(found.length, 1);
  assert.match(found[0], /Cannot train on tokens 100 .*\(tier gpu-small with --quick\)$/);
});

Deno.test("errors of syntax are reported with line and column", async () => {
  await assert.rejects(
    () => checkSuite("title: [a\nphases: 3\n", "s.yaml", KNOWN),
    /^InputError: s\.yaml:2:1: /,
  );
  await assert.rejects(
    () => checkSuite("title: a\ntitle: b\n", "s.yaml", KNOWN),
    /s\.yaml:2:1: Map keys must be unique/,
  );
  await assert.rejects(
    () => checkSuite("", "s.yaml", KNOWN),
    /s\.yaml:1:1: got null, expected keys with values/,
  );
});

Deno.test("chosen is checked at every batch size that the sweep could choose", async () => {
  const found = await problems(`title: t
defaults: { model: gpt2-nano, data: moby-dick, heldOutFraction: 0.1, tokens: 4096 }
phases:
  - { name: s, kind: batch-sweep, axes: { effectiveBatchSize: [1, 2, 4] } }
  - { name: m, kind: matrix, defaults: { effectiveBatchSize: chosen, microBatchSize: 2 } }
`);
  assert.deepEqual(found.length, 1);
  assert.match(found[0], /Cannot split effectiveBatchSize 1 by microBatchSize 2.*, if the sweep chooses 1$/);
});

Deno.test("overrides go from general to particular: suite, tier, quick, the tier's quick", () => {
  const { file, issues } = parseSuite(
    `title: t
defaults: { learningRate: 1, clip: 1, dropout: 0.1, steps: 10, methodOptions: { lora: { rank: 4, alpha: 1 } } }
quick: { defaults: { dropout: 0.3 }, phases: { a: { seeds: [7] }, b: { skip: true } } }
tiers:
  software:
    memoryBudget: 1.5GiB
    defaults: { clip: 2, dropout: 0.2, tokens: 512, methodOptions: { lora: { rank: 8 } } }
    quick: { defaults: { learningRate: 4 } }
phases:
  - { name: a, kind: matrix, defaults: { warmupSteps: 5 }, axes: { seed: [1], steps: [1, 2] }, timing: { warmupSteps: 1 } }
  - { name: b, kind: matrix }
`,
    "s.yaml",
  );
  assert.deepEqual(issues, []);
  const full = tieredSuite(file, "software", false);
  assert.equal(full.memoryBudgetBytes, 1.5 * 2 ** 30);
  assert.deepEqual(full.phases.map(({ name }) => name), ["a", "b"]);
  assert.deepEqual(full.phases[0].defaults, {
    learningRate: 1,
    clip: 2,
    dropout: 0.2,
    tokens: 512, // takes the place of steps
    warmupSteps: 5,
    methodOptions: { lora: { rank: 8, alpha: 1 } },
  });
  const quick = tieredSuite(file, "software", true);
  assert.deepEqual(quick.phases.map(({ name, seeds }) => [name, seeds]), [["a", [7]]]);
  assert.equal(quick.phases[0].defaults.learningRate, 4);
  assert.equal(quick.phases[0].defaults.dropout, 0.3);
  assert.deepEqual(Object.keys(quick.phases[0].axes!), ["seed", "steps"]);
  assert.equal(tieredSuite(file, "gpu-large", false).memoryBudgetBytes, null);
});

Deno.test("the schema has all that a phase can show", () => {
  assert.deepEqual(schema.$defs.phase.properties.shows.enum, [...PHASE_SHOWS]);
});

Deno.test("the schema has every field with its range, in settings, cells and axes", () => {
  const { settings, cell, axes } = schema.$defs;
  const fields = Object.keys(SETTINGS).sort();
  assert.deepEqual(Object.keys(settings.properties).sort(), fields);
  assert.deepEqual(Object.keys(axes.properties).sort(), fields);
  assert.deepEqual(Object.keys(cell.properties).sort(), [...fields, "label"].sort());
  for (const [name, { schema: rule }] of Object.entries<Setting>(SETTINGS)) {
    const written: Record<string, unknown> = settings.properties[name as keyof typeof settings.properties];
    if (isOfNumbers(rule)) {
      assert.deepEqual([written.minimum, written.maximum], [rule.minimum, rule.maximum], name);
      assert.ok([written.type].flat().includes(rule.type), name);
    }
    if (rule.enum) assert.deepEqual(written.enum, [...rule.enum], name);
  }
});

Deno.test("schema.json is what `deno task schema` writes", async () => {
  assert.equal(
    await Deno.readTextFile(SUITE_SCHEMA_FILE),
    suiteSchemaText(),
    "suites/schema.json is stale: run `deno task schema`",
  );
});

Deno.test("parseBytes() reads binary units and refuses what is not one; bytesText() writes them", () => {
  assert.equal(parseBytes("24GiB"), 24 * 2 ** 30);
  assert.equal(parseBytes("1.5 MiB"), 1.5 * 2 ** 20);
  for (const text of ["24GB", "24", "-1GiB", "0GiB", "GiB", "1e3GiB"]) {
    assert.throws(() => parseBytes(text), /Cannot read/);
  }
  assert.deepEqual([2 ** 30, 12.34 * 2 ** 20, 500 * 1024].map(bytesText), [
    "1.00 GiB",
    "12.3 MiB",
    "500 KiB",
  ]);
});
