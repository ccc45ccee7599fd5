import type { PersistentValues } from "../graph/builder.ts";
import { linear, type LinearAttrs } from "../../kernels/linear.ts";
import {
  DEQUANTIZATION_TABLE_SIZE,
  type QuantizedFormat,
  quantizedLinear,
  quantizedTypes,
  type QuantizedWeightAttrs,
} from "../../kernels/quantized_linear.ts";
import { rewriteForward } from "./rewrite.ts";
import type { Parameter, Pass, QuantizedStorage, SharedDraft } from "./step.ts";

/** How the frozen base is quantized. */
export interface QuantizeSettings {
  format: QuantizedFormat;
  /** Weights that share one absmax; int8 has one a row whatever this says. */
  quantBlockSize: number;
  /** Whether the absmax values of NF4 are quantized too. */
  doubleQuantization: boolean;
}

const TABLES_NAME = "dequantization_tables";

/**
 * QLoRA's base (Dettmers et al. 2023, arXiv:2305.14314): frozen weights of linear layers are stored in NF4 or
 * int8 and decoded inside the products. Embeddings, norms, biases, the head and adapters are not quantized.
 */
export function quantizeBase(settings: QuantizeSettings): Pass {
  return {
    name: `quantize base to ${settings.format}`,
    declare: (shared) => declareStorage(shared, settings),
    forward(draft) {
      const storages = new Map(
        draft.parameters.flatMap((
          { value, quantized },
        ) => (quantized ? [[value.id, quantized] as const] : [])),
      );
      rewriteForward(draft, (node, inputs, builder) => {
        const storage = node.op === linear ? storages.get(inputs[1].id) : undefined;
        if (!storage) return undefined;
        const { bias, residual } = node.attrs as LinearAttrs;
        const { codes, absmax, nested, tables } = storage;
        const [x, , ...rest] = inputs;
        return builder.call(quantizedLinear, [x, codes, absmax, nested, tables, ...rest], {
          ...storage.attrs,
          bias,
          residual,
        });
      });
    },
  };
}

function declareStorage({ persistents, parameters }: SharedDraft, settings: QuantizeSettings): void {
  for (const parameter of parameters) {
    const { spec, trainable, value } = parameter;
    if (trainable || !spec.linear || /^lm_head\./.test(spec.name)) continue;
    // The value stays as a name for the weight in graphs not yet rewritten; it has no storage any more.
    persistents.remove(value.name);
    parameter.quantized = storageOf(persistents, parameter, settings);
  }
}

function storageOf(
  persistents: PersistentValues,
  { spec }: Parameter,
  { format, quantBlockSize, doubleQuantization }: QuantizeSettings,
): QuantizedStorage {
  const [cIn, cOut] = spec.linear === "in_out" ? spec.shape : spec.shape.toReversed();
  const attrs: QuantizedWeightAttrs = format === "nf4"
    ? { cIn, cOut, format, quantBlockSize, doubleQuantization }
    : { cIn, cOut, format, quantBlockSize: cIn, doubleQuantization: false };
  const [codes, absmax, nested] = quantizedTypes(attrs);
  const declare = (suffix: string, type: typeof codes) =>
    persistents.declare(`${spec.name}.${suffix}`, type, "weights");
  const table = { shape: [DEQUANTIZATION_TABLE_SIZE], dtype: "f32" as const };
  return {
    attrs,
    codes: declare("codes", codes),
    absmax: declare("absmax", absmax),
    nested: declare("nested_absmax", nested),
    tables: persistents.get(TABLES_NAME) ?? persistents.declare(TABLES_NAME, table, "weights"),
  };
}
