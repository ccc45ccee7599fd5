/** One example of a file of examples. */
export interface DataRecord {
  /** Where it comes from, as errors name it: `notes.jsonl:17`. */
  readonly place: string;
  readonly fields: Readonly<Record<string, unknown>>;
  /** All fields there are, where not all have been read. */
  readonly fieldNames?: readonly string[];
}
