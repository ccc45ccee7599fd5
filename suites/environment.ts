import { fileURLToPath } from "node:url";
import manifest from "../deno.json" with { type: "json" };
import { environmentKey } from "../results/environment.ts";
import type { Environment } from "../results/record.ts";
import { cardOf } from "./card.ts";
import { output } from "./command_output.ts";
import type { AdapterDescription } from "./engine.ts";
import { type WorkTree, workTree } from "./work_tree.ts";

/** Folder of the project. */
export const PROJECT = fileURLToPath(new URL("..", import.meta.url));

/**
 * The machine, the versions, the code and the adapter that a cell runs on.
 *
 * @param code Default: that of the project's folder.
 */
export async function environmentOf(adapter: AdapterDescription, code?: WorkTree): Promise<Environment> {
  const { commit, tree } = code ?? await workTree(PROJECT);
  const environment = {
    adapter: adapter.name,
    vendor: adapter.vendor,
    architecture: adapter.architecture,
    driver: adapter.driver,
    software: adapter.software,
    features: adapter.features,
    limits: adapter.limits,
    subgroupSize: adapter.subgroupSize,
    gpuProvider: adapter.provider as Environment["gpuProvider"], // suites do not run in a page
    gpuProviderVersion: adapter.providerVersion,
    threads: adapter.threads,
    vectorWidth: adapter.vectorWidth,
    card: await cardOf(adapter),
    operatingSystem: await operatingSystem(),
    cpu: await cpuName(),
    cpuCount: navigator.hardwareConcurrency,
    memoryBytes: Deno.systemMemoryInfo().total,
    deno: Deno.version.deno,
    v8: Deno.version.v8,
    typescript: Deno.version.typescript,
    threefold: manifest.version,
    commit,
    tree,
  };
  return { ...environment, key: environmentKey(environment) };
}

async function operatingSystem(): Promise<string> {
  const kernel = `${Deno.build.os} ${Deno.osRelease()} ${Deno.build.arch}`;
  const name = (await readText("/etc/os-release"))?.match(/^PRETTY_NAME="?([^"\n]*)"?$/m)?.[1];
  return name ? `${name} (${kernel})` : kernel;
}

/** Name of the processor, where the system tells it. */
export async function cpuName(): Promise<string | null> {
  const name = (await readText("/proc/cpuinfo"))?.match(/^model name\s*:\s*(.*)$/m)?.[1];
  if (name) return name.trim();
  return Deno.build.os === "darwin" ? await output("sysctl", ["-n", "machdep.cpu.brand_string"]) : null;
}

async function readText(path: string): Promise<string | null> {
  try {
    return await Deno.readTextFile(path);
  } catch {
    return null;
  }
}
