import { storageOf, type Value } from "../graph/types.ts";
import type { Binding } from "../graph/launch.ts";
import type { Plan } from "../plan/plan.ts";
import type { StepBlock } from "../../kernels/step_block.ts";
import { NEUTRAL_STEP, STEP_BLOCK_BYTES, writeStepBlock } from "../../kernels/step_block.ts";
import { Autotuner, type KernelChoices, replaceRefused, type Tuned } from "./autotune.ts";
import type { DeviceBuffers } from "./buffers.ts";
import { createBuffers, type Ledger } from "./buffers.ts";
import type { Gpu } from "./gpu.ts";
import { PipelineCache } from "./pipelines.ts";
import { FastReadback, readBuffer, waitForQueue } from "./readback.ts";
import type { Recording } from "./replay.ts";
import { encodeRecording, recordPrograms } from "./replay.ts";
import { Upkeep } from "./upkeep.ts";

/** Settings of `Session.open`. */
export interface SessionOptions {
  /** 32-bit pattern of fresh arena memory; see `createBuffers`. */
  arenaFill?: number;
  pipelines?: PipelineCache;
  onProgress?: (done: number, of: number) => void;
  /** Called once all pipelines are compiled and no buffer of the plan exists; awaited. */
  onCompiled?: () => void | Promise<void>;
}

/** Commands ready to be submitted, once. */
export type EncodedCommands = GPUCommandBuffer;

/** A few bytes to be read after a submit. */
export interface FigureCopy {
  value: Value;
  byteLength: number;
}

/** A plan on a device: buffers created, programs recorded, ready to be replayed. */
export class Session {
  readonly gpu: Gpu;
  /** As planned, but for kernels that were chosen by the clock. */
  readonly plan: Plan;
  readonly kernelChoices: KernelChoices;
  /** What was left out of the choice because the driver's compiler refuses it, and what came in its place. */
  readonly kernelNotes: readonly string[];
  readonly recordings: readonly Recording[];
  readonly readback: FastReadback;
  readonly #buffers: DeviceBuffers;
  readonly #upkeep: Upkeep;
  readonly #stepBytes = new DataView(new ArrayBuffer(STEP_BLOCK_BYTES));

  private constructor(
    gpu: Gpu,
    { plan, choices, notes }: Tuned,
    buffers: DeviceBuffers,
    recordings: Recording[],
  ) {
    this.gpu = gpu;
    this.plan = plan;
    this.kernelChoices = choices;
    this.kernelNotes = notes;
    this.#buffers = buffers;
    this.recordings = recordings;
    this.#upkeep = Upkeep.of(gpu);
    this.readback = new FastReadback(gpu, buffers.buffers[plan.readbackBuffer], this.#upkeep);
  }

  /** @throws {OutOfMemoryError} when the device has no room for the plan. */
  static async open(gpu: Gpu, planned: Plan, options: SessionOptions = {}): Promise<Session> {
    const pipelines = options.pipelines ?? new PipelineCache(gpu);
    // Before the buffers exist, so that what timing needs comes on top of nothing.
    const tuned = await Autotuner.of(gpu).tune(gpu, planned, pipelines, options.onProgress);
    const compiled = await replaceRefused(tuned.plan, pipelines, options.onProgress);
    const { plan } = compiled;
    await options.onCompiled?.();
    const buffers = await createBuffers(gpu, plan, { arenaFill: options.arenaFill });
    try {
      const recordings = await recordPrograms(gpu, plan, buffers, pipelines, options.onProgress);
      const session = new Session(
        gpu,
        {
          plan,
          choices: { ...tuned.choices, ...compiled.choices },
          notes: [...tuned.notes, ...compiled.notes],
        },
        buffers,
        recordings,
      );
      session.writeStep(NEUTRAL_STEP);
      await session.readback.prime();
      return session;
    } catch (error) {
      buffers.destroy();
      throw error;
    }
  }

  get ledger(): Ledger {
    return this.#buffers.ledger;
  }

  get buffers(): readonly GPUBuffer[] {
    return this.#buffers.buffers;
  }

  /** @throws {TypeError} if the plan has no such value. */
  place(value: Value): Binding {
    const owner = storageOf(value);
    const place = owner.persistent ? this.plan.persistents.get(owner) : this.plan.transients.get(owner.id);
    if (!place) throw new TypeError(`Value ${value.name} is not in the plan`);
    return place;
  }

  /**
   * Queues an upload into a value.
   *
   * @param byteOffset Bytes from the start of the value; a multiple of four.
   */
  write(value: Value, data: ArrayBufferView<ArrayBuffer>, byteOffset = 0): void {
    const place = this.place(value);
    if (byteOffset + data.byteLength > Math.ceil(place.byteLength / 4) * 4) {
      throw new RangeError(
        `Cannot write ${data.byteLength} bytes at ${byteOffset} of ${value.name}: it has ${place.byteLength}`,
      );
    }
    const { device } = this.gpu;
    const buffer = this.#buffers.buffers[place.buffer];
    const wholeBytes = Math.floor(data.byteLength / 4) * 4;
    device.queue.writeBuffer(buffer, place.byteOffset + byteOffset, data.buffer, data.byteOffset, wholeBytes);
    if (wholeBytes < data.byteLength) {
      const tail = new Uint8Array(4);
      tail.set(new Uint8Array(data.buffer, data.byteOffset + wholeBytes, data.byteLength - wholeBytes));
      device.queue.writeBuffer(buffer, place.byteOffset + byteOffset + wholeBytes, tail);
    }
  }

  /** Reads a value's bytes, or `byteLength` of them from `byteOffset`; waits for the queue. */
  read(
    value: Value,
    byteOffset = 0,
    byteLength = this.place(value).byteLength - byteOffset,
  ): Promise<ArrayBuffer> {
    const place = this.place(value);
    return readBuffer(
      this.gpu,
      this.#buffers.buffers[place.buffer],
      place.byteOffset + byteOffset,
      byteLength,
    );
  }

  /** Queues a write of the step block. */
  writeStep(block: StepBlock): void {
    writeStepBlock(this.#stepBytes, block);
    this.gpu.device.queue.writeBuffer(this.#buffers.buffers[this.plan.stepBuffer], 0, this.#stepBytes.buffer);
  }

  /**
   * The commands of some programs, in order.
   *
   * @param copies Values whose first bytes are brought back behind them, one
   * after the other: what `readback` reads.
   */
  encode(programs: readonly number[], copies: readonly FigureCopy[] = []): EncodedCommands {
    const encoder = this.gpu.device.createCommandEncoder();
    for (const program of programs) {
      this.#upkeep.encoded(encodeRecording(encoder, this.recordings[program], this.#buffers.buffers));
    }
    let at = 0;
    for (const { value, byteLength } of copies) {
      const { buffer, byteOffset } = this.place(value);
      this.readback.encodeCopy(encoder, this.#buffers.buffers[buffer], { byteOffset, byteLength, at });
      at += byteLength;
    }
    return encoder.finish();
  }

  submit(commands: EncodedCommands): void {
    this.gpu.device.queue.submit([commands]);
  }

  /** Runs one program and waits: for tests and evaluation, not for hot loops. */
  async run(program = 0): Promise<void> {
    this.submit(this.encode([program]));
    await waitForQueue(this.gpu);
  }

  /** Frees the device memory. */
  close(): void {
    this.#buffers.destroy();
  }
}
