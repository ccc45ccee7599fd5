import {
  type Command,
  elementRange,
  foldGrid,
  type Located,
  type Target,
  u32,
  whole,
} from "../engine/graph/op.ts";
import { DTYPE_BYTES } from "../engine/graph/types.ts";
import { matmulCommands, type MatmulOperand, type MatmulSpec } from "./matmul.ts";
import source from "./partial_sums.wgsl" with { type: "text" };

/** A product without batches whose C lies in one piece, and where its parts may meet. */
export interface SplitTermsSpec
  extends Omit<MatmulSpec, "batch" | "bias" | "residual" | "gelu" | "sums" | "triangle"> {
  /** f32 [parts, m·n]: what each part of the terms adds up to. */
  partials: Located;
}

/**
 * A product with many terms and few outputs: shares of the terms are multiplied side by side, as batches, and their results
 * added, so that a GPU has more workgroups than C has tiles. A software adapter has enough of them: there it is one product.
 *
 * @throws {RangeError} if C has gaps between its rows.
 */
export function splitTermsCommands({ partials, ...spec }: SplitTermsSpec, target: Target): Command[] {
  const { m, n, k, a, b, c } = spec;
  const parts = partials.shape[0];
  // Whole vectors of four, so that every share begins with one.
  const share = Math.floor(k / parts / 4) * 4;
  const bindable = Math.max(partials.byteLength, m * n * 4) <= target.maxStorageBufferBindingSize;
  if (target.software || parts < 2 || share === 0 || spec.accumulate || !bindable) {
    return matmulCommands(spec, target);
  }
  if (c.ld !== n) {
    throw new RangeError(`Cannot split the terms of ${spec.name}: rows of C lie ${c.ld} apart, not ${n}`);
  }
  const steps = [
    a.transposed ? share * a.ld : share,
    b.transposed ? share : share * b.ld,
  ];
  const at = ({ offset = 0, ...operand }: MatmulOperand, elements: number) => ({
    ...operand,
    offset: offset + elements,
  });
  const meeting: MatmulOperand = { value: partials, ld: n };
  const rest = k - parts * share;
  return [
    ...matmulCommands({
      ...spec,
      k: share,
      batch: [parts],
      a: { ...a, strides: [steps[0]] },
      b: { ...b, strides: [steps[1]] },
      c: { ...meeting, strides: [m * n] },
    }, target),
    ...rest > 0
      ? matmulCommands({
        ...spec,
        k: rest,
        a: at(a, parts * steps[0]),
        b: at(b, parts * steps[1]),
        c: meeting,
        accumulate: true,
      }, target)
      : [],
    sumCommand(partials, c, { count: m * n, parts }, target),
  ];
}

function sumCommand(
  partials: Located,
  { value, offset = 0 }: MatmulOperand,
  { count, parts }: { count: number; parts: number },
  target: Target,
): Command {
  const { firstElement, ...binding } = elementRange(value, offset, count, DTYPE_BYTES[value.dtype]);
  const width = count % 4 === 0 && firstElement % 4 === 0 ? 4 : 1;
  const type = (dtype: string) => width === 4 ? `vec4<${dtype}>` : dtype;
  const grid = foldGrid(Math.ceil(count / width / 64), target);
  return {
    kernel: {
      name: "partial_sums",
      code: `alias vec_t = ${type("f32")};\nalias c_t = ${type(value.dtype)};\n${source}`,
      entryPoint: "partial_sums",
      writes: [1],
    },
    bindings: [whole(partials), binding],
    params: [count / width, parts, firstElement / width, grid[0]].map(u32),
    workgroups: grid,
  };
}
