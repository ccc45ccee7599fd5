/** Runs on disk and in memory for the report's tests. */
import { join } from "node:path";
import { D3Node } from "d3-node";
import { type LoadedRun, loadRun } from "../../../results/load.ts";
import {
  type SyntheticOptions,
  type SyntheticRun,
  syntheticRun,
  writeSyntheticRun,
} from "./synthetic_run.ts";

/** A run as `loadRun` would give it, without the disk. */
export function loaded(options: SyntheticOptions = {}): LoadedRun {
  return asLoaded(syntheticRun(options));
}

export function asLoaded({ run, cells }: SyntheticRun, name = "run"): LoadedRun {
  return { dir: name, name, run, cells, missing: [], unreadable: [] };
}

/** Few steps, few cells: small enough to review as a snapshot. */
export const SMALL: SyntheticOptions = { batches: [1, 4, 8], seeds: [0, 1], tokens: 2048 };

/** A number from the normal distribution (Box & Muller 1958). */
export function normal(random: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/** Calls `use` with a folder that is gone afterwards. */
export async function inFolder(use: (dir: string) => Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir({ prefix: "report-" });
  try {
    await use(dir);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

/** Writes a synthetic run to `dir/name` and returns the folder. */
export async function writtenRun(dir: string, name: string, options: SyntheticOptions = {}): Promise<string> {
  const folder = join(dir, name);
  await writeSyntheticRun(folder, syntheticRun(options));
  return folder;
}

export { loadRun };

interface Node {
  textContent: string;
  tagName: string;
  getAttribute(name: string): string | null;
  closest(selector: string): Node | null;
}

/** A page as a browser would read it. */
export interface Page {
  all(selector: string): Node[];
  text(selector: string): string[];
}

/** Parses HTML with the DOM the charts are drawn in; scripts do not run. */
export function parsePage(html: string): Page {
  const { document } = new D3Node({ container: html });
  const all = (selector: string): Node[] => [...document.querySelectorAll(selector)];
  return {
    all,
    text: (selector) => all(selector).map((node) => node.textContent.replace(/\s+/g, " ").trim()),
  };
}

/** One tag a line, so that a changed chart shows as changed lines. */
export function svgLines(svg: string): string {
  return svg.replace(/></g, ">\n<");
}
