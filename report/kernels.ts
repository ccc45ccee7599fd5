/** Where a step's time goes, kernel by kernel, and how near each comes to what the device can do. */
import type { Roofline } from "../results/record.ts";
import type { Configuration } from "./derive.ts";

export interface KernelShare {
  kernel: string;
  dispatches: number;
  ms: number;
  /** Of the time of all kernels of the profiled step. */
  share: number;
  flopsPerSecond: number | null;
  bytesPerSecond: number | null;
  /** FLOPs a byte bound. */
  intensity: number | null;
  /** Of the roof at its intensity; null where no roof was measured. */
  ofRoof: number | null;
}

export interface Profile {
  id: string;
  configuration: Configuration;
  kernels: KernelShare[];
  totalMs: number;
}

/** The first profiled cell of a configuration, longest kernel first; null where none was profiled. */
export function profileOf(configuration: Configuration, roof: Roofline | null): Profile | null {
  const cell = configuration.ok.find(({ profile }) => profile && profile.length > 0);
  if (!cell) return null;
  const totalMs = cell.profile!.reduce((sum, { ms }) => sum + ms, 0);
  const isHalf = configuration.config.methods.includes("fp16");
  const kernels = cell.profile!.map(({ kernel, dispatches, ms, flops, bytes }): KernelShare => {
    const per = (amount: number) => ms > 0 && amount > 0 ? amount / ms * 1000 : null;
    const [flopsPerSecond, bytesPerSecond] = [per(flops), per(bytes)];
    const ceiling = roof && ceilingOf(roof, flops, bytes, isHalf);
    const used = flops > 0 ? flopsPerSecond : bytesPerSecond;
    return {
      kernel,
      dispatches,
      ms,
      share: totalMs > 0 ? ms / totalMs : 0,
      flopsPerSecond,
      bytesPerSecond,
      intensity: flops > 0 && bytes > 0 ? flops / bytes : null,
      ofRoof: ceiling && used ? used / ceiling : null,
    };
  });
  kernels.sort((a, b) => b.ms - a.ms || (a.kernel < b.kernel ? -1 : 1));
  return { id: cell.id, configuration, kernels, totalMs };
}

/** Work (or, for kernels without products, bytes) a second that the device could do at this intensity. */
function ceilingOf(roof: Roofline, flops: number, bytes: number, isHalf: boolean): number {
  if (flops === 0 || bytes === 0) return roof.copyBytesPerSecond;
  const { f32, f16 } = roof.matmulFlopsPerSecond;
  return Math.min(isHalf ? Math.max(f32, f16 ?? 0) : f32, roof.copyBytesPerSecond * flops / bytes);
}

/** Model FLOPs utilisation: FLOPs of the model's products a second, recomputation not counted, over the measured peak. */
export function utilisation(configuration: Configuration, roof: Roofline | null): number | null {
  const [cell] = configuration.ok;
  const ms = configuration.stepMs?.interval.estimate;
  if (!roof || !cell?.modelFlopsPerStep || !ms) return null;
  const { f32, f16 } = roof.matmulFlopsPerSecond;
  const peak = configuration.config.methods.includes("fp16") ? Math.max(f32, f16 ?? 0) : f32;
  return peak > 0 ? cell.modelFlopsPerStep / ms * 1000 / peak : null;
}
