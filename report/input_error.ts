/**
 * Input a person can correct: a folder, a file, a field, a rule. Command lines print its message alone and exit with code 2.
 * Same name as the engine's class, which the report may not import.
 */
export class InputError extends Error {
  override name = "InputError";
}
