// Writes the tables of docs/performance.md from the published records: deno task performance
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { readCells, readRun } from "../../results/files.ts";
import { ranAlone } from "../../results/rates.ts";
import { timedStepMs } from "../../results/rates.ts";
import type { CellRecord } from "../../results/record.ts";
import { median } from "../../results/stats.ts";
import { compareGpu, type GpuRow, type SidedRun } from "../bench/gpu_comparison.ts";
import { parseGpuCase } from "../bench/gpu_step.ts";

const PROJECT = fileURLToPath(new URL("../../", import.meta.url));

/** The page, and the folder of published records beside it: one folder a machine. */
export const PAGE = join(PROJECT, "docs", "performance.md");
export const PUBLISHED = join(PROJECT, "results");

/**
 * Fewer timed steps than these, all runs of a configuration together, say more of
 * a cold process than of the engine.
 */
const LEAST_STEPS = 8;

/** One line of a table: a training step here, and PyTorch's beside it where it was measured. */
export interface StepRow {
  model: string;
  microBatchSize: number;
  gradientAccumulationSteps: number;
  sequenceLength: number;
  methods: string;
  optimizer: string;
  engine: StepFigures | null;
  torch: StepFigures | null;
  /** Run folder with its day, or file, below the machine's folder. */
  source: string;
}

export interface StepFigures {
  medianMs: number;
  /** As planned; what PyTorch's allocator counted. */
  peakBytes: number;
}

/** What a machine's folder has: rows by model and size, and what they were measured on. */
export interface MachineTable {
  adapter: string;
  rows: StepRow[];
}

/** A run's records and when it began. */
interface PublishedRun {
  name: string;
  startedAt: string;
  cells: readonly CellRecord[];
}

/** What `deno task bench:gpu --out FILE` writes, as far as it is read here. */
interface GpuFile {
  cases: { case: string; runs: SidedRun[] }[];
}

/** Reads the run folders and the comparisons with PyTorch of one machine. */
export async function machineTable(folder: string): Promise<MachineTable> {
  const runs: PublishedRun[] = [];
  const rows: StepRow[] = [];
  let adapter = "";
  const names = (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name).sort();
  for (const name of names) {
    const path = join(folder, name);
    if (name.endsWith(".json")) {
      rows.push(...comparedRows(JSON.parse(await Deno.readTextFile(path)) as GpuFile, name));
      continue;
    }
    const run = (await Deno.stat(path)).isDirectory ? await readRun(path) : null;
    if (run === null) continue;
    const { cells } = await readCells(path);
    runs.push({ name, startedAt: run.startedAt, cells: [...cells.values()] });
    const { environment } = run;
    adapter = `${environment.adapter}, driver ${environment.driver}, ${environment.gpuProviderVersion}`;
  }
  return { adapter, rows: [...trainedRows(runs), ...rows].sort(bySize) };
}

/**
 * A row for each training configuration that runs measured: all seeds and repeats of the latest run that has
 * it. Learning rate and number of steps make no other row, as a step takes as long and as much with each.
 */
export function trainedRows(runs: readonly PublishedRun[]): StepRow[] {
  const rows = new Map<string, StepRow>();
  for (const run of [...runs].sort((a, b) => a.startedAt < b.startedAt ? -1 : 1)) {
    const groups = Map.groupBy(
      run.cells.filter(({ kind, status, config }) =>
        kind === "trained" && status === "ok" && config.startFrom === null
      ),
      stepKey,
    );
    for (const [key, cells] of groups) {
      const ms = cells.flatMap(timedStepMs);
      if (ms.length < LEAST_STEPS) continue;
      const { model, microBatchSize, gradientAccumulationSteps, sequenceLength, methods, optimizer } =
        cells[0].config;
      rows.set(key, {
        model,
        microBatchSize,
        gradientAccumulationSteps,
        sequenceLength,
        methods: methods.join(", "),
        optimizer,
        engine: {
          medianMs: median(ms),
          peakBytes: Math.max(...cells.map(({ memory }) => memory?.plannedPeakBytes ?? 0)),
        },
        torch: null,
        source: `${run.name}, ${run.startedAt.slice(0, 10)}`,
      });
    }
  }
  return [...rows.values()];
}

function stepKey({ config }: CellRecord): string {
  const { model, sequenceLength, microBatchSize, gradientAccumulationSteps, methods, optimizer } = config;
  return JSON.stringify([
    model,
    sequenceLength,
    microBatchSize,
    gradientAccumulationSteps,
    methods,
    config.methodOptions,
    optimizer,
    config.optimizerOptions,
    config.dropout,
  ]);
}

/**
 * Steps of this engine beside PyTorch's of the same kind: naive attention beside "eager", flash attention
 * beside `scaled_dot_product_attention`, fp16 beside bf16.
 */
export function comparedRows(file: GpuFile, source: string): StepRow[] {
  return file.cases.flatMap(({ case: text, runs }) => {
    const { model, batchSize, sequenceLength } = parseGpuCase(text);
    const { rows } = compareGpu(runs);
    return PAIRS.flatMap(({ methods, engine, torch }): StepRow[] => {
      const [ours, theirs] = [engine, torch].map((variant, i) =>
        rows.find((row) => row.side === (["threefold", "torch"] as const)[i] && row.variant === variant)
      );
      if (!ours && !theirs) return [];
      return [{
        model,
        microBatchSize: batchSize,
        gradientAccumulationSteps: 1,
        sequenceLength,
        methods,
        optimizer: "adamw",
        engine: figuresOf(ours),
        torch: figuresOf(theirs),
        source,
      }];
    });
  });
}

const PAIRS = [
  { methods: "", engine: "f32-naive", torch: "f32-eager" },
  { methods: "flash", engine: "f32-flash", torch: "f32-sdpa" },
  { methods: "fp16", engine: "f16-naive", torch: "bf16-eager" },
  { methods: "flash, fp16", engine: "f16-flash", torch: "bf16-sdpa" },
];

function figuresOf(row: GpuRow | undefined): StepFigures | null {
  return row ? { medianMs: row.medianMs, peakBytes: row.peakBytes ?? NaN } : null;
}

/** Models side by side, each from its plainest step to its leanest; what was compared with PyTorch last. */
function bySize(a: StepRow, b: StepRow): number {
  return Number(a.source.endsWith(".json")) - Number(b.source.endsWith(".json")) ||
    (a.model < b.model ? -1 : a.model > b.model ? 1 : 0) ||
    effectiveBatchSize(b) - effectiveBatchSize(a) || b.microBatchSize - a.microBatchSize ||
    (b.engine?.peakBytes ?? b.torch!.peakBytes) - (a.engine?.peakBytes ?? a.torch!.peakBytes);
}

function effectiveBatchSize({ microBatchSize, gradientAccumulationSteps }: StepRow): number {
  return microBatchSize * gradientAccumulationSteps;
}

/** The table as Markdown, with what it was measured on above it. */
export function tableText({ adapter, rows }: MachineTable): string {
  const lines = rows.map((row) => {
    const { engine, torch } = row;
    const accumulated = row.gradientAccumulationSteps > 1 ? `, ${row.gradientAccumulationSteps} times` : "";
    return [
      row.model,
      `${row.microBatchSize} × ${row.sequenceLength}${accumulated}`,
      row.methods || "–",
      row.optimizer,
      engine ? engine.medianMs.toFixed(1) : "–",
      megabytes(engine),
      torch ? torch.medianMs.toFixed(1) : "–",
      megabytes(torch),
      row.source.replace(/\.json$/, ""),
    ];
  });
  const header = ["model", "tokens", "methods", "optimizer", "ms", "MB", "PyTorch ms", "MB", "from"];
  const rule = ["---", "---", "---", "---", "---:", "---:", "---:", "---:", "---"];
  return [`${adapter}:`, "", ...[header, rule, ...lines].map((cells) => `| ${cells.join(" | ")} |`)].join(
    "\n",
  );
}

function megabytes(figures: StepFigures | null): string {
  return figures ? (figures.peakBytes / 1e6).toFixed(0) : "–";
}

const BLOCK =
  /(<!-- made from results\/(\S+) by deno task performance -->\n).*?(<!-- end of what is made -->)/gs;

/** Folders of machines that a page has a block for. */
export function machinesIn(page: string): string[] {
  return [...page.matchAll(BLOCK)].map(([, , machine]) => machine);
}

/** The page with each block as its machine's records have it now. */
export async function withTables(page: string, published: string): Promise<string> {
  const texts = new Map<string, string>();
  for (const machine of machinesIn(page)) {
    texts.set(machine, tableText(await machineTable(join(published, machine))));
  }
  return page.replace(BLOCK, (_, begin, machine, end) => `${begin}${texts.get(machine)}\n${end}`);
}

/** Machines whose folder holds a run. */
export async function publishedMachines(published: string): Promise<string[]> {
  const machines: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(published)) {
    if (!isDirectory) continue;
    const runs = (await Array.fromAsync(Deno.readDir(join(published, name)))).filter((entry) =>
      entry.isDirectory
    );
    // Cells that ran beside others have no times to print.
    const timed = await Promise.all(runs.map(async (run) => {
      const { cells } = await readCells(join(published, name, run.name));
      return cells.size === 0 || [...cells.values()].some(ranAlone);
    }));
    if (timed.includes(true)) machines.push(name);
  }
  return machines.sort();
}

if (import.meta.main) {
  const page = await withTables(await Deno.readTextFile(PAGE), PUBLISHED);
  await Deno.writeTextFile(PAGE, page);
  console.log(
    `docs/${basename(PAGE)}: tables of ${machinesIn(page).join(" and ")} as their records have them`,
  );
}
