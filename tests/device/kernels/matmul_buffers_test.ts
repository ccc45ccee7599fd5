import { FAMILIES, testProducts } from "../../support/matmul_checks.ts";
import { longDeviceTest } from "../../support/long_run.ts";

// Lavapipe takes this form only where operands do not fall into whole vectors,
// which matmul_test.ts has cases of.
testProducts(...FAMILIES.buffers, longDeviceTest);
