import type { ConfigReader } from "./config_reader.ts";

/** Probabilities of dropout by where it acts; 0 is off. */
export interface DropoutRates {
  /** On the sum of the embeddings. */
  embedding: number;
  /** On the probabilities of attention. */
  attention: number;
  /** On every branch before it is added to the residual stream. */
  residual: number;
  /** Before the matrix of a classifier. */
  classifier: number;
}

/** The same probability everywhere. */
export function dropoutEverywhere(probability: number): DropoutRates {
  return { embedding: probability, attention: probability, residual: probability, classifier: probability };
}

export const NO_DROPOUT: Readonly<DropoutRates> = dropoutEverywhere(0);

/** What a config.json has under `field`. @throws {InputError} for what is no probability below 1. */
export function readDropout(read: ConfigReader, field: string, byDefault?: number): number {
  const probability = read.number(field, byDefault);
  if (probability >= 0 && probability < 1) return probability;
  throw read.refusal(field, "a number of at least 0 and less than 1");
}
