import { TEXEL_ROW_BYTES, TEXEL_ROW_TEXELS } from "../graph/op.ts";
import type { BytesByRole } from "../graph/types.ts";
import { ROLES, zeroBytesByRole } from "../graph/types.ts";
import type { Plan, PlannedBuffer } from "../plan/plan.ts";
import type { Gpu } from "./device.ts";
import { OutOfMemoryError } from "./device.ts";

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
 * Creates exactly the buffers of the plan.
 *
 * @param arenaFill 32-bit pattern the arenas start with; tests use a NaN, so that reading what nobody wrote shows.
 * @throws {OutOfMemoryError} when the device refuses one; what was created before is freed.
 */
export async function createBuffers(
  { device }: Gpu,
  plan: Plan,
  { ledger = new Ledger(), arenaFill }: { ledger?: Ledger; arenaFill?: number } = {},
): Promise<DeviceBuffers> {
  const buffers: GPUBuffer[] = [];
  const created: PlannedBuffer[] = [];
  let scratch: GPUTexture | null = null;
  const destroy = () => {
    buffers.forEach((buffer) => buffer.destroy());
    scratch?.destroy();
    scratch = null;
    created.forEach((planned) => ledger.book(planned, -1));
    buffers.length = created.length = 0;
  };
  for (const planned of plan.buffers) {
    if (planned.kind === "texels") {
      scratch = await createScratch(device, planned);
      created.push(planned);
      ledger.book(planned, 1);
      continue;
    }
    if (planned.bytes > device.limits.maxBufferSize) {
      destroy();
      throw new OutOfMemoryError(
        `Cannot create ${planned.label} of ${planned.bytes} bytes: the adapter's maxBufferSize is ${device.limits.maxBufferSize}`,
      );
    }
    device.pushErrorScope("out-of-memory");
    const buffer = device.createBuffer({
      label: planned.label,
      size: planned.bytes,
      usage: USAGE[planned.kind](),
    });
    const error = await device.popErrorScope();
    if (error) {
      destroy();
      throw new OutOfMemoryError(
        `The device has no room for ${planned.label} of ${planned.bytes} bytes, after ${ledger.bytes} bytes: ${error.message}`,
      );
    }
    // Booked from the buffer itself: the ledger counts what exists, not what was asked for.
    if (buffer.size !== planned.bytes) {
      throw new Error(`${planned.label} has ${buffer.size} bytes, planned ${planned.bytes}`);
    }
    buffers.push(buffer);
    created.push(planned);
    ledger.book(planned, 1);
    if (planned.kind === "arena" && arenaFill !== undefined) {
      device.queue.writeBuffer(buffer, 0, new Uint32Array(planned.bytes / 4).fill(arenaFill));
    }
  }
  return { buffers, scratch, ledger, destroy };
}

/** @throws {OutOfMemoryError} when the device refuses it. */
async function createScratch(device: GPUDevice, { label, bytes }: PlannedBuffer): Promise<GPUTexture> {
  device.pushErrorScope("out-of-memory");
  const texture = device.createTexture({
    label,
    size: [TEXEL_ROW_TEXELS, bytes / TEXEL_ROW_BYTES],
    format: "rgba32uint",
    usage: GPUTextureUsage.STORAGE_BINDING | GPUTextureUsage.COPY_DST,
  });
  const error = await device.popErrorScope();
  if (error) {
    throw new OutOfMemoryError(`The device has no room for ${label} of ${bytes} bytes: ${error.message}`);
  }
  return texture;
}

const USAGE: Record<Exclude<PlannedBuffer["kind"], "texels">, () => number> = {
  persistent: () => GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
  arena: () => GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
  uniform: () => GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
  readback: () => GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
};
