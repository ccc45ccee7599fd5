import type { RunConfig } from "../../results/record.ts";
import type { Services } from "./command.ts";
import type { DownloadProgress } from "../../mod.ts";
import { durationText } from "../estimate.ts";
import type { HubAccess } from "../hub_models.ts";
import type { Arguments, Flag } from "./flags.ts";
import type { ProgressOutput } from "./progress.ts";
import { bytesText } from "../../results/bytes.ts";

/** Of every command that takes a model. */
export const OFFLINE_FLAG: Flag = { what: "never ask the hub: use what the cache has of a model" };

/**
 * A configuration whose model, where it is a repository of the hub, is in the cache and pinned to a commit:
 * what runs and records go by from then on.
 *
 * @throws {InputError} when it cannot be had.
 */
export async function withPinnedModel<C extends Pick<RunConfig, "model">>(
  config: C,
  { switches }: Arguments,
  { engine, progress, note }: Services,
  what: "config" | "model",
): Promise<C> {
  if (!engine.pinModel) return config;
  const show = new DownloadLines(progress);
  const quiet = switches.has("quiet");
  const model = await engine.pinModel(config.model, {
    what,
    offline: switches.has("offline"),
    onNote: note,
    onProgress: (state) => quiet || show.update(state),
  });
  show.end();
  if (model !== config.model && !quiet) note(`model ${model}`);
  return { ...config, model };
}

/** The hub as a benchmark asks it: downloads are shown, and notes made. */
export function hubAccess({ engine, progress, note }: Services, what: "config" | "model"): HubAccess {
  return {
    async pin(model) {
      if (!engine.pinModel) return model;
      const show = new DownloadLines(progress);
      const pinned = await engine.pinModel(model, {
        what,
        onNote: note,
        onProgress: (state) => show.update(state),
      });
      show.end();
      return pinned;
    },
    files: async (model) => await engine.modelFiles?.(model) ?? [],
  };
}

/** The pinned name for machine-readable output; nothing where the model is called what it was called. */
export function pinnedField(config: Pick<RunConfig, "model">, { values }: Arguments): { model?: string } {
  return config.model === values.model ? {} : { model: config.model };
}

/** Least time between two lines on a terminal, which redraws them, and elsewhere. */
const REDRAW_MS = 200;
const PLAIN_MS = 5000;

/** Shows how a download goes on: bytes, speed, time left. */
export class DownloadLines {
  readonly #output: ProgressOutput;
  #started: number | null = null;
  #lastLine = -Infinity;
  #latest: DownloadProgress | null = null;

  constructor(output: ProgressOutput) {
    this.#output = output;
  }

  update(progress: DownloadProgress): void {
    const now = this.#output.now();
    this.#started ??= now;
    this.#latest = progress;
    if (now - this.#lastLine < (this.#output.terminal ? REDRAW_MS : PLAIN_MS)) return;
    this.#lastLine = now;
    this.#output.writeLine(this.#redraw(downloadText(progress, now - this.#started)));
  }

  /** The last figures, where there were any. */
  end(): void {
    if (this.#latest === null) return;
    const { fetchedBytes } = this.#latest;
    const ms = this.#output.now() - this.#started!;
    this.#output.writeLine(this.#redraw(`downloaded ${bytesText(fetchedBytes)} in ${durationText(ms)}`));
    this.#latest = null;
  }

  /** On a terminal a line takes the place of the one before it. */
  #redraw(text: string): string {
    if (!this.#output.terminal) return text;
    const above = this.#drawn ? "\x1b[1A" : "";
    this.#drawn = true;
    return `${above}\x1b[2K${text.slice(0, this.#output.columns)}`;
  }

  #drawn = false;
}

/** `model.safetensors: 120 MiB of 522 MiB, 34 MiB/s, 12 s left` */
export function downloadText(
  { file, doneBytes, totalBytes, fetchedBytes }: DownloadProgress,
  elapsedMs: number,
): string {
  const bytesPerMs = elapsedMs > 0 ? fetchedBytes / elapsedMs : 0;
  const of = totalBytes === null ? "" : ` of ${bytesText(totalBytes)}`;
  const speed = bytesPerMs > 0 ? `, ${bytesText(bytesPerMs * 1000)}/s` : "";
  const left = bytesPerMs > 0 && totalBytes !== null
    ? `, ${durationText((totalBytes - doneBytes) / bytesPerMs)} left`
    : "";
  return `${file}: ${bytesText(doneBytes)}${of}${speed}${left}`;
}
