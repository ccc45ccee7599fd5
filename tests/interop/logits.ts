// Prints, as JSON, the logits that the engine computes: deno run -A
// tests/interop/logits.ts MODEL BATCH.json [ADAPTER]
//
// BATCH.json: {"tokens": [[...], ...], "tokenTypes": [[...], ...], "padding": [[0
// or 1, ...], ...]}, the last two optional.
import { openWeights } from "../../engine/formats/safetensors.ts";
import { modelOf, readModelConfig } from "../../engine/model/config.ts";
import { openGpu } from "../../engine/runtime/device.ts";
import { loadAdapter, readFolderAdapter } from "../../engine/train/adapters.ts";
import { LogitsProgram } from "../../engine/train/logits.ts";
import { loadWeights } from "../../engine/train/weights.ts";
import { PADDING_SEGMENT } from "../../kernels/attention_shapes.ts";

const [folder, batchFile, adapterFolder] = Deno.args;
const { tokens, tokenTypes, padding } = JSON.parse(await Deno.readTextFile(batchFile));
const model = modelOf(await readModelConfig(folder));
const gpu = await openGpu();
const adapter = adapterFolder === undefined ? null : await readFolderAdapter(adapterFolder, model.parameters);
const program = await LogitsProgram.open(gpu, {
  model,
  microBatchSize: tokens.length,
  sequenceLength: tokens[0].length,
  methods: adapter ? { lora: adapter.settings } : {},
});
using source = (await openWeights(folder))!;
await loadWeights(program.session, program.parameters, source);
if (adapter) await loadAdapter(program.session, program.parameters, adapterFolder);
const logits = await program.compute({
  tokens: tokens.flat(),
  tokenTypes: tokenTypes?.flat(),
  segments: padding?.flat().map((isPadding: number) => (isPadding ? PADDING_SEGMENT : 0)),
});
console.log(JSON.stringify({ rows: logits.length, logits: [...logits] }));
Deno.exit(0);
