/**
 * `record.schema.json`: the record as JSON Schema, for those who read or write records in other languages.
 */
import * as record from "./record.ts";

/** Parts that have a name in the schema; `RunRecord` and `CellRecord` are what a file can be. */
const { RunRecord, CellRecord, RunConfig, Environment, Card, MemoryRecord, BytesByRole, StepSamples } =
  record;
const { HeldOutPoint, KernelProfile, Decision, Roofline } = record;
const NAMED = {
  RunRecord,
  CellRecord,
  RunConfig,
  Environment,
  Card,
  MemoryRecord,
  BytesByRole,
  StepSamples,
  HeldOutPoint,
  KernelProfile,
  Decision,
  Roofline,
};

/** The text of `record.schema.json`. */
export function schemaText(): string {
  const definitions = Object.fromEntries(
    Object.entries(NAMED).map(([name, schema]) => [name, withReferences(schema, true)]),
  );
  const schema = {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title: `Records of a benchmark run, version ${record.RECORD_VERSION}`,
    $comment: "Written from record.ts by `deno task schema`: not edited by hand.",
    anyOf: [{ $ref: "#/$defs/RunRecord" }, { $ref: "#/$defs/CellRecord" }],
    $defs: definitions,
  };
  return `${JSON.stringify(schema, null, 2)}\n`;
}

/** A schema with its named parts as references. */
function withReferences(value: unknown, isTop = false): unknown {
  if (Array.isArray(value)) return value.map((item) => withReferences(item));
  if (typeof value !== "object" || value === null) return value;
  const name = isTop ? undefined : Object.entries(NAMED).find(([, schema]) => schema === value)?.[0];
  if (name !== undefined) return { $ref: `#/$defs/${name}` };
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, withReferences(item)]));
}

/** Where the schema lies. */
export const SCHEMA_FILE = new URL("record.schema.json", import.meta.url);

if (import.meta.main) await Deno.writeTextFile(SCHEMA_FILE, schemaText());
