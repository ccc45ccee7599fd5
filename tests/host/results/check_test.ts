import assert from "node:assert/strict";
import { Ajv2020 } from "ajv/dist/2020.js";
import { asCellRecord, asRunRecord } from "../../../results/check.ts";
import { SCHEMA_FILE, schemaText } from "../../../results/schema.ts";
import { syntheticRun } from "../report/synthetic_run.ts";

type Json = Record<string, unknown>;

const made = () => structuredClone(syntheticRun({ batches: [1, 4], seeds: [0], tokens: 1024 }));

/** What the check says of a record that `change` has spoilt. */
function messageOf(check: (value: unknown, file: string) => unknown, record: unknown): string {
  let message = "";
  assert.throws(() => check(record, "FILE"), (error: Error) => {
    assert.equal(error.name, "InputError");
    message = error.message;
    return true;
  });
  return message;
}

Deno.test("asCellRecord() names the field, the value given and the value expected", () => {
  const cases: [(cell: Json) => void, string][] = [
    [(cell) => delete cell.recordVersion, "field recordVersion is missing, expected 1 or 2"],
    [(cell) => cell.recordVersion = 3, "field recordVersion is 3, expected 1 or 2"],
    [(cell) => cell.recordVersion = "2", 'field recordVersion is "2", expected 1 or 2'],
    [(cell) => delete cell.config, "field config is missing, expected an object"],
    [(cell) => cell.config = [], "field config is [], expected an object"],
    [(cell) => cell.id = "0123456789AB", 'field id is "0123456789AB", expected twelve hex digits'],
    [(cell) => cell.numerics = 0, "field numerics is 0, expected a whole number of at least 1"],
    [(cell) => cell.numerics = 1.5, "field numerics is 1.5, expected a whole number of at least 1"],
    [(cell) => cell.process = "", 'field process is "", expected a string that is not empty or null'],
    [(cell) => cell.process = 7, "field process is 7, expected a string that is not empty or null"],
    [(cell) => cell.kind = "x", 'field kind is "x", expected one of trained, planned'],
    [(cell) => cell.wallMs = -1, "field wallMs is -1, expected a number of at least 0"],
    [(cell) => cell.reason = 4, "field reason is 4, expected a string or null"],
    [(cell) => delete cell.reason, "field reason is missing, expected a string or null"],
    [
      (cell) => ((cell.samples as Json).loss as unknown[])[2] = "low",
      'field samples.loss[2] is "low", expected a finite number or null',
    ],
    [
      (cell) => delete ((cell.memory as Json).bookedByRole as Json).optimizer,
      "field memory.bookedByRole.optimizer is missing, expected a number of at least 0",
    ],
    [
      (cell) => ((cell.environment as Json).limits as Json)["a/b~c"] = true,
      "field environment.limits.a/b~c is true, expected a finite number",
    ],
    [
      (cell) => (cell.environment as Json).tree = "abc",
      'field environment.tree is "abc", expected forty hex digits or null',
    ],
    [
      (cell) => (cell.environment as Json).card = { pciAddress: 1, uuid: null },
      "field environment.card.pciAddress is 1, expected a string or null",
    ],
    [(cell) => cell.kernelChoices = { a: 1 }, "field kernelChoices.a is 1, expected a string"],
    [
      (cell) => (cell.config as Json).optimizerOptions = { eps: "x" },
      'field config.optimizerOptions.eps is "x", expected a finite number or true or false or null',
    ],
  ];
  for (const [change, expected] of cases) {
    const [cell] = made().cells as unknown as Json[];
    asCellRecord(structuredClone(cell), "FILE");
    change(cell);
    assert.equal(messageOf(asCellRecord, cell), `Cannot read FILE: ${expected}`);
  }
  assert.equal(messageOf(asCellRecord, []), "Cannot read FILE: field (whole file) is [], expected an object");
  assert.equal(
    messageOf(asCellRecord, null),
    "Cannot read FILE: field (whole file) is null, expected an object",
  );
});

Deno.test("asRunRecord() names fields by their place in arrays and maps", () => {
  const run = made().run as unknown as Json;
  asRunRecord(structuredClone(run), "FILE");
  const [decision] = run.decisions as Json[];
  decision.figures = { "4": { loss: "low" } };
  assert.equal(
    messageOf(asRunRecord, run),
    'Cannot read FILE: field decisions[0].figures.4.loss is "low", expected a finite number or null',
  );
});

Deno.test("a record of version and id alone is none", () => {
  for (const recordVersion of [1, 2]) {
    assert.match(messageOf(asCellRecord, { recordVersion, id: "0123456789ab" }), /is missing, expected/);
    assert.match(messageOf(asRunRecord, { recordVersion }), /is missing, expected/);
  }
});

Deno.test("fields that a later writer added are left as they are", () => {
  const cell = { ...made().cells[0], later: { a: 1 } };
  assert.deepEqual((asCellRecord(structuredClone(cell), "FILE") as typeof cell).later, { a: 1 });
});

Deno.test("record.schema.json is what `deno task schema` writes", async () => {
  assert.equal(
    await Deno.readTextFile(SCHEMA_FILE),
    schemaText(),
    "results/record.schema.json is stale: run `deno task schema`",
  );
});

Deno.test("record.schema.json allows what the check allows, and no less", async () => {
  const validate = new Ajv2020().compile(JSON.parse(await Deno.readTextFile(SCHEMA_FILE)));
  const { run, cells } = syntheticRun({ everything: true, seeds: [0], statuses: { 1: "oom", 2: "not-run" } });
  for (const record of [run, ...cells]) {
    assert.ok(validate(JSON.parse(JSON.stringify(record))), JSON.stringify(validate.errors?.slice(0, 3)));
  }
  for (
    const change of [{ status: "fine" }, { memory: {} }, { environment: undefined }, { recordVersion: 1 }]
  ) {
    assert.ok(!validate(JSON.parse(JSON.stringify({ ...cells[0], ...change }))), JSON.stringify(change));
  }
});
