import assert from "node:assert/strict";
import { SCRATCH_ROW_BYTES } from "../../../engine/graph/launch.ts";
import { zeroBytesByRole } from "../../../engine/graph/types.ts";
import { PACK_BYTES, type Plan, type PlannedBuffer } from "../../../engine/plan/plan.ts";
import { createBuffers, Ledger } from "../../../engine/runtime/buffers.ts";
import { DeviceLimitError, OutOfMemoryError } from "../../../engine/runtime/errors.ts";
import type { Gpu } from "../../../engine/runtime/gpu.ts";

/** What a fake device is to do with each buffer and texture, in the order of creation. */
type Fate = "created" | "out of memory" | "lost" | "short";

/** A device that keeps count of what lives on it. */
function fakeGpu(fates: readonly Fate[], maxBufferSize = 2 ** 40) {
  const alive = new Set<object>();
  let created = 0;
  const make = (size: number) => {
    const made = {
      size: fates[created++] === "short" ? size - 4 : size,
      destroy: () => alive.delete(made),
    };
    alive.add(made);
    return made;
  };
  const device = {
    limits: { maxBufferSize },
    pushErrorScope() {},
    popErrorScope() {
      const fate = fates[created - 1];
      if (fate === "lost") return Promise.reject(new Error("the device is lost"));
      return Promise.resolve(fate === "out of memory" ? { message: "no room" } : null);
    },
    createBuffer: ({ size }: { size: number }) => make(size),
    createTexture: () => make(0),
  };
  return { gpu: { device } as unknown as Gpu, alive, created: () => created };
}

function planOf(...buffers: [PlannedBuffer["kind"], number][]): Plan {
  return {
    buffers: buffers.map(([kind, bytes], i) => ({
      label: `${kind} ${i}`,
      kind,
      bytes,
      bytesByRole: { ...zeroBytesByRole(), workspace: bytes },
    })),
  } as Plan;
}

const PLAN = planOf(["persistent", 1024], ["arena", 512], ["uniform", 256], [
  "texture",
  3 * SCRATCH_ROW_BYTES,
]);

Deno.test("createBuffers() frees what it has made, and books it out, whichever buffer or texture fails and how", async () => {
  for (const fate of ["out of memory", "lost", "short"] as const) {
    for (let failing = 0; failing < PLAN.buffers.length; failing++) {
      if (fate === "short" && PLAN.buffers[failing].kind === "texture") continue;
      const { gpu, alive } = fakeGpu(
        Array.from({ length: failing + 1 }, (_, i) => i < failing ? "created" : fate),
      );
      const ledger = new Ledger();
      await assert.rejects(createBuffers(gpu, PLAN, { ledger }), (error: Error) => {
        assert.equal(error instanceof OutOfMemoryError, fate === "out of memory");
        if (fate === "out of memory") assert.match(error.message, /^The device has no room for .* no room$/);
        return true;
      });
      assert.equal(alive.size, 0, `${fate} at ${PLAN.buffers[failing].label}`);
      assert.equal(ledger.bytes, 0);
    }
  }
});

Deno.test("createBuffers() books what it makes, and destroy() frees all of it, the texture too", async () => {
  const { gpu, alive } = fakeGpu(["created", "created", "created", "created"]);
  const made = await createBuffers(gpu, PLAN);
  assert.equal(alive.size, 4);
  assert.equal(made.ledger.bytes, 1024 + 512 + 256 + 3 * SCRATCH_ROW_BYTES);
  made.destroy();
  assert.equal(alive.size, 0);
  assert.equal(made.ledger.bytes, 0);
});

Deno.test("a buffer beyond maxBufferSize is a limit of the adapter up to the size that plans pack into, and no room beyond", async () => {
  const limit = PACK_BYTES - 256;
  const open = async (bytes: number) => {
    const { gpu, created } = fakeGpu([], limit);
    try {
      await createBuffers(gpu, planOf(["uniform", 256], ["arena", bytes]));
      return null;
    } catch (error) {
      assert.equal(created(), 0, "nothing is made where a buffer is not allowed");
      return error as Error;
    }
  };
  assert.equal(await open(limit), null);
  for (const bytes of [limit + 4, PACK_BYTES]) {
    const error = await open(bytes);
    assert.ok(error instanceof DeviceLimitError);
    assert.equal(
      error.message,
      `Cannot create arena 1 of ${bytes} bytes: the adapter's maxBufferSize is ${limit}, and buffers are planned of up to ` +
        `${PACK_BYTES} bytes for every adapter`,
    );
  }
  assert.ok(await open(PACK_BYTES + 256) instanceof OutOfMemoryError);
});
