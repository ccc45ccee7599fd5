import assert from "node:assert/strict";
import { likelyAdapter, plannedKernels } from "../../../engine/runtime/planned_kernels.ts";
import { planTraining } from "../../../engine/train/plan_training.ts";
import { engine } from "../../../suites/engine.ts";
import { resolveSettings } from "../../../suites/resolve_settings.ts";

Deno.test("a machine has a GPU where a device file says so, or where the system is not Linux", () => {
  const linux = (...files: string[]) =>
    likelyAdapter({ os: "linux", exists: (path) => files.includes(path), icd: undefined });
  assert.equal(linux(), "software");
  assert.equal(linux("/dev/null", "/dev/dri"), "software");
  for (const file of ["/dev/nvidiactl", "/dev/kfd", "/dev/dxg", "/dev/dri/renderD128"]) {
    assert.equal(linux(file), "gpu");
  }
  assert.equal(likelyAdapter({ os: "darwin", exists: () => false, icd: undefined }), "gpu");
  const forced = { os: "linux", exists: () => true, icd: "/usr/share/vulkan/icd.d/lvp_icd.x86_64.json" };
  assert.equal(likelyAdapter(forced), "software");
});

Deno.test("plans for a software adapter are larger by the scratch texture alone, and it is small for small models", async () => {
  const config = resolveSettings({ model: "gpt2-nano", data: "moby-dick", tokenizer: "bytes" });
  const [gpu, software] = [await planTraining(config, "gpu"), await planTraining(config, "software")];
  const { workspace: ofGpu, ...others } = gpu.plannedByRole;
  const { workspace: ofSoftware, ...same } = software.plannedByRole;
  assert.deepEqual(same, others);
  const scratch = ofSoftware - ofGpu;
  assert.equal(software.plannedPeakBytes - gpu.plannedPeakBytes, scratch);
  assert.ok(scratch > 0 && scratch <= gpu.plannedPeakBytes / 8, `the scratch texture takes ${scratch} bytes`);
  assert.equal(plannedKernels("gpu").scratch, null);
  assert.ok(engine.likelyAdapter!() === "gpu" || engine.likelyAdapter!() === "software");
});
