import { type Binding, type Dispatch, type Located, overlap } from "../../engine/graph/launch.ts";
import { type CheckedSpec, valuesOf } from "../matmul/product.ts";

/** Dispatches of a product, if there are any, and the values that they are for. */
interface Lowered {
  values: readonly Located[];
  dispatches: readonly Dispatch[] | undefined;
}

/** What was lowered, by all that its dispatches depend on but for the adapter. */
export type LoweredProducts = Map<string, Lowered>;

/**
 * What `lower` gives for a product, worked out once for all products that differ only by where their values
 * lie: every layer of a model has the same products, and of a large model each falls into hundreds of
 * dispatches.
 */
export function loweredOnce(
  spec: CheckedSpec,
  products: LoweredProducts,
  lower: () => Dispatch[] | undefined,
): Dispatch[] | undefined {
  const values = valuesOf(spec).map(([, value]) => value);
  const key = keyOf(spec, values);
  const found = products.get(key);
  if (found) return found.dispatches?.map((dispatch) => moved(dispatch, found.values, values));
  const dispatches = lower();
  products.set(key, { values, dispatches });
  return dispatches;
}

/** A spec as text, of its values only type and size, and how far those that overlap are apart. */
function keyOf(spec: CheckedSpec, values: readonly Located[]): string {
  const apart = values.map((value, i) =>
    values.slice(0, i).map((other) => overlap(value, other) ? value.byteOffset - other.byteOffset : null)
  );
  return JSON.stringify(
    [spec, apart],
    (_, property) => isLocated(property) ? [property.dtype, property.byteLength] : property,
  );
}

function isLocated(property: unknown): property is Located {
  return typeof property === "object" && property !== null && "byteOffset" in property;
}

/** A dispatch for other values. A range lies in one of the values it was for, or in several that overlap. */
function moved(dispatch: Dispatch, from: readonly Located[], to: readonly Located[]): Dispatch {
  const move = (range: Binding): Binding => {
    const i = from.findIndex((value) => overlap(value, range) && value.byteOffset <= range.byteOffset);
    return {
      buffer: to[i].buffer,
      byteOffset: range.byteOffset - from[i].byteOffset + to[i].byteOffset,
      byteLength: range.byteLength,
    };
  };
  return {
    ...dispatch,
    bindings: dispatch.bindings.map(move),
    copies: dispatch.copies?.map((copy) => ({ ...copy, source: move(copy.source) })),
  };
}
