import { join } from "node:path";
import process from "node:process";
import { InputError } from "../engine/input_error.ts";
import { writeJsonAtomically } from "../results/files.ts";
import type { Shard } from "./matrix.ts";

/**
 * The lock of a run folder: one runner at a time for each of its cells, as two would overwrite each other's
 * records and spoil each other's times. It is a file a shard, `lock.json` or `lock-1-of-2.json`, that names
 * its owner and holds a time. The owner renews the time; where it no longer does, the lock is stale, and
 * another may take it.
 */

/** How often an owner renews its lock. */
export const RENEW_MS = 30_000;

/** Age from which on a lock is stale. */
export const STALE_MS = 180_000;

/** A process, and where it runs. */
export interface Owner {
  host: string;
  /**
   * What the process id counts in: two containers can have one name, and each a process 7; null where it is
   * not known.
   */
  processes: string | null;
  pid: number;
  /** When the process began, in the system's own count: ids are used again; null where it is not known. */
  began: string | null;
}

/** What a lock file says. */
interface Lock extends Owner {
  /** Names this lock, and no other of the same process. */
  token: string;
  takenAt: string;
  renewedAt: string;
}

/** What the lock needs to know of the world; tests have their own. */
export interface LockSurroundings {
  now(): number;
  owner: Owner;
  /** Whether a process of this host is there. */
  isAlive(owner: Owner): boolean;
  renewMs: number;
}

const WHOLE: Shard = { index: 1, count: 1 };

/** The lock of a run folder, or of a shard of it, while it is held. */
export class RunLock {
  readonly #shard: Shard;
  readonly #given: Partial<LockSurroundings>;
  readonly #lost = new AbortController();
  readonly #onUnload = () => this.#removeAtOnce();
  #held: {
    folder: string;
    path: string;
    lock: Lock;
    around: LockSurroundings;
    timer: ReturnType<typeof setInterval>;
  } | null = null;

  /** The renewal that is under way, where it is the timer's. */
  #renewing: Promise<boolean> | null = null;

  /** Holds nothing yet. */
  constructor(shard: Shard | null, surroundings: Partial<LockSurroundings> = {}) {
    this.#shard = shard ?? WHOLE;
    this.#given = surroundings;
  }

  /** Aborts when the lock has been lost: another runner has taken it, or somebody removed it. */
  get signal(): AbortSignal {
    return this.#lost.signal;
  }

  /**
   * Takes the lock of a folder that is there, and begins to renew it. Does nothing where it is held already.
   *
   * @returns Whether runners of other shards are at work in the folder.
   * @throws {InputError} where another runner holds it, or that of a shard with cells in common.
   */
  async take(folder: string): Promise<boolean> {
    if (this.#held?.folder === folder) return false;
    const around: LockSurroundings = { ...await realSurroundings(), ...this.#given };
    const time = new Date(around.now()).toISOString();
    const lock: Lock = { ...around.owner, token: crypto.randomUUID(), takenAt: time, renewedAt: time };
    const path = join(folder, lockName(this.#shard));
    const joins = await exclusively(folder, async () => {
      const others = await locksIn(folder);
      for (const other of others) {
        if (overlap(this.#shard, other.shard) && !isFree(other, around)) {
          throw refusal(folder, this.#shard, other, around.now());
        }
      }
      for (const other of others) if (overlap(this.#shard, other.shard)) await Deno.remove(other.path);
      // New or not at all: where the file system has no locks of its own, two can be here at once.
      await Deno.writeTextFile(path, JSON.stringify(lock), { createNew: true }).catch(async (error) => {
        const other = (await locksIn(folder)).find((one) => one.path === path);
        throw error instanceof Deno.errors.AlreadyExists && other
          ? refusal(folder, this.#shard, other, around.now())
          : error;
      });
      return others.some((other) => !overlap(this.#shard, other.shard) && !isFree(other, around));
    });
    const timer = setInterval(() => {
      this.#renewing ??= this.renew().finally(() => this.#renewing = null);
    }, around.renewMs);
    this.#held = { folder, path, lock, around, timer };
    globalThis.addEventListener("unload", this.#onUnload);
    return joins;
  }

  /** Renews the lock where it is still held. @returns False where it has been lost. */
  async renew(): Promise<boolean> {
    const held = this.#held;
    if (held === null || this.#lost.signal.aborted) return !this.#lost.signal.aborted;
    try {
      await exclusively(held.folder, async () => {
        if (this.#held !== held) return; // let go of in the meantime
        if ((await readLock(held.path))?.token !== held.lock.token) return this.#lost.abort();
        const lock = { ...held.lock, renewedAt: new Date(held.around.now()).toISOString() };
        await writeJsonAtomically(held.path, lock);
        held.lock = lock;
      });
    } catch (error) {
      // A disk that is full or away for a moment takes nothing away; a lock that has become stale may be
      // another's.
      const stale = held.around.now() - Date.parse(held.lock.renewedAt) >= STALE_MS;
      if (stale || error instanceof Deno.errors.NotFound) this.#lost.abort();
    }
    return !this.#lost.signal.aborted;
  }

  /** @throws {InputError} where the lock has been lost: what the folder says now is another's. */
  async requireHeld(): Promise<void> {
    if (!this.#lost.signal.aborted || this.#held === null) return;
    const { folder, path } = this.#held;
    const other = await readLock(path);
    throw new InputError(
      `Stopped: ${
        other ? `process ${other.pid} on ${other.host} has taken the lock of ${folder}` : `${path} is gone`
      }, which was not renewed for a while or was removed; expected to be the only one that runs there`,
    );
  }

  /** Lets go of the lock. */
  async release(): Promise<void> {
    const held = this.#held;
    this.#held = null;
    if (held === null) return;
    clearInterval(held.timer);
    await this.#renewing; // it would make `.lock` anew behind what is removed here
    globalThis.removeEventListener("unload", this.#onUnload);
    await exclusively(held.folder, async () => {
      if ((await readLock(held.path))?.token === held.lock.token) await Deno.remove(held.path);
    }).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error; // the folder is gone
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.release();
  }

  /** Where the program ends at once, as at the second ctrl-C. */
  #removeAtOnce(): void {
    if (this.#held === null) return;
    const { path, lock } = this.#held;
    try {
      if (JSON.parse(Deno.readTextFileSync(path)).token === lock.token) Deno.removeSync(path);
    } catch {
      // It is stale for whoever comes next.
    }
  }
}

/**
 * Does something in a folder while no other process does. By a lock of the file system on `.lock`, which ends
 * with its process however that ends, and of which nothing remains; not for long, as the others wait.
 */
export async function exclusively<T>(folder: string, act: () => Promise<T>): Promise<T> {
  const path = join(folder, ".lock");
  while (true) {
    using file = await Deno.open(path, { read: true, write: true, create: true });
    await file.lock(true).catch(() => {}); // some file systems have none
    // Whoever had it before has removed the file that was waited for.
    if (!await isAt(path, file)) continue;
    try {
      return await act();
    } finally {
      await Deno.remove(path).catch(() => {}); // Windows keeps files that are open
    }
  }
}

async function isAt(path: string, file: Deno.FsFile): Promise<boolean> {
  const [there, open] = await Promise.all([Deno.stat(path).catch(() => null), file.stat()]);
  return there !== null && there.ino === open.ino && there.dev === open.dev;
}

/** A lock file of a folder; one that cannot be read is as old as the file. */
interface FoundLock {
  path: string;
  shard: Shard;
  lock: Lock | null;
  renewedAt: number;
}

async function locksIn(folder: string): Promise<FoundLock[]> {
  const found: FoundLock[] = [];
  for await (const { name } of Deno.readDir(folder)) {
    const shard = shardOf(name);
    if (shard === null) continue;
    const path = join(folder, name);
    const lock = await readLock(path);
    const modified = (await Deno.stat(path).catch(() => null))?.mtime?.getTime();
    if (lock === null && modified === undefined) continue; // removed in the meantime
    found.push({ path, shard, lock, renewedAt: lock ? Date.parse(lock.renewedAt) : modified! });
  }
  return found;
}

async function readLock(path: string): Promise<Lock | null> {
  try {
    const lock = JSON.parse(await Deno.readTextFile(path));
    return typeof lock?.token === "string" && !Number.isNaN(Date.parse(lock.renewedAt)) ? lock : null;
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}

/** Whether a lock may be taken: it is stale, or its owner is known to be gone. */
function isFree({ lock, renewedAt }: FoundLock, { now, owner, isAlive }: LockSurroundings): boolean {
  if (now() - renewedAt >= STALE_MS) return true;
  return lock !== null && lock.host === owner.host && lock.processes === owner.processes && !isAlive(lock);
}

function refusal(folder: string, own: Shard, { lock, shard, renewedAt, path }: FoundLock, now: number) {
  const what = shard.count === 1 ? folder : `shard ${shard.index}/${shard.count} of ${folder}`;
  const seconds = Math.max(0, Math.round((now - renewedAt) / 1000));
  const free = `the lock is free ${STALE_MS / 60_000} min after that`;
  const who = lock
    ? `process ${lock.pid} on ${lock.host} runs ${what} since ${lock.takenAt}, last heard of ${seconds} s ago`
    : `${path} was written ${seconds} s ago and cannot be read`;
  return new InputError(
    `Cannot run ${own.count === 1 ? "" : `shard ${own.index}/${own.count} `}in ${folder}: ${who}. ` +
      `Wait until it has ended, stop it, or choose another --out; if it is gone, ${free}`,
  );
}

function lockName({ index, count }: Shard): string {
  return count === 1 ? "lock.json" : `lock-${index}-of-${count}.json`;
}

/** The shard of a lock file's name; null for other files. */
function shardOf(name: string): Shard | null {
  if (name === "lock.json") return WHOLE;
  const [, index, count] = (name.match(/^lock-(\d+)-of-(\d+)\.json$/) ?? []).map(Number);
  return index === undefined ? null : { index, count };
}

/**
 * Whether two shards can have cells in common: there is a number with both remainders (Chinese remainder
 * theorem).
 */
function overlap(a: Shard, b: Shard): boolean {
  return (a.index - b.index) % greatestCommonDivisor(a.count, b.count) === 0;
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}

async function realSurroundings(): Promise<LockSurroundings> {
  return {
    now: Date.now,
    owner: {
      host: Deno.hostname(),
      processes: await processSpace(),
      pid: Deno.pid,
      began: beganAt(Deno.pid),
    },
    isAlive,
    renewMs: RENEW_MS,
  };
}

/** What tells this system's process ids from those of another boot or container. */
async function processSpace(): Promise<string | null> {
  if (Deno.build.os !== "linux") return null;
  const parts = await Promise.all([
    Deno.readTextFile("/proc/sys/kernel/random/boot_id").then((text) => text.trim(), () => ""),
    Deno.readLink("/proc/self/ns/pid").catch(() => ""),
  ]);
  return parts.join(" ");
}

function isAlive({ pid, began }: Owner): boolean {
  if (began !== null) return beganAt(pid) === began;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as { code?: string }).code !== "ESRCH";
  }
}

/**
 * Ticks after boot at which a process began; null where there is none, or only what its parent has not looked
 * at yet.
 */
function beganAt(pid: number): string | null {
  try {
    const text = Deno.readTextFileSync(`/proc/${pid}/stat`);
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" "); // the name before it can hold anything
    return /^[ZX]$/.test(fields[0]) ? null : fields[19];
  } catch {
    return null;
  }
}
