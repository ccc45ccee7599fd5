/**
 * Input a person can correct: a flag, a file, a key. Command lines print its
 * message alone, without a stack, and exit with code 2. The message says what could
 * not be done, with the file or field, the value given and the value expected.
 */
export class InputError extends Error {
  /** Name of the class, for those who meet it across processes. */
  override name = "InputError";
}
