/**
 * Number of the engine's numerics: raised by one whenever the same configuration, seed and adapter give other
 * losses than before. The weights' start, the order of the data, dropout masks, the order of sums in kernels
 * and the rules that choose among kernels all count; speed and memory do not. It is part of a cell's
 * identity, so that losses of two numerics are never taken for samples of one.
 *
 * `tests/device/numerics_test.ts` trains small cells against pinned losses,
 * `tests/host/train/numerics_test.ts` holds the start of weights and the order of data. Where they fail and
 * the change is meant: raise the number, then run `deno task pins`, which writes what the new one has beside
 * those before it.
 *
 * 1 stands for all that was recorded before there was a number.
 */
export const NUMERICS = 2;
