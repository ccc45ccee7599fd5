import type { Kernel } from "../graph/op.ts";
import { STEP_BLOCK_WGSL } from "../../kernels/step_block.ts";
import type { Gpu } from "./device.ts";

/** Compute pipelines by kernel; two kernels with the same code, entry point and constants share one. */
export class PipelineCache {
  readonly #gpu: Gpu;
  readonly #pipelines = new Map<string, GPUComputePipeline>();
  readonly #layouts = new Map<number, { bindings: GPUBindGroupLayout }>();
  readonly uniformLayout: GPUBindGroupLayout;

  constructor(gpu: Gpu) {
    this.#gpu = gpu;
    this.uniformLayout = gpu.device.createBindGroupLayout({
      label: "uniforms",
      entries: [
        {
          binding: 0,
          visibility: GPUShaderStage.COMPUTE,
          buffer: { type: "uniform", hasDynamicOffset: true },
        },
        { binding: 1, visibility: GPUShaderStage.COMPUTE, buffer: { type: "uniform" } },
      ],
    });
  }

  /** Layout of group 0 with `count` storage buffers. */
  layout(count: number): { bindings: GPUBindGroupLayout } {
    let layout = this.#layouts.get(count);
    if (!layout) {
      const bindings = this.#gpu.device.createBindGroupLayout({
        label: `${count} storage buffers`,
        entries: Array.from({ length: count }, (_, binding) => ({
          binding,
          visibility: GPUShaderStage.COMPUTE,
          buffer: { type: "storage" as const },
        })),
      });
      layout = { bindings };
      this.#layouts.set(count, layout);
    }
    return layout;
  }

  /** @throws {Error} with the compiler's message when the kernel is not valid WGSL. */
  async get(kernel: Kernel, bindingCount: number): Promise<GPUComputePipeline> {
    const key = `${bindingCount}\n${kernel.entryPoint}\n${
      JSON.stringify(kernel.constants ?? {})
    }\n${kernel.code}`;
    let pipeline = this.#pipelines.get(key);
    if (!pipeline) {
      const { device } = this.#gpu;
      device.pushErrorScope("validation");
      const module = device.createShaderModule({ label: kernel.name, code: completeWgsl(kernel.code) });
      pipeline = device.createComputePipeline({
        label: kernel.name,
        // One layout object for each pipeline: between pipelines that share one, wgpu 29 goes on checking the sizes of
        // bindings against what the first of them expected, and refuses smaller ones that are right.
        layout: device.createPipelineLayout({
          bindGroupLayouts: [this.layout(bindingCount).bindings, this.uniformLayout],
        }),
        compute: { module, entryPoint: kernel.entryPoint, constants: kernel.constants ?? {} },
      });
      const error = await device.popErrorScope();
      if (error) throw new Error(`Cannot compile kernel ${kernel.name}: ${error.message}`);
      this.#pipelines.set(key, pipeline);
    }
    return pipeline;
  }

  get size(): number {
    return this.#pipelines.size;
  }
}

/** A kernel's text with what the runtime adds: feature lines, where the code (not a comment) uses them, and the step block. */
export function completeWgsl(code: string): string {
  const usesF16 = /\bf16\b/.test(code.replace(/\/\/.*$/gm, ""));
  return `${usesF16 ? "enable f16;\n" : ""}${STEP_BLOCK_WGSL}${code}`;
}
