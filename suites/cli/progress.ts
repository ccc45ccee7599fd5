import cliProgress from "cli-progress";
import process from "node:process";
import type { CellRecord, Decision } from "../../results/record.ts";
import { durationText } from "../estimate.ts";
import type { Cell } from "../matrix.ts";
import type { Message } from "../protocol.ts";
import type { RunListener } from "../runner.ts";
import { bytesText } from "../../results/bytes.ts";
import { wrap } from "./wrap.ts";

/** What a progress line shows. */
export interface ProgressState {
  done: number;
  total: number;
  label: string;
  seed: number;
  /** What the process does before its first step. */
  phase: string;
  step: number;
  steps: number;
  loss: number | null;
  tokensPerSecond: number | null;
  elapsedMs: number;
  remainingMs: number;
}

/** Least time between two plain lines. */
const PLAIN_INTERVAL_MS = 5000;

/** Where progress goes to, so that tests can watch it. */
export interface ProgressOutput {
  /** Draws a line that is redrawn in place. */
  terminal: boolean;
  columns: number;
  colour: boolean;
  writeLine(text: string): void;
  now(): number;
}

/** Standard error, as it is: a terminal outside CI gets a bar, everything else plain lines. */
export function standardError(): ProgressOutput {
  return {
    terminal: Deno.stderr.isTerminal() && !["true", "1"].includes(Deno.env.get("CI") ?? ""),
    columns: Deno.stderr.isTerminal() ? Math.min(80, process.stderr.columns || 80) : 80,
    colour: Deno.stderr.isTerminal() && !Deno.noColor,
    writeLine: (text) => console.error(text),
    now: () => performance.now(),
  };
}

/** Shows a run as it goes on. */
export class Progress implements RunListener {
  readonly #output: ProgressOutput;
  readonly #started: number;
  #bar: InstanceType<typeof cliProgress.SingleBar> | null = null;
  #state: ProgressState;
  readonly #running = new Map<string, Cell>();
  /** The one that is shown. */
  #cell: { id: string; startedAt: number; expectedMs: number; remainingMs: number } = {
    id: "",
    startedAt: 0,
    expectedMs: 0,
    remainingMs: 0,
  };
  #lastLine = -Infinity;

  constructor(output: ProgressOutput) {
    this.#output = output;
    this.#started = output.now();
    this.#state = {
      done: 0,
      total: 0,
      label: "",
      seed: 0,
      phase: "",
      step: 0,
      steps: 0,
      loss: null,
      tokensPerSecond: null,
      elapsedMs: 0,
      remainingMs: 0,
    };
  }

  onCell(cell: Cell, position: { done: number; total: number; remainingMs: number; cellMs: number }): void {
    const { done, total, remainingMs, cellMs } = position;
    this.#running.set(cell.id, cell);
    this.#cell.remainingMs = remainingMs;
    Object.assign(this.#state, { done, total });
    if (this.#running.size > 1) return;
    this.#cell = { id: cell.id, startedAt: this.#output.now(), expectedMs: cellMs, remainingMs };
    this.#state = {
      ...this.#state,
      done,
      total,
      label: cell.label,
      seed: cell.config.seed,
      phase: "starting",
      step: 0,
      steps: cell.config.steps,
      loss: null,
      tokensPerSecond: null,
    };
    this.#show();
  }

  onPlan(phase: string, done: number, total: number): void {
    Object.assign(this.#state, { label: phase, phase: `planned ${done} of ${total} combinations`, step: 0 });
    this.#show();
  }

  onMessage(message: Message, id: string): void {
    // Of cells that run at once one is shown, to its end.
    if (id !== this.#cell.id) return;
    if (message.type === "phase") this.#state.phase = message.text;
    else if (message.type === "step") {
      const { step, loss, tokens, ms } = message.report;
      const rate = (tokens / ms) * 1000;
      const before = this.#state.tokensPerSecond ?? rate;
      Object.assign(this.#state, {
        step: step + 1,
        loss,
        tokensPerSecond: 0.9 * before + 0.1 * rate,
        phase: "",
      });
    } else return;
    this.#show();
  }

  onRecord(record: CellRecord, { done, total }: { done: number; total: number }): void {
    Object.assign(this.#state, { done, total });
    this.#running.delete(record.id);
    const [next] = this.#running.values();
    if (next && record.id === this.#cell.id) {
      Object.assign(this.#cell, { id: next.id, startedAt: this.#output.now() });
      Object.assign(this.#state, { label: next.label, seed: next.config.seed, steps: next.config.steps });
    }
    // What a rule left out is told by phase, once the run has ended.
    if (record.status === "not-run") return;
    const text = recordLine(record, `${done}/${total}`, this.#output);
    if (this.#output.terminal) this.#above(text);
    else if (record.status !== "ok") this.#output.writeLine(text);
    else this.#throttled(() => text);
  }

  onDecision(decision: Decision): void {
    for (const line of wrap(`Chosen: ${decision.reason}.`, this.#output.columns)) this.#above(line);
  }

  onNote(text: string): void {
    for (const line of wrap(text, this.#output.columns)) this.#above(line);
  }

  /** Removes the bar: what is written next begins on a line of its own. */
  stop(): void {
    this.#bar?.stop();
    this.#bar = null;
  }

  #show(): void {
    const now = this.#output.now();
    this.#state.elapsedMs = now - this.#started;
    const inCell = Math.min(now - this.#cell.startedAt, this.#cell.expectedMs);
    this.#state.remainingMs = Math.max(0, this.#cell.remainingMs - inCell);
    if (!this.#output.terminal) return this.#throttled(() => plainLine(this.#state));
    if (this.#bar) return this.#bar.update(this.#state.done);
    this.#bar = new cliProgress.SingleBar({
      format: () => barLine(this.#state, this.#output.columns),
      stream: process.stderr,
      hideCursor: true,
      clearOnComplete: true,
      fps: 5,
      linewrap: true, // lines are cut to fit; the terminal's own wrapping stays as it is
    });
    this.#bar.start(Math.max(1, this.#state.total), this.#state.done);
  }

  #above(text: string): void {
    this.stop();
    this.#output.writeLine(text);
  }

  #throttled(line: () => string): void {
    const now = this.#output.now();
    if (now - this.#lastLine < PLAIN_INTERVAL_MS) return;
    this.#lastLine = now;
    this.#output.writeLine(line());
  }
}

/**
 * `[████····] 3/16 batch 4, seed 1 · 40/128 · loss 2.345 · 5120 tok/s · 1:02, 3:10 left`, cut to the columns.
 */
export function barLine(state: ProgressState, columns: number): string {
  const share = state.total === 0
    ? 0
    : (state.done + (state.steps ? state.step / state.steps : 0)) / state.total;
  const filled = Math.min(8, Math.floor(share * 8));
  const bar = `[${"█".repeat(filled)}${"·".repeat(8 - filled)}] ${state.done}/${state.total}`;
  const work = state.step === 0 ? state.phase : [
    `${state.step}/${state.steps}`,
    `loss ${state.loss?.toFixed(3) ?? "none"}`,
    `${state.tokensPerSecond?.toFixed(0)} tok/s`,
  ].join(" ");
  const time = `${clock(state.elapsedMs)}, ${clock(state.remainingMs)} left`;
  const room = columns - 1 - bar.length - time.length - 2;
  const middle = `${state.label}, seed ${state.seed} ${work}`;
  if (middle.length <= room) return `${bar} ${middle.padEnd(room)} ${time}`;
  // The label gives way first: it can be long, and the last column stays free so that no terminal wraps.
  const label = cut(`${state.label}, seed ${state.seed}`, Math.max(8, room - work.length - 1));
  return cut(`${bar} ${cut(`${label} ${work}`, room).padEnd(room)} ${time}`, columns - 1);
}

/** `3/16 batch 4, seed 1: step 40/128, loss 2.345, 5120 tok/s; 1:02, 3:10 left` */
export function plainLine(state: ProgressState): string {
  const work = state.step === 0
    ? state.phase
    : `step ${state.step}/${state.steps}, loss ${state.loss?.toFixed(3) ?? "none"}, ` +
      `${state.tokensPerSecond?.toFixed(0)} tok/s`;
  const time = `; ${clock(state.elapsedMs)}, ${clock(state.remainingMs)} left`;
  const head = `${state.done}/${state.total} ${state.label}, seed ${state.seed}: ${work}`;
  return `${cut(head, 80 - time.length)}${time}`;
}

/** One finished cell: `✓ batch 4, seed 1: loss 2.31, 5120 tok/s, 120 MiB planned, 12 s`. */
export function recordLine(
  record: CellRecord,
  position: string,
  { colour, columns }: { colour: boolean; columns: number },
) {
  const loss = record.heldOut.at(-1)?.loss ?? record.samples?.loss.at(-1);
  const details = record.status === "ok"
    ? [
      loss == null ? "" : `loss ${loss.toFixed(3)}`,
      record.memory ? bytesText(record.memory.plannedPeakBytes) : "",
      durationText(record.wallMs),
    ].filter((part) => part).join(", ")
    : record.reason ?? "";
  const text = cut(
    `${position} ${record.status} ${record.label}, seed ${record.config.seed}: ${details.split("\n")[0]}`,
    columns - 1,
  );
  if (!colour) return text;
  const code = record.status === "ok" ? 32 : record.status === "error" ? 31 : 33;
  return text.replace(` ${record.status} `, ` \x1b[${code}m${record.status}\x1b[0m `);
}

function clock(ms: number): string {
  const seconds = Math.round(ms / 1000);
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return h > 0
    ? `${h}:${String(m).padStart(2, "0")}:${String(s).padStart(2, "0")}`
    : `${m}:${String(s).padStart(2, "0")}`;
}

function cut(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, Math.max(0, length - 1))}…`;
}
