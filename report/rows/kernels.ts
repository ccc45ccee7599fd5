/** Where a step's time goes, kernel by kernel, and how near each comes to what the device can do. */
import type { Roofline } from "../../results/record.ts";
import { kernelRates, modelFlopsUtilisation, raisedRoofline, stepAsKernel } from "../../results/roofline.ts";
import type { Configuration } from "./configuration.ts";

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

const DTYPES = ["f32", "f16"] as const;

function dtypeOf({ config }: Configuration): typeof DTYPES[number] {
  return config.methods.includes("fp16") ? "f16" : "f32";
}

/**
 * A run's roof, raised to the best kernel of these profiles, or step, where one went through it; null where
 * none was measured.
 */
export function roofOf(configurations: readonly Configuration[], measured: Roofline | null): Roofline | null {
  return measured && DTYPES.reduce((roof, dtype) => {
    const profiles = configurations.filter((one) => dtypeOf(one) === dtype).flatMap((one) => {
      const step = stepOf(one);
      return [
        ...one.ok.flatMap(({ profile }) => profile ? [profile] : []),
        ...step ? [[stepAsKernel(step)]] : [],
      ];
    });
    return profiles.length > 0 ? raisedRoofline(roof, profiles, dtype) : roof;
  }, measured);
}

/** The first profiled cell of a configuration, longest kernel first; null where none was profiled. */
export function profileOf(configuration: Configuration, roof: Roofline | null): Profile | null {
  const cell = configuration.ok.find(({ profile }) => profile && profile.length > 0);
  if (!cell) return null;
  const totalMs = cell.profile!.reduce((sum, { ms }) => sum + ms, 0);
  const kernels = cell.profile!.map((profiled): KernelShare => {
    const { kernel, dispatches, ms } = profiled;
    const rates = kernelRates(profiled, roof, dtypeOf(configuration));
    return {
      kernel,
      dispatches,
      ms,
      share: totalMs > 0 ? ms / totalMs : 0,
      flopsPerSecond: rates.flopsPerSecond || null,
      bytesPerSecond: rates.bytesPerSecond || null,
      intensity: rates.intensity || null,
      ofRoof: rates.ceilingShare || null,
    };
  });
  kernels.sort((a, b) => b.ms - a.ms || (a.kernel < b.kernel ? -1 : 1));
  return { id: cell.id, configuration, kernels, totalMs };
}

/** Model FLOPs utilisation of a configuration's step; null where a part of it was not measured. */
export function utilisation(configuration: Configuration, roof: Roofline | null): number | null {
  const step = stepOf(configuration);
  return roof && step ? modelFlopsUtilisation(step, roof, dtypeOf(configuration)) : null;
}

function stepOf({ ok: [cell], stepMs }: Configuration): { modelFlopsPerStep: number; stepMs: number } | null {
  const ms = stepMs?.interval.estimate;
  return cell?.modelFlopsPerStep && ms ? { modelFlopsPerStep: cell.modelFlopsPerStep, stepMs: ms } : null;
}
