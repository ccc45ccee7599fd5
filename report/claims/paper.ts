/**
 * The paper's own figures (Samonov 2024, doi:10.20295/2413-2527-2024-339-5-12). Everything that a verdict is
 * compared with stands here or in guide.ts; nothing else in the report is typed in.
 */

/** C1a, C1b: the memory needed falls to a third. */
export const THREEFOLD = 3;

/** C3: "about 20 %" slower. One digit is given, so 15 to 25 % round to it. */
export const CHECKPOINTING_SLOWDOWN = { estimate: 1.2, low: 1.15, high: 1.25 } as const;

/** C4: weights are held one and a half times, in 4 + 2 bytes. */
export const MIXED_WEIGHTS = 1.5;

/** C7: bytes of optimizer state a parameter, and GB at 3 B parameters. "A little over 4" is 4 to 4.5. */
export const OPTIMIZER_STATE: Readonly<
  Record<
    string,
    { label: string; bytes: number; low: number; high: number; words: string; gigabytes3b: number }
  >
> = {
  adamw: { label: "AdamW", bytes: 8, low: 7.5, high: 8.5, words: "8", gigabytes3b: 24 },
  adafactor: { label: "Adafactor", bytes: 4, low: 4, high: 4.5, words: "a little over 4", gigabytes3b: 12 },
  adamw8bit: { label: "8-bit AdamW", bytes: 2, low: 1.5, high: 2.5, words: "2", gigabytes3b: 6 },
};

/** C8: a model of 3 B parameters in f32 with 8-bit AdamW, before activations. */
export const THREE_BILLION = {
  parameters: 3e9,
  gigabytes: { weights: 12, gradients: 12, optimizer: 6 },
  total: 30,
} as const;

/** C9: 0.1 to 1 % of the parameters trained. */
export const LORA = { shareLow: 0.001, shareHigh: 0.01 } as const;

/** C10: "fourfold" less memory for Llama 2 7B: 3.5 and more round to it. */
export const FOURFOLD = { estimate: 4, low: 3.5 } as const;

/** C10, the paper's Fig. 1: Llama 2 7B with LoRA over an int8 base. */
export const LLAMA_7B = {
  base: 7,
  trainable: 1,
  onTop: { low: 7, high: 9 },
  total: { low: 15, high: 17 },
} as const;
