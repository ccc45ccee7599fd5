import type { HeldOutReport } from "../engine.ts";

/** `, accuracy 0.6250, macro F1 0.6190 (the most frequent label has 0.5000)`; nothing without scores. */
export function scoresText({ accuracy, macroF1, majorityShare }: Partial<HeldOutReport>): string {
  if (accuracy === undefined || macroF1 === undefined || majorityShare === undefined) return "";
  const [found, f1, most] = [accuracy, macroF1, majorityShare].map((share) => share.toFixed(4));
  return `, accuracy ${found}, macro F1 ${f1} (the most frequent label has ${most})`;
}
