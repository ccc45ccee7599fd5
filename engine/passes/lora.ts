import type { Value } from "../graph/types.ts";
import type { ParameterSpec } from "../model/parameters.ts";
import { InputError } from "../input_error.ts";
import { dropout } from "../../kernels/dropout.ts";
import { scale } from "../../kernels/elementwise.ts";
import { linear } from "../../kernels/linear.ts";
import { rewriteForward } from "./rewrite.ts";
import type { Parameter, Pass, SharedDraft } from "./step.ts";

/** Settings of LoRA; the defaults of peft are rank 8, alpha 8, no dropout. */
export interface LoraSettings {
  rank: number;
  alpha: number;
  dropout: number;
  /** Ends of module names (`c_attn`, `attn.c_proj`), matched as peft does: from a dot to the end. */
  targetModules: readonly string[];
  /** Scale by alpha ÷ √rank instead of alpha ÷ rank (rsLoRA, Kalajdzievski 2023, arXiv:2312.03732). */
  rankStabilized: boolean;
  /**
   * Rank and alpha by the path of a module, where an adapter that is gone on with has its own: the targets
   * are then exactly these modules, whatever `targetModules` says.
   */
  modules?: ReadonlyMap<string, { rank: number; alpha: number }>;
  /**
   * How much faster B learns than A (LoRA+, Hayou et al. 2024, arXiv:2402.12354);
   * 1 is plain LoRA. AdamW alone has it.
   */
  plusRatio?: number;
  /**
   * What A is drawn from where no adapter is gone on with: `uniform` (peft's default) or `normal`, as the
   * LoRA paper has it, with peft's standard deviation of 1 ÷ rank (`init_lora_weights: "gaussian"`).
   */
  init?: "uniform" | "normal";
}

/** What the product of B and A of the module at a path, `model.layers.0.mlp.up_proj`, is multiplied by. */
export function loraScaleOf(settings: LoraSettings, module: string): number {
  const { rank, alpha } = settings.modules?.get(module) ?? settings;
  return alpha / (settings.rankStabilized ? Math.sqrt(rank) : rank);
}

/**
 * LoRA (Hu et al. 2021, arXiv:2106.09685): y = x·W + loraScale · (x·Aᵀ)·Bᵀ with A [R, in] random and B [out,
 * R] zero. The base is frozen, but for heads that every task has anew: it gets no gradient, no optimizer
 * state, and nothing is saved that only its gradient would need.
 */
export function injectLora(settings: LoraSettings): Pass {
  return {
    name: "lora",
    declare: (shared) => declareAdapters(shared, settings),
    forward(draft) {
      const adapters = adaptersByWeight(draft.parameters);
      // Streams of the model's own dropout count up from 0.
      let stream = 1 << 16;
      rewriteForward(draft, (node, inputs, builder) => {
        const adapter = node.op === linear ? adapters.get(inputs[1].id) : undefined;
        if (!adapter) return undefined;
        const [base] = builder.call(linear, inputs, node.attrs);
        return builder.scope("lora", () => {
          const probability = draft.training ? settings.dropout : 0;
          const [x] = probability > 0
            ? builder.call(dropout, [inputs[0]], { probability, stream: stream++ })
            : [inputs[0]];
          const plain = { transposedWeight: true, bias: false, residual: false };
          const [down] = builder.call(linear, [x, adapter.a], plain);
          const [scaled] = builder.call(scale, [down], { factor: loraScaleOf(settings, adapter.module) });
          return builder.call(linear, [scaled, adapter.b, base], { ...plain, residual: true });
        });
      });
    },
  };
}

/** Parameter names of the adapter of a module, as peft has them below `base_model.model.`. */
export function loraParameterNames(module: string): { a: string; b: string } {
  return { a: `${module}.lora_A.weight`, b: `${module}.lora_B.weight` };
}

function declareAdapters(
  { persistents, parameters }: SharedDraft,
  settings: LoraSettings,
): void {
  const { rank, targetModules, modules, plusRatio = 1, init = "uniform" } = settings;
  const linears = parameters.filter(({ spec }) => isAdapted(spec));
  const wanted = modules ?? modulesNamed(linears.map(({ spec }) => spec), targetModules);
  const targets = linears.filter(({ spec }) => wanted.has(moduleOf(spec)));
  if (targets.length === 0) {
    const known = [...new Set(linears.map(({ spec }) => moduleOf(spec).split(".").at(-1)))];
    throw new InputError(
      `LoRA finds no target modules ${targetModules.join(", ")}: the model's linear layers are ${
        known.join(", ")
      }`,
    );
  }
  for (const parameter of parameters) parameter.trainable = parameter.spec.trainedWithAdapters ?? false;
  for (const { spec } of targets) {
    const [cIn, cOut] = spec.linear === "in_out" ? spec.shape : spec.shape.toReversed();
    const module = moduleOf(spec);
    const names = loraParameterNames(module);
    const ownRank = modules?.get(module)?.rank ?? rank;
    const add = (name: string, shape: number[], init: ParameterSpec["init"], rateFactor = 1) => {
      const value = persistents.declare(name, { shape, dtype: "f32" }, "weights");
      const added: ParameterSpec = { name, shape, init, decay: true, linear: "out_in", rateFactor };
      parameters.push({ spec: added, value, master: value, trainable: true, added: true });
    };
    add(
      names.a,
      [ownRank, cIn],
      init === "normal"
        ? { kind: "normal", standardDeviation: 1 / ownRank }
        // Kaiming's uniform initialisation with a = √5, as peft: bound 1 ÷ √in.
        : { kind: "uniform", bound: 1 / Math.sqrt(cIn) },
    );
    add(names.b, [cOut, ownRank], { kind: "constant", value: 0 }, plusRatio);
  }
}

/** Paths of the modules that names stand for, each the end of a path from a dot on. */
export function modulesNamed(
  parameters: readonly ParameterSpec[],
  names: readonly string[],
): ReadonlySet<string> {
  return new Set(
    linearModules(parameters).filter((module) => names.some((name) => `.${module}`.endsWith(`.${name}`))),
  );
}

/** Paths of the modules that adapters are for: the linear layers, but not the head. */
export function linearModules(parameters: readonly ParameterSpec[]): string[] {
  return parameters.filter(isAdapted).map(moduleOf);
}

/** Whether adapters are for a parameter: what is trained whole beside them needs none. */
function isAdapted({ linear, trainedWithAdapters }: ParameterSpec): boolean {
  return linear !== undefined && !trainedWithAdapters;
}

/** Path of the module whose weight it is. */
function moduleOf({ name }: Pick<ParameterSpec, "name">): string {
  return name.replace(/\.weight$/, "");
}

function adaptersByWeight(
  parameters: readonly Parameter[],
): Map<number, { module: string; a: Value; b: Value }> {
  const byName = new Map(parameters.map((parameter) => [parameter.spec.name, parameter]));
  const adapters = new Map<number, { module: string; a: Value; b: Value }>();
  for (const { spec, value } of parameters) {
    const module = moduleOf(spec);
    const names = loraParameterNames(module);
    const [a, b] = [byName.get(names.a), byName.get(names.b)];
    if (a && b) adapters.set(value.id, { module, a: a.value, b: b.value });
  }
  return adapters;
}
