import { FAMILIES, testProducts } from "../../support/matmul_checks.ts";

testProducts(...FAMILIES.workgroup);
