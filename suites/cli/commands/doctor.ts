import { cgroupLimitBytes } from "../../cgroup.ts";
import { type Command, EXIT } from "../command.ts";
import type { AdapterDescription, Engine, ProviderSurvey } from "../../engine.ts";
import { environmentOf } from "../../environment.ts";
import { applyGpuFlags, GPU_FLAGS } from "../gpu_flags.ts";
import { deviceMemoryBytes, memorySource, ProcessPeak } from "../../observed_memory.ts";
import { wrap } from "../wrap.ts";
import { bytesText } from "../../../results/bytes.ts";
import { chooseTier } from "../../tiers.ts";

/** What a feature of the adapter is good for. */
const FEATURES: Readonly<Record<string, string>> = {
  "shader-f16": "mixed precision (fp16) at full speed",
  "subgroups": "faster reductions and matrix products",
  "timestamp-query": "kernel timings (--profile)",
};

/** `deno task doctor`: whether this machine can train, and what is missing. */
export const doctor: Command = {
  spec: {
    name: "doctor",
    what: "Adapter, driver, features, limits, free memory, versions; what is missing and how to get it.",
    flags: { gpu: GPU_FLAGS.gpu, json: { what: "one JSON document on standard output" } },
    examples: ["deno task doctor", "deno task doctor --gpu dawn", "deno task doctor --json"],
  },
  async run({ values, switches }, { engine, print }) {
    applyGpuFlags({ values });
    const diagnosis = await diagnose(engine);
    if (switches.has("json")) print(JSON.stringify(diagnosis));
    else {
      for (const [name, text] of rowsOf(diagnosis)) {
        wrap(text, 80 - 16).forEach((line, i) => print(`${(i === 0 ? name : "").padEnd(16)}${line}`));
      }
    }
    return diagnosis.ok ? EXIT.done : EXIT.failed;
  },
};

async function diagnose(engine: Engine) {
  const { total, available } = Deno.systemMemoryInfo();
  const versions = { deno: Deno.version.deno, v8: Deno.version.v8, typescript: Deno.version.typescript };
  const machine = {
    memoryBytes: total,
    cgroupLimitBytes: await cgroupLimitBytes(),
    availableBytes: available,
    cpuCount: navigator.hardwareConcurrency,
    versions,
    providers: await engine.surveyProviders(),
  };
  let adapter: AdapterDescription;
  try {
    adapter = await engine.describeAdapter();
    await engine.touchDevice();
  } catch (error) {
    return { ok: false as const, adapter: null, ...machine, problems: [(error as Error).message] };
  }
  const deviceBytes = await deviceMemoryBytes(adapter);
  const source = await memorySource(adapter);
  const tier = chooseTier({
    adapterName: adapter.name,
    software: adapter.software,
    deviceMemoryBytes: deviceBytes,
    maxBufferSize: adapter.limits.maxBufferSize ?? 0,
    memoryBytes: total,
    cgroupLimitBytes: machine.cgroupLimitBytes,
  });
  return {
    ok: true as const,
    adapter,
    ...machine,
    deviceMemoryBytes: deviceBytes,
    tier: tier.tier,
    tierReason: tier.reason,
    observedMemory: source === "process" ? ProcessPeak.how : "reason" in source ? null : source.how,
    environment: await environmentOf(adapter),
    problems: problemsOf(adapter, source),
  };
}

function problemsOf(adapter: AdapterDescription, source: Awaited<ReturnType<typeof memorySource>>): string[] {
  const problems = Object.entries(FEATURES)
    .filter(([feature]) => !adapter.features.includes(feature))
    .map(([feature, use]) => `No ${feature}: ${use} is not to be had on this adapter`);
  if (adapter.software) {
    problems.push(
      "No GPU: training runs on the CPU; for a GPU, install its Vulkan driver (Linux), or nothing more on " +
        "macOS and Windows",
    );
  }
  if (typeof source === "object" && "reason" in source) {
    problems.push(`Memory cannot be observed: ${source.reason}`);
  }
  return problems;
}

function rowsOf(diagnosis: Awaited<ReturnType<typeof diagnose>>): [string, string][] {
  const { versions, problems, memoryBytes, cgroupLimitBytes: limit, availableBytes, cpuCount, providers } =
    diagnosis;
  const memory = `${bytesText(memoryBytes)} memory${
    limit === null ? "" : `, of which the cgroup may use ${bytesText(limit)}`
  }`;
  const rows: [string, string][] = [
    ["versions", `deno ${versions.deno}, v8 ${versions.v8}, typescript ${versions.typescript}`],
    ["machine", `${cpuCount} CPU cores, ${memory}, ${bytesText(availableBytes)} free`],
  ];
  if (diagnosis.ok) {
    const { adapter, deviceMemoryBytes: bytes, tier, tierReason, observedMemory } = diagnosis;
    const limits = Object.entries(adapter.limits).map(([name, value]) =>
      `${name} ${/Size$/.test(name) && value >= 2 ** 20 ? bytesText(value) : value}`
    );
    rows.unshift(
      ["adapter", `${adapter.name}${adapter.software ? ", software" : ""}`],
      ["driver", adapter.driver ?? "unknown"],
      ["device memory", bytes === null ? "not told by the driver" : bytesText(bytes)],
      [
        "features",
        Object.keys(FEATURES).filter((name) => adapter.features.includes(name)).join(", ") || "none of use",
      ],
      ["subgroups", adapter.subgroupSize > 0 ? `${adapter.subgroupSize} lanes` : "size varies, or none"],
      ["matrix units", matrixText(adapter)],
      ["limits", limits.join(", ")],
      ["WebGPU by", adapter.providerVersion],
      ["tier", `${tier}: ${tierReason}`],
      ["memory seen by", observedMemory ?? "nothing"],
    );
  }
  rows.push(...providers.map((survey): [string, string] => [`--gpu ${survey.id}`, providerText(survey)]));
  return [...rows, ...problems.map((problem): [string, string] => ["missing", problem])];
}

/**
 * What the engine multiplies at once where the adapter has units for it and its subgroups are of one size.
 */
function matrixText({ subgroupMatrix: shape, subgroupSize }: AdapterDescription): string {
  if (!shape || subgroupSize === 0) return "none to be had";
  return `${shape.m} × ${shape.n} × ${shape.k} of f16, summed in f32`;
}

/** `Dawn of webgpu 0.6.2 on swiftshader: subgroups, timestamp-query` */
function providerText({ version, adapter, problem }: ProviderSurvey): string {
  const name = version === null ? "" : `${version}: `;
  if (adapter === null) return `${name}${problem}`;
  const offered = Object.keys(FEATURES).filter((feature) => adapter.features.includes(feature));
  const lanes = adapter.subgroupSize > 0 ? ` of ${adapter.subgroupSize} lanes` : "";
  const texts = offered.map((feature) => feature === "subgroups" ? feature + lanes : feature);
  return `${version} on ${adapter.name}: ${texts.join(", ") || "no feature of use"}`;
}
