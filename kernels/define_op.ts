import type { OpDefinition } from "../engine/graph/op.ts";
import type { KernelSet } from "./kernel_set.ts";

/** Declares an op, which is lowered to kernels of a `KernelSet`; the one place that knows the op. */
export function defineOp<Attrs = Record<string, never>>(
  definition: OpDefinition<Attrs, KernelSet>,
): OpDefinition<Attrs, KernelSet> {
  return definition;
}
