import { openWeights } from "../formats/safetensors.ts";
import { loadAdapter, readFolderAdapter } from "./adapters.ts";
import { buildEvaluation } from "../passes/pipeline.ts";
import { planGraphs } from "../plan/plan.ts";
import { openGpu } from "../runtime/device.ts";
import { Session } from "../runtime/session.ts";
import { InputError } from "../input_error.ts";
import { DataFeed } from "./data_feed.ts";
import type { ClassScores } from "./class_scores.ts";
import { heldOutLoss, labelLogits } from "./held_out_loss.ts";
import { prepare } from "./prepare.ts";
import { initializeWeights, loadWeights } from "./weights.ts";

/** What to evaluate on what. */
export interface EvaluateOptions {
  /** A preset, a model of the hub, or a folder with config.json. */
  model: string;
  /** `classify`: a new classifier, which `adapter` must have the weights of. */
  task?: "own" | "classify";
  /** Named corpus, text file, token file or file of examples. */
  data: string;
  /** `bytes`, `gpt2`, `bpe<size>`, or `model` for the tokenizer in the model's folder. */
  tokenizer: string;
  /** Tokens in a sequence. */
  sequenceLength: number;
  /** Sequences in one forward pass. */
  microBatchSize: number;
  /** Fields of examples, where they are not called `text` and `label`. */
  textField?: string;
  /** Field of examples that holds the label. */
  labelField?: string;
  /** Whether short documents share a sequence, and what becomes of those that are too long. */
  packing?: boolean;
  /** What becomes of documents longer than a sequence. */
  overlong?: "refuse" | "truncate" | "split";
  /** Sequences to evaluate; 0 is all. */
  heldOutWindows: number;
  /** Start of a model folder without weights, and of presets. */
  seed: number;
  /** PEFT folder of an adapter to evaluate the model with, or null. */
  adapter: string | null;
}

/** What an evaluation found. */
export interface Evaluation {
  /** Mean over targets, in nats. */
  loss: number;
  /** Unmasked targets evaluated. */
  targets: number;
  /** Tokens evaluated, padding not counted. */
  tokens: number;
  /** How well labels were told apart; null of a model that predicts tokens. */
  scores: ClassScores | null;
  /** Bytes the ledger booked at the peak. */
  bookedPeakBytes: number;
}

/** Mean loss of a model over whole data, sequence by sequence. @throws {InputError} */
export async function evaluate(
  options: EvaluateOptions,
  onProgress?: (sequences: number, of: number) => void,
): Promise<Evaluation> {
  const { sequenceLength, microBatchSize } = options;
  const prepared = await prepare({ ...options, heldOutFraction: 0 });
  const source = prepared.folder === null ? null : await openWeights(prepared.folder);
  if (prepared.folder !== null && source === null) {
    throw new InputError(
      `Cannot evaluate ${options.model}: the folder has no weights, expected model.safetensors`,
    );
  }
  const lora = options.adapter === null
    ? undefined
    : (await readFolderAdapter(options.adapter, prepared.model.parameters)).settings;
  const gpu = await openGpu();
  const { graph, persistents, parameters, inputs } = buildEvaluation({
    model: prepared.model,
    microBatchSize,
    sequenceLength,
    packed: options.packing ?? false,
    methods: lora ? { lora } : {},
  });
  let session: Session | undefined;
  try {
    session = await Session.open(gpu, planGraphs([graph], persistents, gpu.kernels));
    const lacking = source
      ? await loadWeights(session, parameters, source, prepared.newParameters)
      : new Set<string>();
    if (!source) await initializeWeights(session, parameters, options.seed);
    const loaded = options.adapter === null
      ? new Set<string>()
      : await loadAdapter(session, parameters, options.adapter);
    const [unknown] = lacking.difference(loaded);
    if (unknown !== undefined) {
      throw new InputError(
        `Cannot evaluate ${options.model}: neither it nor an adapter has ${unknown}, which would be random`,
      );
    }
    const { vocabularySize } = prepared.model.config;
    const feed = new DataFeed(session, inputs, {
      batch: microBatchSize,
      sequence: sequenceLength,
      vocabularySize,
    });
    const found = await heldOutLoss(session, prepared.split.training, {
      program: 0,
      inputs,
      labels: labelLogits(graph, prepared.model),
      feed,
      microBatchSize,
      heldOutWindows: options.heldOutWindows,
      onProgress,
    });
    return { ...found, bookedPeakBytes: session.ledger.peakBytes };
  } finally {
    source?.close();
    session?.close();
    gpu.device.destroy();
  }
}
