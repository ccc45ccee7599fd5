import type { DataRecord } from "../formats/data_record.ts";
import { describeValue, missingField } from "../formats/records.ts";
import { InputError } from "../input_error.ts";

/** Labels of records as numbers, with their names. */
export interface Labels {
  readonly numbers: Uint32Array<ArrayBuffer>;
  readonly names: readonly string[];
}

/** More classes than any data set has: a number above it is no label. */
const MOST_LABELS = 2 ** 16;

/**
 * Reads the label of every record: a number from 0, or a name.
 *
 * @param known The names of the model's labels; null for a model that takes those of the data: all names in
 * alphabetical order, or `LABEL_0` to the highest number.
 * @throws {InputError} naming file, line, the value given and what was expected.
 */
export function readLabels(
  records: readonly DataRecord[],
  field: string,
  known: readonly string[] | null,
): Labels {
  const values = records.map((record) => labelValue(record, field));
  const names = known ?? namesOf(records, values, field);
  const byName = new Map(names.map((name, i) => [name, i]));
  const numbers = values.map((value, i) => {
    const number = typeof value === "number" ? value : byName.get(value) ?? -1;
    if (number >= 0 && number < names.length) return number;
    const shown = names.length <= 8 ? names.join(", ") : `${names.slice(0, 8).join(", ")}, ...`;
    throw new InputError(
      `${records[i].place}: ${field} is ${describeValue(value)}, expected 0 to ${
        names.length - 1
      } or one of the model's labels ${shown}`,
    );
  });
  return { numbers: Uint32Array.from(numbers), names };
}

function labelValue(record: DataRecord, field: string): number | string {
  const raw = record.fields[field];
  if (raw === undefined || raw === null) throw missingField(record, field);
  const value = typeof raw === "bigint" ? Number(raw) : typeof raw === "boolean" ? Number(raw) : raw;
  if (typeof value === "string" && value !== "") return value;
  if (Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) < MOST_LABELS) {
    return value as number;
  }
  throw new InputError(
    `${record.place}: ${field} is ${
      describeValue(raw)
    }, expected the name of a label or a whole number from 0`,
  );
}

function namesOf(
  records: readonly DataRecord[],
  values: readonly (number | string)[],
  field: string,
): string[] {
  const other = values.findIndex((value) => typeof value !== typeof values[0]);
  if (other >= 0) {
    throw new InputError(
      `${records[other].place}: ${field} is ${describeValue(values[other])}, but ${records[0].place} has ${
        describeValue(values[0])
      }: expected names or numbers, not both`,
    );
  }
  const names = typeof values[0] === "string"
    ? [...new Set(values as string[])].sort()
    : Array.from({ length: (values as number[]).reduce((a, b) => Math.max(a, b)) + 1 }, (_, i) =>
      `LABEL_${i}`);
  if (names.length > 1) return names;
  throw new InputError(
    `${records[0].place}: every ${field} is ${
      describeValue(values[0])
    }, expected at least two labels to tell apart`,
  );
}
