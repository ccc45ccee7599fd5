import { concatColumns, splitColumns } from "../../../kernels/concat_columns.ts";
import { checkKernel } from "../../support/check_op.ts";
import { deviceTest, deviceTestOf } from "../../support/with_device.ts";
import { KERNEL_KINDS } from "../../../kernels/kernel_set.ts";

/** Rows, then widths: one of each, primes, whole vectors beside a part that is none, grouped heads. */
const SIZES: [number, number[]][] = [[1, [1]], [13, [7, 3, 5]], [33, [8, 4, 4]], [64, [12, 30, 4]], [
  65,
  [120, 40, 40],
]];

for (const dtype of ["f32", "f16"] as const) {
  for (const kind of KERNEL_KINDS) {
    const options = await deviceTestOf(dtype);
    const check = { target: { kind }, allowed: 0 };
    Deno.test(
      `concat_columns in ${dtype} (${kind}) copies every column`,
      options,
      async () => {
        for (const [rows, widths] of SIZES) {
          const inputs = widths.map((width) => ({ shape: [rows, width], dtype }));
          await checkKernel(concatColumns, inputs, {}, check);
          const inBlocks = widths.map((width) => ({ shape: [rows, 3 * width], dtype }));
          await checkKernel(concatColumns, inBlocks, { blocks: 3 }, check);
        }
      },
    );

    Deno.test(
      `split_columns in ${dtype} (${kind}) copies what is wanted`,
      options,
      async () => {
        for (const [rows, widths] of SIZES) {
          const wide = { shape: [rows, widths.reduce((a, b) => a + b)], dtype };
          await checkKernel(splitColumns, [wide], { widths, wanted: widths.map(() => true) }, check);
          await checkKernel(splitColumns, [wide], { widths, wanted: widths.map((_, i) => i !== 1) }, check);
          const inBlocks = { shape: [rows, 3 * wide.shape[1]], dtype };
          const wanted = widths.map(() => true);
          await checkKernel(splitColumns, [inBlocks], { widths, wanted, blocks: 3 }, check);
        }
      },
    );
  }
}

Deno.test("columns are copied in windows where a matrix passes the binding limit", deviceTest, async () => {
  for (const widths of [[5, 2], [8, 4]]) {
    const target = { maxStorageBufferBindingSize: 4096 };
    const inputs = widths.map((width) => ({ shape: [300, width] }));
    await checkKernel(concatColumns, inputs, {}, { target, allowed: 0 });
    const wide = { shape: [300, widths[0] + widths[1]] };
    await checkKernel(splitColumns, [wide], { widths, wanted: [true, true] }, { target, allowed: 0 });
  }
});
