import { fileURLToPath } from "node:url";
import manifest from "../deno.json" with { type: "json" };
import type { Environment } from "../results/record.ts";
import type { AdapterDescription } from "./engine.ts";

/** Folder of the project. */
export const PROJECT = fileURLToPath(new URL("..", import.meta.url));

/** The machine, the versions and the adapter that a cell runs on. */
export async function environmentOf(adapter: AdapterDescription): Promise<Environment> {
  return {
    adapter: adapter.name,
    vendor: adapter.vendor,
    architecture: adapter.architecture,
    driver: adapter.driver,
    software: adapter.software,
    features: adapter.features,
    limits: adapter.limits,
    subgroupSize: adapter.subgroupSize,
    gpuProvider: adapter.provider,
    gpuProviderVersion: adapter.providerVersion,
    operatingSystem: await operatingSystem(),
    cpu: await cpuName(),
    cpuCount: navigator.hardwareConcurrency,
    memoryBytes: Deno.systemMemoryInfo().total,
    deno: Deno.version.deno,
    v8: Deno.version.v8,
    typescript: Deno.version.typescript,
    threefold: manifest.version,
    commit: await commit(),
  };
}

async function operatingSystem(): Promise<string> {
  const kernel = `${Deno.build.os} ${Deno.osRelease()} ${Deno.build.arch}`;
  const name = (await readText("/etc/os-release"))?.match(/^PRETTY_NAME="?([^"\n]*)"?$/m)?.[1];
  return name ? `${name} (${kernel})` : kernel;
}

async function cpuName(): Promise<string | null> {
  const name = (await readText("/proc/cpuinfo"))?.match(/^model name\s*:\s*(.*)$/m)?.[1];
  if (name) return name.trim();
  return Deno.build.os === "darwin" ? await output("sysctl", ["-n", "machdep.cpu.brand_string"]) : null;
}

/** Commit of the working tree, with `+` when tracked files have changed; null outside a repository. */
async function commit(): Promise<string | null> {
  const head = await output("git", ["-C", PROJECT, "rev-parse", "HEAD"]);
  if (!head) return null;
  const changes = await output("git", ["-C", PROJECT, "status", "--porcelain", "--untracked-files=no"]);
  return changes ? `${head}+` : head;
}

async function readText(path: string): Promise<string | null> {
  try {
    return await Deno.readTextFile(path);
  } catch {
    return null;
  }
}

async function output(command: string, args: string[]): Promise<string | null> {
  try {
    const { success, stdout } = await new Deno.Command(command, { args, stderr: "null" }).output();
    return success ? new TextDecoder().decode(stdout).trim() : null;
  } catch {
    return null;
  }
}
