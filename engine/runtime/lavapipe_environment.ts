import { join } from "node:path";
import { cacheFolder } from "./cache_folder.ts";
import { lavapipeRevision } from "./lavapipe_manifest.ts";

/** Threads a core: two are faster than one by a twentieth and than eight by as much (`docs/performance.md`). */
const THREADS_A_CORE = 2;
/** Machines with as many cores keep a thread a core: they have idle ones to wake a thread on. */
const MANY_CORES = 16;
const THREADS = "LP_NUM_THREADS";
const VECTOR_WIDTH = "LP_NATIVE_VECTOR_WIDTH";
const SHADER_CACHE = "MESA_SHADER_CACHE_DIR";
/** What else says where Mesa keeps machine code, or that it does not. */
const SHADER_CACHE_SETTINGS = [SHADER_CACHE, "MESA_GLSL_CACHE_DIR", "MESA_SHADER_CACHE_DISABLE"];
/** Bits of a vector: what Mesa takes at most by itself, and what it can take. */
const [NARROW, WIDE] = [256, 512];
/** What a processor has to have for vectors of 512 bits: Intel's servers since Skylake, AMD's since Zen 4. */
const WIDE_FLAGS = ["avx512f", "avx512bw", "avx512dq", "avx512vl"];
/**
 * `lavapipeRevision` of the newest Mesa, 22.3, on which 512 bits are known to be faster. On Mesa 25.0 (305) they take four times as
 * long: there a subgroup of eight hands numbers round in one instruction, and any other by a loop through memory.
 */
const NEWEST_WIDE = 230;

/** Where the environment is read and written. */
type Variables = Pick<typeof Deno.env, "get" | "set">;

/**
 * Tells Mesa's software adapter how many threads to compute with and how wide its vectors are, unless the environment does.
 *
 * Threads: by itself it takes one a core, cuts each dispatch into as many runs of workgroups, and has the threads sleep between
 * dispatches. Linux does not look for an idle core when it wakes one while it takes all few cores for busy: two threads then
 * share a core, and another is idle. With more threads and shorter runs there is one on every core more often, and whichever
 * runs takes what the others have not begun.
 *
 * Vectors: by itself it takes 256 bits even of processors that have 512, which multiply matrices 1.4 times as fast with Mesa 22.3; the
 * adapter then has subgroups of 16 invocations. Later ones are left at 256 (`NEWEST_WIDE`), and so are those of unknown version.
 *
 * Machine code: Mesa finds what it has kept by a kernel alone, not by the width it was compiled for, and takes code of one width for
 * another. What was compiled for other vectors than its own is therefore kept in a folder for their width.
 *
 * Mesa reads the variables when the first adapter is asked for.
 *
 * @param flags What the processor can do, in the words of Linux.
 * @param variables The environment; null where it may not be written.
 * @param revision What tells Mesa's version, see `lavapipeRevision`.
 * @param shaderCache The folder for machine code of a width, made if need be; undefined where it cannot be.
 */
export function tuneLavapipe(
  {
    os = Deno.build.os,
    cores = navigator.hardwareConcurrency,
    flags = processorFlags(),
    variables = environment(),
    revision = installedRevision(),
    shaderCache = shaderCacheFolder,
  }: {
    os?: string;
    cores?: number;
    flags?: readonly string[];
    variables?: Variables | null;
    revision?: number;
    shaderCache?: (bits: number) => string | undefined;
  } = {},
): void {
  if (os !== "linux" || !variables) return;
  if (cores >= 2 && cores < MANY_CORES && !variables.get(THREADS)) {
    variables.set(THREADS, String(Math.min(THREADS_A_CORE * cores, MANY_CORES)));
  }
  if (isWide(flags, revision) && !variables.get(VECTOR_WIDTH)) variables.set(VECTOR_WIDTH, String(WIDE));
  const bits = Number(variables.get(VECTOR_WIDTH));
  if (bits > 0 && bits !== NARROW && !SHADER_CACHE_SETTINGS.some((name) => variables.get(name))) {
    const folder = shaderCache(bits);
    if (folder !== undefined) variables.set(SHADER_CACHE, folder);
  }
}

/** Invocations of a subgroup of Mesa's software adapter, as `tuneLavapipe` has it: one for each 32 bits of a vector. */
export function lavapipeLanes(
  { flags = processorFlags(), variables = environment(), revision = installedRevision() }: {
    flags?: readonly string[];
    variables?: Pick<Variables, "get"> | null;
    revision?: number;
  } = {},
): number {
  const told = Number(variables?.get(VECTOR_WIDTH));
  return (told > 0 ? told : variables && isWide(flags, revision) ? WIDE : NARROW) / 32;
}

/**
 * What Mesa's software adapter computes with: the threads it was told, null where it was not, and the width of its vectors in
 * bits, which its name has. Both null for other adapters.
 *
 * @param name Of the adapter: `llvmpipe (LLVM 15.0.6, 256 bits)`.
 */
export function lavapipeSettings(
  name: string,
  variables: Pick<Variables, "get"> | null = environment(),
): { threads: number | null; vectorWidth: number | null } {
  if (!/llvmpipe|lavapipe/i.test(name)) return { threads: null, vectorWidth: null };
  const number = (text: string | undefined) => text ? Number(text) : null;
  const bits = name.match(/\b(\d+) bits\b/)?.[1];
  return { threads: number(variables?.get(THREADS)), vectorWidth: number(bits) };
}

function isWide(flags: readonly string[], revision: number | undefined): boolean {
  return revision !== undefined && revision <= NEWEST_WIDE &&
    WIDE_FLAGS.every((flag) => flags.includes(flag));
}

/** Of the driver that Vulkan's loader will find. */
function installedRevision(): number | undefined {
  return lavapipeRevision((variable) =>
    Deno.permissions.querySync({ name: "env", variable }).state === "granted"
      ? Deno.env.get(variable)
      : undefined
  );
}

/** Flags of the first processor, or none where the system does not tell or may not be asked. */
function processorFlags(): string[] {
  if (Deno.build.os !== "linux") return [];
  const path = "/proc/cpuinfo";
  // Asked first: reading without the right would prompt.
  if (Deno.permissions.querySync({ name: "read", path }).state !== "granted") return [];
  try {
    const [, flags = ""] = /^flags\s*:(.*)$/m.exec(Deno.readTextFileSync(path)) ?? [];
    return flags.trim().split(/\s+/);
  } catch {
    return [];
  }
}

/** Made here, because Mesa makes one level of folders only and else keeps nothing. */
function shaderCacheFolder(bits: number): string | undefined {
  try {
    const folder = join(cacheFolder(), `mesa-${bits}`);
    Deno.mkdirSync(folder, { recursive: true });
    return folder;
  } catch {
    // Not to be written, or not without asking: Mesa's own is the next best.
    return undefined;
  }
}

/** The process's environment, where it may be written. */
function environment(): typeof Deno.env | null {
  const granted = [THREADS, VECTOR_WIDTH, ...SHADER_CACHE_SETTINGS].every((variable) =>
    Deno.permissions.querySync({ name: "env", variable }).state === "granted"
  );
  return granted ? Deno.env : null;
}
