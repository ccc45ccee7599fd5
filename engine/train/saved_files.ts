import { COMPANIONS } from "../formats/hub/snapshot.ts";
import { inputExists, readInput, readJsonInput } from "../formats/input_file.ts";
import { writeFileAtomically, writeTextAtomically } from "../formats/output_file.ts";
import { saveTokenizer } from "../formats/tokenizer.ts";
import { type ModelConfig, modelConfigJson, parseModelConfig, textModelJson } from "../model/config.ts";
import type { TrainOptions } from "./options.ts";
import type { Prepared } from "./prepare.ts";
import { specialTokens } from "./special_tokens.ts";

/**
 * Writes what a model folder has besides weights: `config.json`, and the tokenizer's files. A model that came
 * from a folder keeps what it had there, so that nothing that only other programs read is lost; only what
 * training changed is new.
 */
export async function saveCompanions(
  folder: string,
  prepared: Prepared,
  { tokenizer }: Pick<TrainOptions, "tokenizer">,
): Promise<void> {
  const config = await savedConfig(prepared);
  await writeTextAtomically(`${folder}/config.json`, `${configText(config)}\n`);
  const { folder: source } = prepared;
  const own = source !== null && tokenizer === "model";
  for (const name of own ? COMPANIONS : source !== null ? (["generation_config.json"] as const) : []) {
    if (await inputExists(`${source}/${name}`)) await copyFile(`${source}/${name}`, `${folder}/${name}`);
  }
  if (!own && prepared.tokenizer) await saveTokenizer(folder, prepared.tokenizer);
}

/** Fields that transformers takes for numbers with a point alone, and refuses to load without. */
const FLOATS = [
  ...["initializer_range", "init_std", "rms_norm_eps", "layer_norm_eps"],
  ...["attn_logit_softcapping", "final_logit_softcapping"],
];

/** A configuration as JSON, in which a whole number keeps its point where it needs one: 30.0. */
export function configText(config: Record<string, unknown>): string {
  const whole = new RegExp(`^(\\s*"(?:${FLOATS.join("|")})": -?\\d+)(,?)$`, "gm");
  return JSON.stringify(config, null, 2).replace(whole, "$1.0$2");
}

/** As bytes, complete or not at all; into the folder that it comes from as well. */
async function copyFile(from: string, to: string): Promise<void> {
  const bytes = await readInput(from);
  await writeFileAtomically(to, (append) => append(bytes));
}

/** The configuration that a model came with, as far as it still is true, or else a new one. */
async function savedConfig(
  { folder, model: { config }, tokenizer }: Prepared,
): Promise<Record<string, unknown>> {
  const ours = modelConfigJson(config);
  if (folder === null) {
    const special = tokenizer && specialTokens(tokenizer);
    // Without them transformers presumes those of the first model of the family,
    // which may be beyond the vocabulary.
    return { ...ours, bos_token_id: special?.begin ?? null, eos_token_id: special?.end ?? null };
  }
  const path = `${folder}/config.json`;
  const theirs = textModelJson(await readJsonInput(path));
  const [dtypeField] = ["dtype", "torch_dtype"].filter((field) => field in theirs);
  const kept = {
    ...theirs,
    architectures: ours.architectures,
    [dtypeField ?? "torch_dtype"]: "float32",
  };
  return isSame(parseModelConfig(kept, path), config) ? kept : changed(kept, config, path);
}

/** Fields that differ, such as the labels of a new classifier, are overwritten; the rest stays. */
function changed(
  kept: Record<string, unknown>,
  config: ModelConfig,
  path: string,
): Record<string, unknown> {
  const ours = modelConfigJson(config);
  const before = modelConfigJson(parseModelConfig(kept, path));
  const fields = Object.keys({ ...before, ...ours }).filter((field) => !isSame(before[field], ours[field]));
  const result = { ...kept };
  for (const field of fields) {
    if (ours[field] === undefined) delete result[field];
    else result[field] = ours[field];
  }
  if (fields.includes("id2label")) delete result.num_labels; // which only repeats how many there are
  return result;
}

function isSame(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
