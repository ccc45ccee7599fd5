import { dirname, join } from "node:path";

/**
 * What Linux says of memory beyond what the machine has: what the cgroup of this process may use, as
 * containers and batch systems set it, and how many processes were killed for want of memory. Everything is
 * read from files under `root`, so that tests can lay out a machine of their own; where there are no such
 * files, the answers are null.
 */

/** Counters of processes that were killed for want of memory; null where there is none. */
export interface OomKills {
  /**
   * In the cgroup of this process, which its children share: `memory.events` (v2) or `memory.oom_control`
   * (v1).
   */
  cgroup: number | null;
  /** On the whole machine: `/proc/vmstat`. */
  kernel: number | null;
}

/** Where the memory of this process is accounted for. */
interface MemoryCgroup {
  version: 1 | 2;
  /** Its folder, then those of its ancestors as far as they can be seen. */
  folders: string[];
}

/**
 * Bytes that the cgroup of this process may use, the least of its own limit and its ancestors'; null without
 * a limit.
 */
export async function cgroupLimitBytes(root = "/"): Promise<number | null> {
  const cgroup = await memoryCgroup(root);
  if (cgroup === null) return null;
  const file = cgroup.version === 2 ? "memory.max" : "memory.limit_in_bytes";
  const limits: number[] = [];
  for (const folder of cgroup.folders) {
    const text = (await read(join(folder, file)))?.trim() ?? "max";
    // Version 1 has no word for no limit: it is the largest multiple of a page in 63 bits.
    if (/^\d+$/.test(text) && Number(text) < 2 ** 62) limits.push(Number(text));
  }
  return limits.length === 0 ? null : Math.min(...limits);
}

/** Counts processes that were killed for want of memory, up to now. */
export async function oomKills(root = "/"): Promise<OomKills> {
  const { version, folders } = await memoryCgroup(root) ?? { version: 2, folders: [] };
  let counted: number | null = null;
  // A cgroup without the memory controller is accounted for in the nearest ancestor that has it.
  for (const folder of folders) {
    counted ??= counter(await read(join(folder, version === 2 ? "memory.events" : "memory.oom_control")));
  }
  return { cgroup: counted, kernel: counter(await read(join(root, "proc/vmstat"))) };
}

/**
 * What says that a process which was killed between two counts was killed for want of memory; null where
 * nothing does. The kernel counts each such kill in the cgroup of its victim too: where that counter stands
 * still, it was another's.
 */
export function oomEvidence(before: OomKills, after: OomKills): string | null {
  const rise = (from: number, to: number) => to > from ? `rose from ${from} to ${to}` : null;
  if (before.cgroup !== null && after.cgroup !== null) {
    const rose = rise(before.cgroup, after.cgroup);
    return rose && `the oom_kill counter of its cgroup ${rose} while it ran`;
  }
  if (before.kernel === null || after.kernel === null) return null;
  const rose = rise(before.kernel, after.kernel);
  return rose && `the oom_kill counter of the kernel ${rose} while it ran`;
}

/** `oom_kill 3` in lines of names and numbers. */
function counter(text: string | null): number | null {
  const count = text?.match(/^oom_kill (\d+)$/m)?.[1];
  return count === undefined ? null : Number(count);
}

/** Version 1 where it has the memory controller, as on machines that have both; else version 2. */
async function memoryCgroup(root: string): Promise<MemoryCgroup | null> {
  const [own, mounts] = await Promise.all([
    read(join(root, "proc/self/cgroup")),
    read(join(root, "proc/self/mountinfo")),
  ]);
  if (own === null || mounts === null) return null;
  const paths = own.split("\n").map((line) => line.match(/^\d+:([^:]*):(.*)$/)).filter((match) =>
    match !== null
  );
  const v1 = paths.find(([, controllers]) => controllers.split(",").includes("memory"));
  const v2 = paths.find(([, controllers]) => controllers === "");
  for (const [version, path] of [[1, v1?.[2]], [2, v2?.[2]]] as const) {
    if (path === undefined) continue;
    for (const mount of mounts.split("\n")) {
      const folders = foldersIn(mount, version, path);
      if (folders) return { version, folders: folders.map((folder) => join(root, folder)) };
    }
  }
  return null;
}

/** Folders of a cgroup and its ancestors below a mount; null where the mount is of something else. */
function foldersIn(mount: string, version: 1 | 2, path: string): string[] | null {
  const [, mounted, at, type, options] =
    mount.match(/^\d+ \d+ \S+ (\S+) (\S+) \S+ (?:\S+ )*- (\S+) \S+ (\S+)$/) ?? [];
  const holds = version === 2
    ? type === "cgroup2"
    : type === "cgroup" && options.split(",").includes("memory");
  if (!holds) return null;
  const [top, base] = [unescaped(mounted), unescaped(at)];
  // Containers mount their own cgroup, whose path is written as the host or as they see it; `..` lies outside
  // of both.
  const below = top === "/"
    ? path
    : path === top
    ? ""
    : path.startsWith(`${top}/`)
    ? path.slice(top.length)
    : "";
  let folder = /(^|\/)\.\.(\/|$)/.test(below) ? base : join(base, below);
  if (folder.endsWith("/") && folder !== "/") folder = folder.slice(0, -1);
  const folders = [folder];
  while (folder !== base && folder.startsWith(base)) folders.push(folder = dirname(folder));
  return folders;
}

/** Mount points write white space as octal digits. */
function unescaped(path: string): string {
  return path.replaceAll(/\\([0-7]{3})/g, (_, digits) => String.fromCharCode(parseInt(digits, 8)));
}

async function read(path: string): Promise<string | null> {
  try {
    return await Deno.readTextFile(path);
  } catch {
    return null; // not Linux, no such controller, or not for this user
  }
}
