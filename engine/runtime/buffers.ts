import { SCRATCH_ROW_BYTES, SCRATCH_ROW_VECTORS } from "../graph/launch.ts";
import { type BytesByRole, ROLES, zeroBytesByRole } from "../graph/types.ts";
import { PACK_BYTES, type Plan, type PlannedBuffer } from "../plan/plan.ts";
import { DeviceLimitError, OutOfMemoryError } from "./errors.ts";
import type { Gpu } from "./gpu.ts";

/** Every byte the engine allocates on the device, by role. */
export class Ledger {
  readonly #held = zeroBytesByRole();
  #peakBytes = 0;
  #peakByRole = zeroBytesByRole();

  book(buffer: PlannedBuffer, sign: 1 | -1): void {
    for (const role of ROLES) this.#held[role] += sign * buffer.bytesByRole[role];
    if (this.bytes > this.#peakBytes) {
      this.#peakBytes = this.bytes;
      this.#peakByRole = { ...this.#held };
    }
  }

  /** Bytes held now. */
  get bytes(): number {
    return ROLES.reduce((sum, role) => sum + this.#held[role], 0);
  }

  get peakBytes(): number {
    return this.#peakBytes;
  }

  get peakByRole(): BytesByRole {
    return this.#peakByRole;
  }
}

/** The buffers of a plan on the device. */
export interface DeviceBuffers {
  buffers: GPUBuffer[];
  /** The plan's scratch texture, where it has one. */
  scratch: GPUTexture | null;
  ledger: Ledger;
  destroy(): void;
}

/**
 * Creates exactly the buffers of the plan. Where it throws, all that it had created is freed.
 *
 * @param arenaFill 32-bit pattern the arenas start with; tests use a NaN, so that
 * reading what nobody wrote shows.
 * @throws {OutOfMemoryError} when the device refuses one, or allows none so large.
 * @throws {DeviceLimitError} where it allows none of the size that values are packed into, whatever its
 *   memory.
 */
export async function createBuffers(
  { device }: Gpu,
  plan: Plan,
  { ledger = new Ledger(), arenaFill }: { ledger?: Ledger; arenaFill?: number } = {},
): Promise<DeviceBuffers> {
  const buffers: GPUBuffer[] = [];
  const textures: GPUTexture[] = [];
  const booked: PlannedBuffer[] = [];
  const destroy = () => {
    for (const made of [...buffers, ...textures]) made.destroy();
    booked.forEach((planned) => ledger.book(planned, -1));
    buffers.length = textures.length = booked.length = 0;
  };
  for (const planned of plan.buffers) requireAllowed(device.limits, planned);
  try {
    for (const planned of plan.buffers) {
      device.pushErrorScope("out-of-memory");
      if (planned.kind === "texture") textures.push(createScratch(device, planned));
      else {
        const { label, kind, bytes: size } = planned;
        buffers.push(device.createBuffer({ label, size, usage: USAGE[kind]() }));
      }
      const error = await device.popErrorScope();
      if (error) {
        throw new OutOfMemoryError(
          `The device has no room for ${planned.label} of ${planned.bytes} bytes, after ${ledger.bytes} bytes: ${error.message}`,
        );
      }
      // Booked from the buffer itself: the ledger counts what exists, not what was asked for.
      if (planned.kind !== "texture" && buffers.at(-1)!.size !== planned.bytes) {
        throw new Error(`${planned.label} has ${buffers.at(-1)!.size} bytes, planned ${planned.bytes}`);
      }
      booked.push(planned);
      ledger.book(planned, 1);
      if (planned.kind === "arena" && arenaFill !== undefined) {
        device.queue.writeBuffer(buffers.at(-1)!, 0, new Uint32Array(planned.bytes / 4).fill(arenaFill));
      }
    }
  } catch (error) {
    destroy();
    throw error;
  }
  return { buffers, scratch: textures[0] ?? null, ledger, destroy };
}

/** @throws {OutOfMemoryError | DeviceLimitError} as `createBuffers`. */
function requireAllowed({ maxBufferSize }: GPUSupportedLimits, { label, kind, bytes }: PlannedBuffer): void {
  if (kind === "texture" || bytes <= maxBufferSize) return;
  const what = `Cannot create ${label} of ${bytes} bytes: the adapter's maxBufferSize is ${maxBufferSize}`;
  if (bytes > PACK_BYTES) throw new OutOfMemoryError(what);
  throw new DeviceLimitError(
    `${what}, and buffers are planned of up to ${PACK_BYTES} bytes for every adapter`,
  );
}

function createScratch(device: GPUDevice, { label, bytes }: PlannedBuffer): GPUTexture {
  return device.createTexture({
    label,
    size: [SCRATCH_ROW_VECTORS, bytes / SCRATCH_ROW_BYTES],
    format: "rgba32uint",
    usage: GPUTextureUsage.STORAGE_BINDING | GPUTextureUsage.COPY_DST,
  });
}

const USAGE: Record<Exclude<PlannedBuffer["kind"], "texture">, () => number> = {
  persistent: () => GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
  arena: () => GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
  uniform: () => GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
  readback: () => GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
};
