import { output } from "./command_output.ts";
import type { AdapterDescription } from "./engine.ts";

/** Peak memory as the driver or the system saw it. */
export interface Observation {
  /** Less the baseline; null where it cannot be had. */
  peakBytes: number | null;
  baselineBytes: number | null;
  /** In use when the kernels were compiled and no buffer existed, less the baseline; null: not had. */
  kernelBytes: number | null;
  /** How it was observed, or why not. */
  how: string;
}

/** Reads the memory in use now, of a process or of the whole device. */
export interface MemorySource {
  how: string;
  bytesUsed(pid: number): Promise<number | null>;
}

/** How often the driver is asked. A peak that is shorter can be missed: the observation is a lower bound. */
const POLL_MS = 200;

/** Largest resident size of this process so far, or null where the system does not tell. */
export function peakResidentBytes(): number | null {
  return processStatusBytes("VmHWM");
}

/**
 * Steps after which the peak of a process counts no longer. All that a run needs has been used by then: its
 * buffers exist before the first step and each is written in the first. What comes on top later is garbage
 * that has not been collected, more of it the longer the run, so that the figure would say how many steps
 * there were.
 */
const OBSERVED_STEPS = 20;

/** Peak resident size of this process over the start of a run and its first `OBSERVED_STEPS` steps. */
export class ProcessPeak {
  static readonly how = `process peak RSS up to step ${OBSERVED_STEPS}`;
  readonly #read: () => number | null;
  #steps = 0;
  #bytes: number | null = null;

  /** @param read Peak so far, as the system has it. */
  constructor(read: () => number | null = peakResidentBytes) {
    this.#read = read;
  }

  /** To be called after each step. */
  step(): void {
    if (++this.#steps === OBSERVED_STEPS) this.#bytes = this.#read();
  }

  /** The peak; null where the system does not tell. */
  get bytes(): number | null {
    return this.#steps < OBSERVED_STEPS ? this.#read() : this.#bytes;
  }
}

/** Resident size of this process now, or null where the system does not tell. */
export function residentBytes(): number | null {
  return processStatusBytes("VmRSS");
}

function processStatusBytes(field: "VmHWM" | "VmRSS"): number | null {
  if (Deno.build.os !== "linux") return null;
  try {
    const kibibytes = Deno.readTextFileSync("/proc/self/status").match(
      new RegExp(`^${field}:\\s+(\\d+) kB$`, "m"),
    )?.[1];
    return kibibytes ? Number(kibibytes) * 1024 : null;
  } catch {
    return null;
  }
}

/** How the memory of an adapter can be observed: by its driver, by the process (software), or not at all. */
export async function memorySource(
  adapter: AdapterDescription,
): Promise<MemorySource | "process" | { reason: string }> {
  if (adapter.software) {
    return Deno.build.os === "linux" ? "process" : { reason: `no peak resident size on ${Deno.build.os}` };
  }
  if (/nvidia|^4318$|0x10de/i.test(`${adapter.vendor} ${adapter.name}`)) {
    if (await nvidiaSmi("memory.used") !== null) return nvidiaSource();
    return { reason: "nvidia-smi does not answer" };
  }
  const card = await amdCard();
  if (card) {
    return {
      how: `${card}/mem_info_vram_used, whole device`,
      bytesUsed: () => readNumber(`${card}/mem_info_vram_used`),
    };
  }
  return { reason: `no source of memory use is known for ${adapter.name} on ${Deno.build.os}` };
}

/** Memory of the GPU, or null where its driver does not tell. */
export async function deviceMemoryBytes(adapter: AdapterDescription): Promise<number | null> {
  if (adapter.software) return null;
  if (/nvidia|^4318$|0x10de/i.test(`${adapter.vendor} ${adapter.name}`)) {
    return await nvidiaSmi("memory.total");
  }
  const card = await amdCard();
  return card ? await readNumber(`${card}/mem_info_vram_total`) : null;
}

/**
 * The process's own memory where nvidia-smi lists it; in containers it does not,
 * and the whole device's is taken.
 */
function nvidiaSource(): MemorySource {
  const source: MemorySource = {
    how: "nvidia-smi, this process",
    async bytesUsed(pid) {
      const own = source.how.endsWith("process") ? await nvidiaProcessBytes(pid) : null;
      if (own !== null) return own;
      source.how = "nvidia-smi, whole device";
      return await nvidiaSmi("memory.used");
    },
  };
  return source;
}

async function nvidiaProcessBytes(pid: number): Promise<number | null> {
  const rows = await output("nvidia-smi", [
    "--query-compute-apps=pid,used_memory",
    "--format=csv,noheader,nounits",
  ]);
  return rows === null ? null : parseProcessBytes(rows, pid);
}

/** Bytes of a process in the rows `pid, MiB` of nvidia-smi; null where it has none, or no number. */
export function parseProcessBytes(rows: string, pid: number): number | null {
  const mebibytes = rows.split("\n").map((row) => row.split(",").map((cell) => cell.trim()))
    .filter(([id, amount]) => Number(id) === pid && /^\d+$/.test(amount ?? ""))
    .map(([, amount]) => Number(amount));
  return mebibytes.length === 0 ? null : mebibytes.reduce((a, b) => a + b) * 2 ** 20;
}

async function nvidiaSmi(field: "memory.used" | "memory.total"): Promise<number | null> {
  const text = await output("nvidia-smi", [`--query-gpu=${field}`, "--format=csv,noheader,nounits"]);
  const mebibytes = text?.split("\n")[0].trim();
  return mebibytes && /^\d+$/.test(mebibytes) ? Number(mebibytes) * 2 ** 20 : null;
}

/** Folder of the AMD card with most memory. */
async function amdCard(): Promise<string | null> {
  const cards: { folder: string; bytes: number }[] = [];
  try {
    for await (const { name } of Deno.readDir("/sys/class/drm")) {
      if (!/^card\d+$/.test(name)) continue;
      const folder = `/sys/class/drm/${name}/device`;
      const bytes = await readNumber(`${folder}/mem_info_vram_total`);
      if (bytes !== null) cards.push({ folder, bytes });
    }
  } catch {
    return null; // not Linux, or no such folder
  }
  return cards.sort((a, b) => b.bytes - a.bytes)[0]?.folder ?? null;
}

async function readNumber(path: string): Promise<number | null> {
  try {
    const text = (await Deno.readTextFile(path)).trim();
    return /^\d+$/.test(text) ? Number(text) : null;
  } catch {
    return null;
  }
}

/** Watches the memory of one process from outside. */
export class MemoryPoller {
  readonly #source: MemorySource;
  readonly #pid: number;
  #baseline: number | null = null;
  #compiled: number | null = null;
  #peak: number | null = null;
  #stopped = false;
  #loop: Promise<void> | null = null;
  #wake: (() => void) | null = null;

  constructor(source: MemorySource, pid: number) {
    this.#source = source;
    this.#pid = pid;
  }

  /** Takes the memory in use now as the baseline, and begins to watch. */
  async begin(): Promise<void> {
    this.#baseline = await this.#source.bytesUsed(this.#pid);
    this.#loop = this.#poll();
  }

  /** Takes the memory in use now as what the compiled kernels need beside the baseline. */
  async compiled(): Promise<void> {
    this.#compiled = await this.#read();
  }

  async #read(): Promise<number | null> {
    const bytes = await this.#source.bytesUsed(this.#pid);
    if (bytes !== null) this.#peak = Math.max(this.#peak ?? 0, bytes);
    return bytes;
  }

  async #poll(): Promise<void> {
    while (!this.#stopped) {
      await this.#read();
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, POLL_MS);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  async end(): Promise<Observation> {
    this.#stopped = true;
    this.#wake?.();
    await this.#loop;
    return observation(
      { peak: this.#peak, baseline: this.#baseline, compiled: this.#compiled },
      this.#source.how,
    );
  }
}

/** What was in use at three times; null where there is no reading. */
interface Readings {
  peak: number | null;
  /** Of the device when it was open and empty. */
  baseline: number | null;
  /** When the kernels were compiled, and no buffer existed. */
  compiled: number | null;
}

/** Peak, and what the kernels took, less the baseline, or the reason why there is none. */
export function observation({ peak, baseline, compiled }: Readings, how: string): Observation {
  if (peak === null || baseline === null) {
    return { peakBytes: null, baselineBytes: baseline, kernelBytes: null, how: `${how}: no reading` };
  }
  const beside = (bytes: number) => Math.max(0, bytes - baseline);
  return {
    peakBytes: beside(peak),
    baselineBytes: baseline,
    kernelBytes: compiled === null ? null : beside(compiled),
    how,
  };
}
