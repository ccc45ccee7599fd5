import { takeRows, takeRowsGrad } from "../../../kernels/take_rows.ts";
import { checkKernel } from "../../support/check_op.ts";
import { deviceTest, deviceTestOf } from "../../support/with_device.ts";
import { KERNEL_KINDS } from "../../../kernels/kernel_set.ts";

/** Rows that are taken, distance, columns: one of each, primes, whole vectors, several workgroups. */
const SIZES = [[1, 1, 1], [4, 13, 7], [3, 5, 24], [1, 17, 260], [33, 2, 36]];

for (const dtype of ["f32", "f16"] as const) {
  for (const kind of KERNEL_KINDS) {
    Deno.test(
      `take_rows and its gradient in ${dtype} (${kind}) copy rows`,
      await deviceTestOf(dtype),
      async () => {
        for (const [rows, every, columns] of SIZES) {
          const check = { target: { kind }, allowed: 0 };
          await checkKernel(takeRows, [{ shape: [rows * every, columns], dtype }], { every }, check);
          await checkKernel(takeRowsGrad, [{ shape: [rows, columns], dtype }], { every }, check);
        }
      },
    );
  }
}

Deno.test("take_rows reads matrices over the binding limit in windows", deviceTest, async () => {
  for (const columns of [7, 8]) {
    const check = { target: { maxStorageBufferBindingSize: 4096 }, allowed: 0 };
    await checkKernel(takeRows, [{ shape: [300 * 3, columns] }], { every: 3 }, check);
    await checkKernel(takeRowsGrad, [{ shape: [300, columns] }], { every: 3 }, check);
  }
});
