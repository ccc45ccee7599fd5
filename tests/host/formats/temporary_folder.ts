import assert from "node:assert/strict";
import { InputError } from "../../../engine/input_error.ts";

/** A folder for one test, removed when it goes out of scope. */
export class TemporaryFolder implements Disposable {
  readonly path = Deno.makeTempDirSync({ prefix: "threefold-" });

  /** Path of a file in the folder, which holds `content` if that is given. */
  file(name: string, content?: Uint8Array | string): string {
    const path = `${this.path}/${name}`;
    if (typeof content === "string") Deno.writeTextFileSync(path, content);
    else if (content !== undefined) Deno.writeFileSync(path, content);
    return path;
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.path, { recursive: true });
  }
}

/** Asserts that `action` throws or rejects with an InputError whose message contains all of `parts`. */
export async function assertInputError(action: () => unknown, ...parts: string[]): Promise<void> {
  let error: unknown;
  try {
    await action();
  } catch (thrown) {
    error = thrown;
  }
  assert.ok(
    error instanceof InputError,
    `expected an InputError that says ${parts.join(", ")}, got ${error}`,
  );
  for (const part of parts) assert.ok(error.message.includes(part), `expected ${part} in: ${error.message}`);
}

/** Path of a file that a reference library wrote. */
export function fixture(name: string): string {
  return `${import.meta.dirname}/../../fixtures/formats/${name}`;
}
