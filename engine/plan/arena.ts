import type { LiveRange } from "./liveness.ts";

/** Where a range lies. */
export interface Placement {
  range: LiveRange;
  /** Index of the arena buffer. */
  buffer: number;
  byteOffset: number;
}

export interface ArenaPlan {
  placements: Placement[];
  /** Size of each arena buffer. */
  bufferBytes: number[];
}

/** Rounds up to a multiple of `alignment`. */
export function alignUp(bytes: number, alignment: number): number {
  return Math.ceil(bytes / alignment) * alignment;
}

/**
 * Assigns arena offsets so that values alive at the same time never overlap.
 *
 * Largest first, each at the lowest offset free over its whole live range ("greedy by
 * size", Pisarchyk & Lee 2020, arXiv:2001.03288), in the first buffer where it ends
 * within `maxBufferBytes`; a value larger than that gets a buffer of its own size.
 * Not optimal; the lower bound is the largest sum of live bytes at any one node.
 *
 * @param alignment Offset alignment in bytes; at least the device's `minStorageBufferOffsetAlignment`.
 */
export function planArena(
  ranges: readonly LiveRange[],
  { maxBufferBytes, alignment = 256 }: { maxBufferBytes: number; alignment?: number },
): ArenaPlan {
  const order = ranges.map((_, i) => i).sort((a, b) =>
    ranges[b].bytes - ranges[a].bytes || ranges[a].first - ranges[b].first || a - b
  );
  const buffers: { capacity: number; bytes: number; placed: Placement[] }[] = [];
  const placements: Placement[] = [];
  for (const i of order) {
    const range = ranges[i];
    const bytes = alignUp(range.bytes, alignment);
    let placement: Placement | undefined;
    for (let buffer = 0; !placement; buffer++) {
      if (buffer === buffers.length) {
        buffers.push({ capacity: Math.max(maxBufferBytes, bytes), bytes: 0, placed: [] });
      }
      const byteOffset = lowestFreeOffset(buffers[buffer].placed, range, bytes, alignment);
      if (byteOffset + bytes <= buffers[buffer].capacity) placement = { range, buffer, byteOffset };
    }
    const home = buffers[placement.buffer];
    const at = home.placed.findIndex((other) => other.byteOffset > placement.byteOffset);
    home.placed.splice(at < 0 ? home.placed.length : at, 0, placement);
    home.bytes = Math.max(home.bytes, placement.byteOffset + bytes);
    placements.push(placement);
  }
  return { placements, bufferBytes: buffers.map(({ bytes }) => bytes) };
}

/** `placed` is sorted by offset. */
function lowestFreeOffset(
  placed: readonly Placement[],
  range: LiveRange,
  bytes: number,
  alignment: number,
): number {
  let offset = 0;
  for (const other of placed) {
    if (other.range.last < range.first || range.last < other.range.first) continue;
    if (offset + bytes <= other.byteOffset) break;
    offset = Math.max(offset, other.byteOffset + alignUp(other.range.bytes, alignment));
  }
  return offset;
}
