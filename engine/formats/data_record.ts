/** One example of a file of examples. */
export interface DataRecord {
  /** Where it comes from, as errors name it: `notes.jsonl:17`. */
  readonly place: string;
  /** Examples of one group stand side by side, and none of them is held out where another is trained on. */
  readonly group?: string;
  readonly fields: Readonly<Record<string, unknown>>;
  /** All fields there are, where not all have been read. */
  readonly fieldNames?: readonly string[];
}
