import { bytesText } from "../results/bytes.ts";
import type { Tier } from "./schema.ts";

/** What is known of the machine when a tier is picked. */
export interface TierFacts {
  adapterName: string;
  software: boolean;
  /** Memory of the GPU, where the driver tells; WebGPU does not. */
  deviceMemoryBytes: number | null;
  maxBufferSize: number;
  /** Memory of the machine. */
  memoryBytes: number;
  /** What the cgroup of this process may use of it; null without a limit. */
  cgroupLimitBytes: number | null;
}

export interface TierChoice {
  tier: Tier;
  /** In words, for the record. */
  reason: string;
  /** Bytes a cell may plan for, or null where nothing is known. */
  memoryBudgetBytes: number | null;
}

/** From here on a GPU counts as large: it holds GPT-2 124M at T 1024 with tens of sequences. */
const LARGE_BYTES = 40 * 2 ** 30;

/** Picks the tier that fits the adapter, and says why. */
export function chooseTier(facts: TierFacts): TierChoice {
  if (facts.software) return softwareTier(facts, `${facts.adapterName} runs on the CPU`);
  const { deviceMemoryBytes: bytes } = facts;
  if (bytes !== null) {
    const large = bytes >= LARGE_BYTES;
    return {
      tier: large ? "gpu-large" : "gpu-small",
      reason: `${facts.adapterName} has ${bytesText(bytes)} of memory, ` +
        `${large ? "at least" : "less than"} ${bytesText(LARGE_BYTES)}`,
      memoryBudgetBytes: Math.floor(bytes * 0.9),
    };
  }
  // No adapter that we know of has a buffer limit above its memory by much, but many have one far below.
  const large = facts.maxBufferSize >= LARGE_BYTES;
  return {
    tier: large ? "gpu-large" : "gpu-small",
    reason: `${facts.adapterName} does not tell its memory; its largest buffer is ${
      bytesText(facts.maxBufferSize)
    }`,
    memoryBudgetBytes: null,
  };
}

/** The tier where there is no adapter to ask. */
export function softwareTier(
  { memoryBytes, cgroupLimitBytes: limit }: Pick<TierFacts, "memoryBytes" | "cgroupLimitBytes">,
  reason: string,
): TierChoice {
  const limited = limit !== null && limit < memoryBytes;
  return {
    tier: "software",
    reason: limited ? `${reason}, where its cgroup may use ${bytesText(limit)} of memory` : reason,
    // Half: the process holds its tensors in the machine's memory, beside all else that runs there.
    memoryBudgetBytes: Math.floor((limited ? limit : memoryBytes) / 2),
  };
}
