import type { Graph } from "../graph/graph.ts";
import {
  byteLength,
  type BytesByRole,
  type Role,
  ROLES,
  storageOf,
  type Value,
  zeroBytesByRole,
} from "../graph/types.ts";
import { type Binding, BINDING_ALIGNMENT, type Command, SCRATCH_ROW_BYTES } from "../graph/launch.ts";
import type { KernelSet } from "../../kernels/kernel_set.ts";
import { STEP_BLOCK_BYTES } from "../../kernels/step_block.ts";
import { alignUp, planArena } from "./arena.ts";
import { liveRanges } from "./liveness.ts";
import type { LiveRange } from "./liveness.ts";
import { launchSpace } from "./launch_space.ts";
import { lowerGraph } from "./lower.ts";

/** A buffer the runtime will create; nothing else is allocated. */
export interface PlannedBuffer {
  label: string;
  kind: "persistent" | "arena" | "uniform" | "readback" | "texture";
  bytes: number;
  /** How its bytes are booked; sums to `bytes`. */
  bytesByRole: BytesByRole;
}

/** Commands of one graph, over the plan's buffers. */
export interface Program {
  name: string;
  graph: Graph;
  commands: Command[];
  /** For each command, the index of the node it belongs to. */
  nodeOf: number[];
  /** Live transient bytes by role at each node. */
  live: BytesByRole[];
}

/** A step laid out in memory: peak bytes are known before anything runs. */
export interface Plan {
  buffers: PlannedBuffer[];
  programs: Program[];
  /** Where each persistent value lies. */
  persistents: ReadonlyMap<Value, Binding>;
  /** Where each transient value lies, by id of the value that owns the storage. */
  transients: ReadonlyMap<number, Binding>;
  /** Index of the uniform buffer with all `params` blocks, and of the one with the step block. */
  paramsBuffer: number;
  stepBuffer: number;
  readbackBuffer: number;
  /**
   * Index of the texture that dispatches copy ranges into, always the last entry; null where none does. Its
   * rows have `SCRATCH_ROW_VECTORS` vectors of 16 bytes.
   */
  scratchTexture: number | null;
  /** Sum of all buffers. */
  peakBytes: number;
  /** The same by role, at the node with the most live bytes. */
  bytesByRole: BytesByRole;
  /** Bytes held between steps. */
  steadyBytes: number;
}

/**
 * Largest buffer the planner packs values into. A constant rather than the adapter's `maxBufferSize`, so that
 * a plan made without a GPU equals one made with it; a single larger value gets a buffer of its own.
 */
export const PACK_BYTES = 2 ** 30;

/** Uniform space is reserved in whole units of this. */
const PARAMS_UNIT_BYTES = 256 * 1024;

/** Bytes of the readback buffer. */
export const READBACK_BYTES = 256;

/** Plans the graphs of one step: they share persistent values and one arena, and run one after another. */
export function planGraphs(
  graphs: readonly Graph[],
  persistents: readonly Value[],
  kernels: KernelSet,
): Plan {
  const buffers: PlannedBuffer[] = [];
  const persistentPlaces = placePersistents(persistents, buffers);
  const persistentBytes = sumByRole(buffers);
  const steadyBytes = total(persistentBytes);

  const arenaStart = buffers.length;
  const arenas = graphs.map((graph) => {
    const ranges = liveRanges(graph);
    return { ranges, arena: planArena(ranges, { maxBufferBytes: PACK_BYTES }) };
  });
  const arenaBytes: number[] = [];
  for (const { arena } of arenas) {
    arena.bufferBytes.forEach((bytes, i) => arenaBytes[i] = Math.max(arenaBytes[i] ?? 0, bytes));
  }
  const live = graphs.map((graph, i) => liveByRole(arenas[i].ranges, graph.nodes.length));
  const peakLive = live.flat().reduce(
    (best, bytes) => (total(bytes) > total(best) ? bytes : best),
    zeroBytesByRole(),
  );
  bookArena(arenaBytes, peakLive, buffers);

  const transients = new Map<number, Binding>();
  for (const { arena } of arenas) {
    for (const { range, buffer, byteOffset } of arena.placements) {
      transients.set(range.value.id, { buffer: arenaStart + buffer, byteOffset, byteLength: range.bytes });
    }
  }
  const locate = (value: Value): Binding => {
    const owner = storageOf(value);
    const place = owner.persistent ? persistentPlaces.get(owner) : transients.get(owner.id);
    if (!place) throw new Error(`Value ${value.name} has no place in the plan`);
    return { ...place, byteLength: byteLength(value) };
  };
  const programs = graphs.map((graph, i): Program => ({
    name: graph.name,
    graph,
    ...lowerGraph(graph, locate, kernels),
    live: live[i],
  }));

  const { reserved, used } = launchSpace(programs, locate, kernels);
  const paramsBuffer = buffers.push(
    utility("params", "uniform", paramsSpace(reserved.paramsBytes, used.paramsBytes), "workspace"),
  ) - 1;
  const stepBuffer =
    buffers.push(utility("step block", "uniform", alignUp(STEP_BLOCK_BYTES, 256), "inputs")) - 1;
  const readbackBuffer = buffers.push(utility("readback", "readback", READBACK_BYTES, "workspace")) - 1;
  // A property of the kind of adapter, whether or not this one copies anything.
  const textureRows = kernels.kind === "software"
    ? unevenRows(Math.max(reserved.scratchRows, used.scratchRows))
    : 0;
  const scratchTexture = textureRows === 0
    ? null
    : buffers.push(utility("scratch texture", "texture", SCRATCH_ROW_BYTES * textureRows, "workspace")) - 1;

  const bytesByRole = sumByRole(buffers);
  return {
    buffers,
    programs,
    persistents: persistentPlaces,
    transients,
    paramsBuffer,
    stepBuffer,
    readbackBuffer,
    scratchTexture,
    peakBytes: total(bytesByRole),
    bytesByRole,
    steadyBytes,
  };
}

/**
 * Bytes of the uniform buffer with all `params` blocks: what is reserved for any adapter, and more where one
 * should need it after all. No adapter within the limits of WebGPU is known to.
 */
export function paramsSpace(reservedBytes: number, usedBytes: number): number {
  return alignUp(Math.max(reservedBytes, usedBytes, 1), PARAMS_UNIT_BYTES);
}

/**
 * Rows of a scratch texture with room for a dispatch that needs so many. Mesa compiles a kernel anew for a
 * texture whose height is a power of two and for one whose is not: none is, so that what one plan has
 * compiled serves all others.
 */
function unevenRows(rows: number): number {
  while (Number.isInteger(Math.log2(rows))) rows++;
  return rows;
}

/**
 * Persistent values of one role lie side by side, in order of declaration, so that optimizers can walk them.
 */
function placePersistents(values: readonly Value[], buffers: PlannedBuffer[]): Map<Value, Binding> {
  const places = new Map<Value, Binding>();
  for (const role of ROLES) {
    let current = -1;
    for (const value of values) {
      if (value.role !== role) continue;
      const bytes = alignUp(byteLength(value), BINDING_ALIGNMENT);
      if (current < 0 || buffers[current].bytes + bytes > PACK_BYTES) {
        current =
          buffers.push({ label: role, kind: "persistent", bytes: 0, bytesByRole: zeroBytesByRole() }) - 1;
      }
      const buffer = buffers[current];
      places.set(value, { buffer: current, byteOffset: buffer.bytes, byteLength: byteLength(value) });
      buffer.bytes += bytes;
      buffer.bytesByRole[role] += bytes;
    }
  }
  return places;
}

/** Live bytes by role at each node, with the alignment each value costs in the arena. */
function liveByRole(ranges: readonly LiveRange[], nodeCount: number): BytesByRole[] {
  const live = Array.from({ length: nodeCount }, zeroBytesByRole);
  for (const { role, first, last, bytes } of ranges) {
    for (let i = first; i <= Math.min(last, nodeCount - 1); i++) {
      live[i][role] += alignUp(bytes, BINDING_ALIGNMENT);
    }
  }
  return live;
}

/** Books arena buffers as the roles live at the peak; what fragmentation adds is workspace. */
function bookArena(arenaBytes: readonly number[], peakLive: BytesByRole, buffers: PlannedBuffer[]): void {
  const open = { ...peakLive };
  arenaBytes.forEach((bytes, i) => {
    const bytesByRole = zeroBytesByRole();
    let rest = bytes;
    for (const role of ROLES) {
      const share = Math.min(open[role], rest);
      bytesByRole[role] += share;
      open[role] -= share;
      rest -= share;
    }
    bytesByRole.workspace += rest;
    buffers.push({ label: `arena ${i}`, kind: "arena", bytes, bytesByRole });
  });
}

function utility(label: string, kind: PlannedBuffer["kind"], bytes: number, role: Role): PlannedBuffer {
  return { label, kind, bytes, bytesByRole: { ...zeroBytesByRole(), [role]: bytes } };
}

function sumByRole(buffers: readonly PlannedBuffer[]): BytesByRole {
  const sum = zeroBytesByRole();
  for (const { bytesByRole } of buffers) for (const role of ROLES) sum[role] += bytesByRole[role];
  return sum;
}

/** Sum over roles. */
export function total(bytes: BytesByRole): number {
  return ROLES.reduce((sum, role) => sum + bytes[role], 0);
}
