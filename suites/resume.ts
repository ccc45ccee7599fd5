import { InputError } from "../engine/input_error.ts";
import { differences, type Origin } from "../results/environment.ts";

/**
 * Whether a run may be gone on with here: cells of one run are compared with each other, so they should be of
 * one machine, one implementation of WebGPU, one numerics and one code.
 *
 * @param mixed Whether to go on even so.
 * @returns What there is to say of it; null where nothing differs.
 * @throws {InputError} naming all that differs, before and now, and what to do about it.
 */
export function checkResume(out: string, before: Origin, now: Origin, mixed: boolean): string | null {
  const found = differences(before, now);
  if (found.length === 0) return null;
  const list = found.map(({ what, before, now }) => `  ${what}: ${before} in the run, ${now} here`).join(
    "\n",
  );
  if (mixed) {
    return `Going on with ${out} although it differs, as --allow-mixed has it; the report will say so:\n${list}`;
  }
  const provider = before.environment.gpuProvider;
  const advice = [
    ...provider === now.environment.gpuProvider ? [] : [`add --gpu ${provider}`],
    ...found.some(({ what }) => what === "commit" || what === "work tree") ? ["go back to its code"] : [],
    "choose another --out",
    "or go on with --allow-mixed, which the report will say on top",
  ];
  throw new InputError(
    `Cannot resume ${out}: its cells and those to come would not compare\n${list}\n${advice.join(", ")}`,
  );
}
