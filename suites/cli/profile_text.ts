import type { KernelProfile, Roofline } from "../../results/record.ts";
import { kernelRates, modelFlopsUtilisation } from "../../results/roofline.ts";

/** A profiled step, with what the device can do at best. */
export interface ProfiledStep {
  profile: readonly KernelProfile[];
  /** How it was taken: `timestamps` or `differential`, with the reason for the latter. */
  profiling?: { method: string; reason: string | null; wallMs: number };
  roofline: Roofline | null;
  dtype: "f32" | "f16";
  modelFlopsPerStep: number;
  /** Median of the training steps. */
  stepMs: number | null;
}

/**
 * A profile as a table, at most 80 columns wide: time by kernel, rates, FLOPs a byte, and the share of what
 * the device can do at that many FLOPs a byte. Then what they add up to.
 */
export function profileText(step: ProfiledStep): string {
  const { profile, profiling, roofline, dtype } = step;
  const totalMs = sum(profile, "ms");
  const rows = profile.map((kernel) => {
    const { flopsPerSecond, bytesPerSecond, intensity, ceilingShare } = kernelRates(kernel, roofline, dtype);
    return [
      kernel.kernel.length > 26 ? `${kernel.kernel.slice(0, 25)}…` : kernel.kernel,
      String(kernel.dispatches),
      kernel.ms.toFixed(2),
      totalMs > 0 ? `${(100 * kernel.ms / totalMs).toFixed(1)}` : "–",
      kernel.flops > 0 ? (flopsPerSecond / 1e9).toFixed(1) : "–",
      (bytesPerSecond / 1e9).toFixed(2),
      kernel.flops > 0 ? intensity.toFixed(1) : "–",
      ceilingShare === null ? "–" : (100 * ceilingShare).toFixed(0),
    ];
  });
  const head = ["kernel", "disp.", "ms", "%", "GFLOP/s", "GB/s", "FLOP/B", "% roof"];
  return [...aligned([head, ...rows]), ...totals(step, totalMs), ...profiling ? [methodText(profiling)] : []]
    .join("\n");
}

function totals(
  { profile, roofline, dtype, modelFlopsPerStep, stepMs }: ProfiledStep,
  totalMs: number,
): string[] {
  const lines = [
    `${sum(profile, "dispatches")} dispatches, ${totalMs.toFixed(1)} ms, ${
      (sum(profile, "bytes") / 1e6).toFixed(0)
    } MB moved, ${(sum(profile, "flops") / 1e9).toFixed(2)} GFLOP in products`,
  ];
  if (stepMs !== null && stepMs > 0) {
    const rate = `${(modelFlopsPerStep / stepMs / 1e6).toFixed(2)} GFLOP/s of model FLOPs in a step of ${
      stepMs.toFixed(1)
    } ms`;
    const share = roofline
      ? `, ${
        (100 * modelFlopsUtilisation({ modelFlopsPerStep, stepMs }, roofline, dtype)).toFixed(1)
      } % of the ceiling`
      : "";
    lines.push(rate + share);
  }
  if (roofline) {
    const { matmulFlopsPerSecond: { f32, f16 }, copyBytesPerSecond } = roofline;
    lines.push(
      `ceilings: ${gigas(f32)} GFLOP/s f32, ${f16 === null ? "no f16" : `${gigas(f16)} GFLOP/s f16`}, copy ${
        gigas(copyBytesPerSecond)
      } GB/s`,
    );
  }
  return lines;
}

function methodText({ method, reason, wallMs }: NonNullable<ProfiledStep["profiling"]>): string {
  const how = method === "timestamps"
    ? "timed by the device's clock, a dispatch a pass"
    : `timed by repeating each kernel's dispatches${reason === null ? "" : ` (${reason})`}`;
  return `${how}; the step itself takes ${wallMs.toFixed(1)} ms`;
}

const gigas = (rate: number) => (rate / 1e9).toFixed(1);

function sum(profile: readonly KernelProfile[], field: "ms" | "dispatches" | "bytes" | "flops"): number {
  return profile.reduce((total, kernel) => total + kernel[field], 0);
}

/** First column to the left, the others to the right. */
function aligned(rows: readonly string[][]): string[] {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows.map((row) =>
    row.map((cell, i) => (i === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[i]))).join("  ").trimEnd()
  );
}
