/** The one check of records, so that nobody counts, draws or compares from a file that is misunderstood. */
import { Ajv2020, type ErrorObject, type ValidateFunction } from "ajv/dist/2020.js";
import { InputError } from "../engine/input_error.ts";
import { migrateCell, migrateRun } from "./migrate.ts";
import { CellRecord, RECORD_VERSION, RunRecord } from "./record.ts";
import { numberWords, type ValueRule } from "./schema_parts.ts";

/** What the check needs of a JSON schema. */
interface Schema extends ValueRule {
  const?: unknown;
  anyOf?: readonly Schema[];
  properties?: Readonly<Record<string, Schema>>;
}

const compiled = new Map<object, ValidateFunction>();

function checkerOf(schema: object): ValidateFunction {
  const checker = compiled.get(schema) ??
    new Ajv2020({ verbose: true, allowUnionTypes: true }).compile(schema);
  compiled.set(schema, checker);
  return checker;
}

/**
 * Takes parsed JSON of this version or an earlier one for a `CellRecord`.
 *
 * @throws {InputError} naming file, field, value given and value expected, where it is not one.
 */
export function asCellRecord(value: unknown, file: string, schema: object = CellRecord): CellRecord {
  return checked<CellRecord>(value, file, schema, migrateCell);
}

/** As `asCellRecord`, of a `RunRecord`. @throws {InputError} */
export function asRunRecord(value: unknown, file: string): RunRecord {
  return checked<RunRecord>(value, file, RunRecord, migrateRun);
}

function checked<T>(
  value: unknown,
  file: string,
  schema: object,
  migrate: (record: Record<string, unknown>) => Record<string, unknown>,
): T {
  const fail = (path: string, got: unknown, expected: string): never => {
    const shown = got === undefined ? "missing" : JSON.stringify(got).slice(0, 60);
    throw new InputError(
      `Cannot read ${file}: field ${path || "(whole file)"} is ${shown}, expected ${expected}`,
    );
  };
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return fail("", value, "an object");
  }
  const record = value as Record<string, unknown>;
  const { recordVersion } = record;
  if (recordVersion !== 1 && recordVersion !== RECORD_VERSION) {
    return fail("recordVersion", recordVersion, `1 or ${RECORD_VERSION}`);
  }
  const current = migrate(record);
  const check = checkerOf(schema);
  if (check(current)) return current as T;
  const { path, got, expected } = problemOf(check.errors!, current);
  return fail(path, got, expected);
}

/** The error that says most: the deepest, and of several there the one that names all that is allowed. */
function problemOf(
  errors: readonly ErrorObject[],
  record: unknown,
): { path: string; got: unknown; expected: string } {
  const depth = ({ instancePath, keyword }: ErrorObject) =>
    instancePath.split("/").length + (keyword === "required" ? 1 : 0);
  const deepest = Math.max(...errors.map(depth));
  const there = errors.filter((error) => depth(error) === deepest);
  const error = there.find(({ keyword }) => keyword === "anyOf") ?? there[0];
  const schema = error.parentSchema as Schema;
  const path = pathOf(error.instancePath, record);
  if (error.keyword !== "required") return { path, got: error.data, expected: expectedOf(schema) };
  const { missingProperty: name } = error.params as { missingProperty: string };
  return {
    path: path ? `${path}.${name}` : name,
    got: undefined,
    expected: expectedOf(schema.properties?.[name] ?? {}),
  };
}

/** `/samples/ms/3` of a record → `samples.ms[3]`. */
function pathOf(pointer: string, record: unknown): string {
  let path = "";
  let value = record;
  for (const part of pointer.split("/").slice(1)) {
    const key = part.replaceAll("~1", "/").replaceAll("~0", "~");
    path += Array.isArray(value) ? `[${key}]` : path ? `.${key}` : key;
    value = (value as Record<string, unknown>)[key];
  }
  return path;
}

/** What a schema allows, in words. */
function expectedOf(schema: Schema): string {
  const { title, type, enum: allowed, const: only, minimum, anyOf } = schema;
  if (title) return title;
  if (Array.isArray(type)) return type.map((one) => expectedOf({ ...schema, type: one })).join(" or ");
  if (anyOf) return anyOf.map(expectedOf).join(" or ");
  if (allowed) return `one of ${allowed.join(", ")}`;
  if (only !== undefined) return JSON.stringify(only);
  switch (type) {
    case "number":
      return minimum === undefined ? "a finite number" : numberWords(schema);
    case "integer":
      return numberWords(schema);
    case "boolean":
      return "true or false";
    case "array":
    case "object":
      return `an ${type}`;
    case "string":
      return "a string";
    default:
      return String(type ?? "a value");
  }
}
