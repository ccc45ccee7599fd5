import type { Engine } from "../engine.ts";
import type { Arguments, CommandSpec } from "./flags.ts";
import type { ProgressOutput } from "./progress.ts";
import type { WorkTree } from "../work_tree.ts";

/**
 * What commands get from outside, so that tests can give them a trainer, a report and an output of their own.
 */
export interface Services {
  engine: Engine;
  /** The program that measures one cell. */
  measureScript: URL;
  /**
   * The code that runs; `out`, the folder of a run, does not count. Default: as
   * git knows the project's folder.
   */
  workTree?(out: string): Promise<WorkTree>;
  writeReport(runs: string[], out: string): Promise<void>;
  /** What the report says, as a document and for a terminal; commands that have none say nothing of it. */
  answer?: {
    document(runs: string[]): Promise<unknown>;
    text(runs: string[]): Promise<string>;
  };
  compareRuns(
    runs: string[],
    out: string,
    options: { failOn: string[] },
  ): Promise<{ failed: boolean; failures: readonly string[] }>;
  /** Where a run shows how it goes on. */
  progress: ProgressOutput;
  /** Writes a line to standard output. */
  print(text: string): void;
  /** Writes to standard output as it is, without an end of line. */
  write(text: string): void;
  /** Writes a line to standard error. */
  note(text: string): void;
}

/** A command of the command line. */
export interface Command {
  spec: CommandSpec;
  /** @returns The exit code. @throws {InputError} for wrong usage or input. */
  run(args: Arguments, services: Services): Promise<number>;
}

/** Exit codes: done; a check or claim failed; wrong usage or input; stopped by the user. */
export const EXIT = { done: 0, failed: 1, usage: 2, interrupted: 130 } as const;
