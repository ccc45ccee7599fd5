// The kernels of `tests/support/step_kernels.ts` are what the names of its targets say, and do what they
// declare.
import assert from "node:assert/strict";
import { type Kernel, overlap } from "../../../engine/graph/launch.ts";
import { storageOf } from "../../../engine/graph/types.ts";
import { modelOf } from "../../../engine/model/config.ts";
import { PRESETS } from "../../../engine/model/presets.ts";
import { PLANNED_ADAPTERS, plannedKernels } from "../../../engine/runtime/planned_kernels.ts";
import { planStep, stepSettings } from "../../../engine/train/trainer.ts";
import { resolveSettings } from "../../../suites/resolve_settings.ts";
import type { KernelSet } from "../../../kernels/kernel_set.ts";
import { DAWN_KERNELS, kernelsOf } from "../../support/step_kernels.ts";
import { wrongDeclarations } from "../../support/wgsl_scan.ts";

const known = new Map<KernelSet, Kernel[]>();

/** The kernels of a set, made once. */
function stepKernels(set: KernelSet): Kernel[] {
  const kernels = known.get(set) ?? kernelsOf(set);
  known.set(set, kernels);
  return kernels;
}

/** Names of the kernels whose text has a match. */
function namesWith(kernels: readonly Kernel[], pattern: RegExp): string[] {
  return [...new Set(kernels.filter(({ code }) => pattern.test(code)).map(({ name }) => name))].sort();
}

for (const [name, { kind, target }] of Object.entries(DAWN_KERNELS)) {
  Deno.test(`the kernels for "${name}" have the forms that its name says`, () => {
    assert.equal(kind === "software", name.startsWith("software"));
    const kernels = stepKernels(DAWN_KERNELS[name]);
    const lanes = Number(name.match(/(\d+) lanes/)?.[1] ?? 0);
    assert.equal(target.subgroupSize, lanes);
    // CPUs hand numbers round in subgroups, and without subgroups multiply as GPUs do; GPUs meet at barriers.
    const onCpu = kind === "software" && lanes > 0;
    assert.equal(namesWith(kernels, /\bsubgroupShuffle/).length > 10, onCpu);
    assert.equal(namesWith(kernels, /\bworkgroupBarrier\b/).length > 10, !onCpu);
    assert.equal(namesWith(kernels, /\bworkgroupBarrier\b/).includes("layer_norm_forward"), kind === "gpu");
    assert.equal(namesWith(kernels, /\btexture_storage_2d\b/).length > 10, name.includes("texture"));
    assert.equal(namesWith(kernels, /\bsubgroup_matrix_/).includes("linear"), name.includes("matrices"));
  });
}

const planned = PLANNED_ADAPTERS.map((adapter) => [`planned ${adapter}`, plannedKernels(adapter)] as const);
for (const [name, set] of [...Object.entries(DAWN_KERNELS), ...planned]) {
  Deno.test(`every kernel for "${name}" declares what it writes and its workgroup memory`, () => {
    const kernels = stepKernels(set);
    assert.ok(kernels.length > 200, `${kernels.length} kernels`);
    assert.deepEqual([...new Set(kernels.flatMap(wrongDeclarations))], []);
  });
}

for (const adapter of PLANNED_ADAPTERS) {
  Deno.test(`what a node's launches write is all that it gives or mutates, and nothing else, for ${adapter}`, () => {
    for (const optimizer of ["adamw", "adamw8bit", "adafactor", "sgd"]) {
      for (const methods of [[], ["flash", "fp16", "checkpoint"], ["qlora-nf4"]]) {
        const model = modelOf({ ...PRESETS["llama-nano"], vocabularySize: 512 });
        const config = resolveSettings({
          model: "llama-nano",
          data: "moby-dick",
          optimizer,
          methods,
          dropout: 0,
        });
        const { plan } = planStep(stepSettings(model, config), plannedKernels(adapter));
        for (const { graph, commands, nodeOf } of plan.programs) {
          graph.nodes.forEach((node, index) => {
            const mutated = (node.op.mutates?.(node.inputs, node.attrs) ?? []).map((i) => node.inputs[i]);
            const places = [...node.outputs, ...mutated].map((value) => {
              const owner = storageOf(value);
              return {
                name: value.name,
                place: plan.persistents.get(owner) ?? plan.transients.get(owner.id)!,
              };
            });
            const written = commands.filter((_, i) => nodeOf[i] === index).flatMap((command) =>
              "clear" in command
                ? [command.clear]
                : command.kernel.writes.map((slot) => command.bindings[slot])
            );
            const where = `node ${index} ${node.op.name} of ${graph.name}`;
            for (const range of written) {
              assert.ok(
                places.some(({ place }) => overlap(place, range)),
                `${where} writes what it does not say`,
              );
            }
            for (const { name, place } of places) {
              // A CPU makes the gradient of the head in one piece.
              if (name === "dx_parts" && adapter === "software") continue;
              assert.ok(written.some((range) => overlap(place, range)), `${where} does not write ${name}`);
            }
          });
        }
      }
    }
  });
}
