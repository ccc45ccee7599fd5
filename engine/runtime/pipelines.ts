import { type Kernel, SCRATCH_BINDING } from "../graph/launch.ts";
import { STEP_BLOCK_WGSL } from "../../kernels/step_block.ts";
import type { Gpu } from "./gpu.ts";
import type { GpuProvider } from "./provider_contract.ts";

/** A kernel and how many storage buffers it binds: what a pipeline is made for. */
export interface PipelineRequest {
  kernel: Kernel;
  bindingCount: number;
  /** Whether it reads the scratch texture. */
  copies?: boolean;
}

/** Compute pipelines by kernel; two kernels with the same code, entry point and constants share one. */
export class PipelineCache {
  readonly #gpu: Gpu;
  /** Promises, so that a kernel asked for twice at once is compiled once. */
  readonly #pipelines = new Map<string, Promise<GPUComputePipeline>>();
  readonly #layouts = new Map<string, { bindings: GPUBindGroupLayout }>();
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

  /**
   * Layout of group 0 with `count` storage buffers, and with them the scratch
   * texture where a kernel reads it.
   */
  layout(count: number, copies = false): { bindings: GPUBindGroupLayout } {
    const key = `${count} storage buffers${copies ? " and the scratch texture" : ""}`;
    let layout = this.#layouts.get(key);
    if (!layout) {
      const entries: GPUBindGroupLayoutEntry[] = Array.from({ length: count }, (_, binding) => ({
        binding,
        visibility: GPUShaderStage.COMPUTE,
        buffer: { type: "storage" as const },
      }));
      if (copies) {
        entries.push({
          binding: SCRATCH_BINDING,
          visibility: GPUShaderStage.COMPUTE,
          storageTexture: { access: "read-only", format: "rgba32uint" },
        });
      }
      layout = { bindings: this.#gpu.device.createBindGroupLayout({ label: key, entries }) };
      this.#layouts.set(key, layout);
    }
    return layout;
  }

  /** @throws {Error} with the compiler's message when the kernel is not valid WGSL. */
  get(kernel: Kernel, bindingCount: number, copies = false): Promise<GPUComputePipeline> {
    const key = keyOf(kernel, bindingCount);
    let pipeline = this.#pipelines.get(key);
    if (!pipeline) {
      pipeline = this.#compile(kernel, bindingCount, copies);
      // Whoever asked for it hears of a failure; a failed one is no member of the cache.
      pipeline.catch(() => this.#pipelines.delete(key));
      this.#pipelines.set(key, pipeline);
    }
    return pipeline;
  }

  /**
   * Compiles what is not compiled yet, ahead of its use: all at once where the
   * provider compiles on threads of its own.
   *
   * @param onProgress Called before each pipeline of those to be compiled, with the number started before it.
   * @throws {Error} as `get`, for the first kernel that is not valid.
   */
  async compile(
    requests: readonly PipelineRequest[],
    onProgress?: (done: number, of: number) => void,
  ): Promise<void> {
    for (const error of (await this.refused(requests, onProgress)).values()) throw error;
  }

  /** As `compile`; what the compiler refuses is told, with its message, instead of thrown. */
  async refused(
    requests: readonly PipelineRequest[],
    onProgress?: (done: number, of: number) => void,
  ): Promise<Map<PipelineRequest, Error>> {
    const missing = new Map<string, PipelineRequest>();
    for (const request of requests) {
      const key = keyOf(request.kernel, request.bindingCount);
      if (!this.#pipelines.has(key)) missing.set(key, request);
    }
    const refused = new Map<PipelineRequest, Error>();
    const started: Promise<unknown>[] = [];
    for (const request of missing.values()) {
      const { kernel, bindingCount, copies } = request;
      onProgress?.(started.length, missing.size);
      const pipeline = this.get(kernel, bindingCount, copies).catch((error) => refused.set(request, error));
      if (!this.#gpu.provider.compilesInParallel) await pipeline;
      started.push(pipeline);
    }
    await Promise.all(started);
    return refused;
  }

  async #compile(kernel: Kernel, bindingCount: number, copies: boolean): Promise<GPUComputePipeline> {
    const { device, provider } = this.#gpu;
    const code = completeWgsl(kernel.code, provider);
    // What WGSL forbids is a validation error, what a driver's compiler cannot do an internal one.
    device.pushErrorScope("internal");
    device.pushErrorScope("validation");
    const descriptor = {
      label: kernel.name,
      // One layout object for each pipeline: between pipelines that share one, wgpu 29 goes on checking the
      // sizes of bindings against what the first of them expected, and refuses smaller ones that are right.
      layout: device.createPipelineLayout({
        bindGroupLayouts: [this.layout(bindingCount, copies).bindings, this.uniformLayout],
      }),
      compute: {
        module: device.createShaderModule({ label: kernel.name, code }),
        entryPoint: kernel.entryPoint,
        constants: kernel.constants ?? {},
      },
    };
    // Scopes are a stack of the device: these are closed before anything awaits, and other kernels open
    // theirs.
    const pipeline = provider.compilesInParallel
      ? device.createComputePipelineAsync(descriptor)
      : device.createComputePipeline(descriptor);
    const scopes = Promise.all([device.popErrorScope(), device.popErrorScope()])
      .then(([validation, internal]) => validation ?? internal);
    try {
      const [compiled, error] = await Promise.all([pipeline, scopes]);
      if (error) throw error;
      return compiled;
    } catch (failure) {
      // A scope holds the compiler's own message; the pipeline says no more than that its module is invalid.
      const { message } = await scopes ?? failure as Error;
      throw new Error(`Cannot compile kernel ${kernel.name}: ${message}`);
    }
  }

  get size(): number {
    return this.#pipelines.size;
  }
}

function keyOf(kernel: Kernel, bindingCount: number): string {
  return `${bindingCount}\n${kernel.entryPoint}\n${JSON.stringify(kernel.constants ?? {})}\n${kernel.code}`;
}

/**
 * A kernel's text with what the runtime adds: feature lines, where the code (not
 * a comment) uses them, and the step block.
 *
 * @param provider What it wants to read in front of kernels that use subgroups,
 * and of those that use their matrices.
 */
export function completeWgsl(
  code: string,
  { subgroupsDirective, subgroupMatrixDirective }: Pick<
    GpuProvider,
    "subgroupsDirective" | "subgroupMatrixDirective"
  > = { subgroupsDirective: "", subgroupMatrixDirective: "" },
): string {
  const uncommented = code.replace(/\/\/.*$/gm, "");
  const usesF16 = /\bf16\b/.test(uncommented);
  const usesSubgroups = /\bsubgroup(?:[A-Z]|_size\b|_invocation_id\b)/.test(uncommented);
  const usesMatrices = /\bsubgroup_matrix_/.test(uncommented);
  return (usesF16 ? "enable f16;\n" : "") + (usesMatrices ? subgroupMatrixDirective : "") +
    (usesSubgroups ? subgroupsDirective : "") + STEP_BLOCK_WGSL + code;
}
