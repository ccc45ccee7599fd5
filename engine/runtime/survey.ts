import { DAWN_VERSION, dawnIsInstalled } from "./dawn_package.ts";
import { describeAdapter } from "./device.ts";
import type { AdapterDescription } from "./gpu.ts";
import { openProvider } from "./provider.ts";
import { GPU_PROVIDERS, type GpuProviderId } from "./provider_contract.ts";

/** What one implementation of WebGPU offers on this machine. */
export interface ProviderSurvey {
  /** Which implementation. */
  id: GpuProviderId;
  /** Null where it is not installed. */
  version: string | null;
  /** Its adapter, or null where it has none. */
  adapter: AdapterDescription | null;
  /** Why there is no adapter, and what to do; null where there is one. */
  problem: string | null;
}

/** Asks every implementation of WebGPU for its adapter. Installs nothing. */
export async function surveyProviders(): Promise<ProviderSurvey[]> {
  const surveys: ProviderSurvey[] = [];
  for (const id of GPU_PROVIDERS) surveys.push(await surveyProvider(id));
  return surveys;
}

async function surveyProvider(id: GpuProviderId): Promise<ProviderSurvey> {
  let version: string | null = null;
  try {
    if (id === "dawn" && !await dawnIsInstalled()) {
      const problem =
        `not installed: the first --gpu dawn gets it (npm package webgpu ${DAWN_VERSION}, 132 MB)`;
      return { id, version, adapter: null, problem };
    }
    ({ version } = await openProvider(id));
    return { id, version, adapter: await describeAdapter(id), problem: null };
  } catch (error) {
    return { id, version, adapter: null, problem: (error as Error).message };
  }
}
