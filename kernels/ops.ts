import type { OpDefinition } from "../engine/graph/op.ts";
import { adafactor } from "./adafactor.ts";
import { adamw } from "./adamw.ts";
import { adamw8bit } from "./adamw_8bit.ts";
import { attention, attentionGrad } from "./attention.ts";
import { columnSum } from "./column_sum.ts";
import { concatColumns, splitColumns } from "./concat_columns.ts";
import { linearCrossEntropy, linearCrossEntropyGrad } from "./cross_entropy.ts";
import { dropout } from "./dropout.ts";
import {
  add,
  gelu,
  geluGrad,
  geluMul,
  geluMulGrad,
  relu,
  reluGrad,
  scale,
  siluMul,
  siluMulGrad,
  softCap,
  tanh,
  tanhGrad,
} from "./elementwise.ts";
import { embedding, embeddingGrad } from "./embedding.ts";
import { flashAttention, flashAttentionGrad } from "./flash_attention.ts";
import { globalNorm } from "./global_norm.ts";
import { layerNorm, layerNormInputGrad, layerNormParameterGrad } from "./layer_norm.ts";
import { linear, linearInputGrad, linearWeightGrad } from "./linear.ts";
import { linearGelu, linearInputGradGelu } from "./linear_gelu.ts";
import { quantizedLinear, quantizedLinearInputGrad } from "./quantized_linear.ts";
import { rmsNorm, rmsNormInputGrad, rmsNormParameterGrad } from "./rms_norm.ts";
import { rope } from "./rope.ts";
import { sgd } from "./sgd.ts";
import { resetAtStepStart, zero } from "./step_start.ts";
import { takeRows, takeRowsGrad } from "./take_rows.ts";
import { refreshWorkingCopy } from "./working_copy.ts";

/**
 * Every op that `kernels/` declares, for what speaks of all of them: tests, documents, printouts. A step
 * imports those that it uses. A file is a family; the order is that of the files, then that in the file.
 * `tests/host/kernels/ops_test.ts` holds that the list is complete and that every op on it has its checks.
 */
export const OPS: readonly OpDefinition[] = [
  adafactor,
  adamw,
  adamw8bit,
  attention,
  attentionGrad,
  columnSum,
  concatColumns,
  splitColumns,
  linearCrossEntropy,
  linearCrossEntropyGrad,
  dropout,
  add,
  gelu,
  geluGrad,
  geluMul,
  geluMulGrad,
  siluMul,
  siluMulGrad,
  relu,
  reluGrad,
  tanh,
  tanhGrad,
  softCap,
  scale,
  embedding,
  embeddingGrad,
  flashAttention,
  flashAttentionGrad,
  globalNorm,
  layerNorm,
  layerNormInputGrad,
  layerNormParameterGrad,
  linear,
  linearInputGrad,
  linearWeightGrad,
  linearGelu,
  linearInputGradGelu,
  quantizedLinear,
  quantizedLinearInputGrad,
  rmsNorm,
  rmsNormInputGrad,
  rmsNormParameterGrad,
  rope,
  sgd,
  resetAtStepStart,
  zero,
  takeRows,
  takeRowsGrad,
  refreshWorkingCopy,
];
