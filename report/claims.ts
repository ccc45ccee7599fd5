/**
 * A verdict on every claim of the paper (Samonov 2024, doi:10.20295/2413-2527-2024-339-5-12), worked out from records. The only
 * figures typed in here are the paper's own, and the thresholds that its words name.
 */
import { type Analysis, type Configuration, equalTokens, heldOutLoss, ratioOf } from "./derive.ts";
import { lossDifference } from "./findings.ts";
import { formatBytes, formatInterval, formatNumber, formatRatio } from "./format.ts";
import type { Interval } from "../results/stats.ts";

export type Outcome = "reproduced" | "partly" | "not reproduced" | "not tested here";

/** What this run says of one claim. */
export interface ClaimVerdict {
  id: string;
  claim: string;
  /** The paper's figure, in its words. */
  paper: string;
  /** What makes it reproduced, in words. */
  rule: string;
  outcome: Outcome;
  /** Our figure with its interval, or why there is none. */
  ours: string;
  /** Cells it rests on. */
  cells: string[];
}

/** How a claim is judged; null from `judge` means that the run has no cells for it. */
interface Claim {
  id: string;
  claim: string;
  paper: string;
  rule: string;
  /** What would test it. */
  untested: string;
  judge(evidence: Evidence): { outcome: Outcome; ours: string; cells: Configuration[] } | null;
}

const THREEFOLD = 3;
/** The paper's slow-down of checkpointing. */
const CHECKPOINTING_SLOWDOWN = 1.2;
/** Bytes of optimizer state a parameter, as the paper has them. */
const STATE_BYTES: Readonly<Record<string, number>> = { adamw: 8, adafactor: 4, adamw8bit: 2 };

/** The configurations of a run, found by what they switch on. */
class Evidence {
  readonly analysis: Analysis;
  readonly all: readonly Configuration[];

  constructor(analysis: Analysis) {
    this.analysis = analysis;
    this.all = analysis.configurations.filter(({ ok }) => ok.length > 0);
  }

  /** The run without any method, at the batch size that the others have. */
  get baseline(): Configuration | null {
    return this.find({ methods: [] });
  }

  /** The configuration with exactly these methods; the phase with most seeds speaks. */
  find(
    { methods, optimizer = "adamw", accumulates = false }: {
      methods: readonly string[];
      optimizer?: string;
      accumulates?: boolean;
    },
  ): Configuration | null {
    const wanted = [...methods].sort().join();
    const matching = this.all.filter(({ config, phase }) =>
      phase !== "batch-size" && [...config.methods].sort().join() === wanted &&
      config.optimizer === optimizer &&
      config.gradientAccumulationSteps > 1 === accumulates
    );
    return matching.toSorted((a, b) => b.seeds.length - a.seeds.length)[0] ?? null;
  }

  loss(configuration: Configuration, baseline: Configuration) {
    const tokens = equalTokens([configuration, baseline]);
    return lossDifference(heldOutLoss(baseline, tokens), heldOutLoss(configuration, tokens));
  }

  /** Booked peak of the baseline divided by the configuration's. */
  memoryRatio(configuration: Configuration, baseline: Configuration): number | null {
    const [ours, theirs] = [configuration.memory?.bookedBytes, baseline.memory?.bookedBytes];
    return ours && theirs ? theirs / ours : null;
  }

  throughputRatio(configuration: Configuration, baseline: Configuration): Interval | null {
    return ratioOf(configuration.tokensPerSecond, baseline.tokensPerSecond);
  }
}

const percent = (share: number) => `${formatNumber(share * 100, 1)} %`;

/** Memory, throughput and loss of a configuration against the baseline, in one line. */
function comparison(evidence: Evidence, configuration: Configuration, baseline: Configuration): string {
  const memory = evidence.memoryRatio(configuration, baseline);
  const throughput = evidence.throughputRatio(configuration, baseline);
  const loss = evidence.loss(configuration, baseline);
  return [
    memory === null ? "no memory record" : `${formatRatio(memory)} less memory`,
    throughput === null ? "not timed" : `throughput × ${formatInterval(throughput, 2)}`,
    loss === null
      ? "no held-out loss"
      : `held-out loss ${loss.difference >= 0 ? "+" : ""}${formatNumber(loss.difference, 3)} (${
        { equal: "equal", worse: "worse", better: "better", unshown: "not shown to be equal" }[loss.outcome]
      })`,
  ].join(", ");
}

/** Two configurations that differ in one method alone, at the baseline. */
function oneMethod(
  evidence: Evidence,
  what: Parameters<Evidence["find"]>[0],
): { baseline: Configuration; changed: Configuration } | null {
  const baseline = evidence.baseline;
  const changed = evidence.find(what);
  return baseline && changed ? { baseline, changed } : null;
}

const CLAIMS: readonly Claim[] = [
  {
    id: "C1",
    claim:
      "Accumulation, checkpointing, mixed precision and a lean optimizer together need a third of the memory, at the " +
      "same throughput and quality",
    paper: "3.08× less memory at 1.02× the throughput; loss not looked at",
    rule:
      "Booked peak at least 3× smaller, the throughput ratio's 95 % interval reaching 1, and held-out losses equivalent " +
      "by two one-sided tests. Partly: the memory, without one of the other two or both.",
    untested: "needs the ladder of suites/paper.yaml",
    judge(evidence) {
      const baseline = evidence.baseline;
      const stacks = evidence.all.filter(({ config }) =>
        config.methods.includes("checkpoint") && config.methods.includes("fp16") &&
        config.optimizer !== "adamw" &&
        config.gradientAccumulationSteps > 1 && config.methods.every((method) =>
          ["checkpoint", "fp16", "flash"].includes(method)
        )
      );
      const measured = stacks.filter(({ seeds }) => seeds.length > 1);
      const best = (measured.length > 0 ? measured : stacks)
        .toSorted((a, b) => (a.memory?.bookedBytes ?? Infinity) - (b.memory?.bookedBytes ?? Infinity))[0];
      if (!baseline || !best) return null;
      const memory = evidence.memoryRatio(best, baseline) ?? 0;
      const fast = (evidence.throughputRatio(best, baseline)?.high ?? 0) >= 1;
      const equal = ["equal", "better"].includes(evidence.loss(best, baseline)?.outcome ?? "");
      const outcome = memory < THREEFOLD ? "not reproduced" : fast && equal ? "reproduced" : "partly";
      return {
        outcome,
        ours: `${best.label}: ${comparison(evidence, best, baseline)}`,
        cells: [baseline, best],
      };
    },
  },
  {
    id: "C2",
    claim: "Accumulation raises the effective batch beyond what memory allows, and may slow training",
    paper: "1.72× less memory, 0.87× the throughput",
    rule: "At the same effective batch, less memory and equivalent held-out loss.",
    untested: "needs a cell with accumulation beside the baseline",
    judge(evidence) {
      const pair = oneMethod(evidence, { methods: [], accumulates: true });
      if (!pair) return null;
      const saves = (evidence.memoryRatio(pair.changed, pair.baseline) ?? 0) > 1;
      const equal = evidence.loss(pair.changed, pair.baseline)?.outcome === "equal";
      const outcome = !saves ? "not reproduced" : equal ? "reproduced" : "partly";
      return {
        outcome,
        ours: comparison(evidence, pair.changed, pair.baseline),
        cells: [pair.baseline, pair.changed],
      };
    },
  },
  {
    id: "C3",
    claim: "Checkpointing saves activation memory and slows training by about 20 %",
    paper: "20 % slower",
    rule:
      "Fewer bytes of activations, and a slow-down whose 95 % interval holds 20 %. Partly: another slow-down.",
    untested: "needs a cell with checkpointing beside the baseline",
    judge(evidence) {
      const pair = oneMethod(evidence, { methods: ["checkpoint"] });
      if (!pair) return null;
      const bytes = (one: Configuration) => one.memory?.byRole.activations ?? 0;
      const time = ratioOf(pair.baseline.tokensPerSecond, pair.changed.tokensPerSecond);
      const saves = bytes(pair.changed) < bytes(pair.baseline);
      const asSlow = time !== null && time.low <= CHECKPOINTING_SLOWDOWN &&
        CHECKPOINTING_SLOWDOWN <= time.high;
      const slower = time === null ? "not timed" : `time × ${formatInterval(time, 2)}`;
      return {
        outcome: !saves ? "not reproduced" : asSlow ? "reproduced" : "partly",
        ours: `activations ${formatBytes(bytes(pair.baseline))} → ${
          formatBytes(bytes(pair.changed))
        }, ${slower}`,
        cells: [pair.baseline, pair.changed],
      };
    },
  },
  {
    id: "C4",
    claim:
      "Mixed precision is faster; with small batches it can need more memory, because weights are held one and a half times",
    paper: "2.10× the throughput, 1.07× less memory; 6 instead of 4 bytes of weights",
    rule: "Throughput interval above 1, and weights of 6 bytes where f32 has 4. Partly: one of the two.",
    untested: "needs a cell with fp16 beside the baseline",
    judge(evidence) {
      const pair = oneMethod(evidence, { methods: ["fp16"] });
      if (!pair) return null;
      const held = ({ memory }: Configuration) =>
        (memory?.byRole.weights ?? 0) + (memory?.byRole.masterWeights ?? 0);
      const heavier = held(pair.changed) / held(pair.baseline);
      const faster = (evidence.throughputRatio(pair.changed, pair.baseline)?.low ?? 0) > 1;
      const holdsMore = heavier > 1.4 && heavier <= 1.5;
      return {
        outcome: faster && holdsMore ? "reproduced" : faster || holdsMore ? "partly" : "not reproduced",
        ours: `weights × ${formatNumber(heavier, 2)}; ${comparison(evidence, pair.changed, pair.baseline)}`,
        cells: [pair.baseline, pair.changed],
      };
    },
  },
  {
    id: "C5",
    claim: "Dynamic loss scaling: on overflow the update is skipped and the scale lowered",
    paper: "described, not measured",
    rule:
      "Every skipped update halves the scale of the next step, and the run ends with a finite loss. Partly: no update " +
      "overflowed, so nothing had to be survived.",
    untested: "needs a cell with fp16",
    judge(evidence) {
      const half = evidence.all.filter(({ config }) => config.methods.includes("fp16"));
      const cells = half.flatMap(({ ok }) => ok).filter(({ samples }) => samples?.lossScale);
      if (cells.length === 0) return null;
      let skips = 0;
      let wrong = 0;
      for (const { samples } of cells) {
        const scale = samples!.lossScale!;
        for (const step of samples!.skipped ?? []) {
          skips++;
          if (step + 1 < scale.length && scale[step + 1] !== Math.max(scale[step] / 2, 1)) wrong++;
        }
      }
      return {
        outcome: wrong > 0 ? "not reproduced" : skips > 0 ? "reproduced" : "partly",
        ours: `${skips} updates skipped in ${cells.length} runs, ${skips - wrong} followed by half the scale`,
        cells: half,
      };
    },
  },
  {
    id: "C6",
    claim: "FlashAttention-2 speeds up attention, and combines with quantization",
    paper: "no figure",
    rule: "Less memory and a throughput interval above 1. Partly: less memory, without the speed.",
    untested: "needs a cell with flash beside the baseline; suites/flash.yaml has the sequence lengths",
    judge(evidence) {
      const pair = oneMethod(evidence, { methods: ["flash"] });
      if (!pair) return null;
      const saves = (evidence.memoryRatio(pair.changed, pair.baseline) ?? 0) > 1;
      const faster = (evidence.throughputRatio(pair.changed, pair.baseline)?.low ?? 0) > 1;
      return {
        outcome: saves && faster ? "reproduced" : saves || faster ? "partly" : "not reproduced",
        ours: comparison(evidence, pair.changed, pair.baseline),
        cells: [pair.baseline, pair.changed],
      };
    },
  },
  {
    id: "C7",
    claim: "Optimizer state a parameter: AdamW 8 bytes, Adafactor a little over 4, 8-bit AdamW 2",
    paper: "8, a little over 4, 2 bytes",
    rule:
      "AdamW and 8-bit AdamW within 5 % of the paper's bytes, Adafactor at most its 4.4. Partly: some of them.",
    untested: "needs cells with Adafactor and 8-bit AdamW",
    judge(evidence) {
      const found = Object.keys(STATE_BYTES).flatMap((optimizer) => {
        const one = evidence.all.find(({ config, memory, ok }) =>
          config.optimizer === optimizer && memory && ok[0].trainableParameters
        );
        return one
          ? [{ optimizer, one, bytes: one.memory!.byRole.optimizer / one.ok[0].trainableParameters! }]
          : [];
      });
      if (found.length < 2) return null;
      const agrees = ({ optimizer, bytes }: typeof found[number]) =>
        optimizer === "adafactor" ? bytes <= 4.4 : Math.abs(bytes / STATE_BYTES[optimizer] - 1) <= 0.05;
      const agreeing = found.filter(agrees).length;
      return {
        outcome: agreeing === 0 ? "not reproduced" : agreeing === 3 ? "reproduced" : "partly",
        ours: found.map(({ optimizer, bytes }) => `${optimizer} ${formatNumber(bytes, 2)}`).join(", ") +
          " bytes",
        cells: found.map(({ one }) => one),
      };
    },
  },
  untestable(
    "C8",
    "3 B parameters in f32 with an 8-bit optimizer need at least 30 GB",
    "12 + 12 + 6 GB",
    "deno task plan",
  ),
  {
    id: "C9",
    claim: "LoRA trains 0.1 to 1 % of the parameters and needs about four times less memory",
    paper: "0.1 to 1 %, about 4×",
    rule:
      "Trainable share at most 1 % and at least 3× less memory than full fine-tuning. Partly: one of the two.",
    untested: "needs a cell with LoRA beside full fine-tuning",
    judge(evidence) {
      const pair = oneMethod(evidence, { methods: ["lora"] });
      const [cell] = pair?.changed.ok ?? [];
      if (!pair || !cell?.parameters || cell.trainableParameters === null) return null;
      const share = cell.trainableParameters / cell.parameters;
      const memory = evidence.memoryRatio(pair.changed, pair.baseline) ?? 0;
      const [small, lean] = [share <= 0.01, memory >= THREEFOLD];
      return {
        outcome: small && lean ? "reproduced" : small || lean ? "partly" : "not reproduced",
        ours: `${percent(share)} trained, ${comparison(evidence, pair.changed, pair.baseline)}`,
        cells: [pair.baseline, pair.changed],
      };
    },
  },
  untestable("C10", "Llama 2 7B with LoRA over an int8 base needs 15 to 17 GB", "15–17 GB", "deno task plan"),
  {
    id: "C11",
    claim: "QLoRA, LoRA over a quantized base, fits constrained devices",
    paper: "no figure",
    rule: "Fewer bytes of weights and a smaller peak than LoRA over an f32 base.",
    untested: "needs cells with LoRA and with QLoRA",
    judge(evidence) {
      const lora = evidence.find({ methods: ["lora"] });
      const quantized = ["qlora-nf4", "qlora-int8"].map((method) => evidence.find({ methods: [method] }))
        .filter((one) => one !== null);
      if (!lora || quantized.length === 0) return null;
      const leaner = quantized.filter((one) =>
        (one.memory?.byRole.weights ?? Infinity) < (lora.memory?.byRole.weights ?? 0) &&
        (evidence.memoryRatio(one, lora) ?? 0) > 1
      );
      return {
        outcome: leaner.length === quantized.length
          ? "reproduced"
          : leaner.length > 0
          ? "partly"
          : "not reproduced",
        ours: quantized.map((one) => `${one.label}: ${comparison(evidence, one, lora)}`).join("; "),
        cells: [lora, ...quantized],
      };
    },
  },
  untestable(
    "C12",
    "Fine-tuning few parameters forgets less of the original domain",
    "no figure",
    "a chain of training stages",
  ),
  {
    id: "C13",
    claim: "The best batch size comes first: throughput and quality depend on it",
    paper: "multiples of 8, and of 64",
    rule: "The batch sizes of the sweep differ in throughput or in held-out loss beyond the noise.",
    untested: "needs a batch-size sweep",
    judge({ analysis: { sweep } }) {
      const rows = sweep?.rows.filter(({ configuration }) => configuration.ok.length > 0) ?? [];
      if (!sweep || rows.length < 2) return null;
      const speedups = rows.map(({ speedup }) => speedup).filter((one) => one !== null);
      const differs = speedups.some(({ low, high }) => low > 1 || high < 1);
      const losses = rows.map(({ heldOut }) => heldOut).filter((one) => one !== null);
      const apart = losses.some((a) => losses.some((b) => a.interval.high < b.interval.low));
      const chosen = sweep.decision ? `${sweep.decision.chosen} chosen` : "none chosen";
      const fastest = Math.max(...speedups.map(({ estimate }) => estimate));
      return {
        outcome: differs && apart ? "reproduced" : differs || apart ? "partly" : "not reproduced",
        ours: `${chosen}; fastest ${formatRatio(fastest)} the smallest batch's throughput; losses ${
          apart ? "differ" : "not shown to differ"
        }`,
        cells: rows.map(({ configuration }) => configuration),
      };
    },
  },
  {
    id: "C14",
    claim:
      "The training loop: accumulation with the loss divided by the number of steps, several devices where there are several",
    paper: "described, not measured",
    rule:
      "Held-out loss with accumulation equivalent to the large batch's, and data parallel training. Partly: one device, " +
      "and a loss not shown to be worse.",
    untested: "needs a cell with accumulation beside the baseline",
    judge(evidence) {
      const pair = oneMethod(evidence, { methods: [], accumulates: true });
      if (!pair) return null;
      const loss = evidence.loss(pair.changed, pair.baseline);
      return {
        outcome: loss?.outcome === "worse" ? "not reproduced" : "partly",
        ours: `held-out loss with accumulation ${
          loss ? `${loss.difference >= 0 ? "+" : ""}${formatNumber(loss.difference, 4)}` : "–"
        }; one device`,
        cells: [pair.baseline, pair.changed],
      };
    },
  },
  untestable(
    "C15",
    "Three stages: base model, specialization, fine-tuning",
    "described, not measured",
    "a chain of training stages",
  ),
];

/** A claim that cells of training runs cannot decide. */
function untestable(id: string, claim: string, paper: string, needs: string): Claim {
  return { id, claim, paper, rule: "None yet.", untested: `needs ${needs}`, judge: () => null };
}

/** Verdicts in the order of the claims; every claim has one. */
export function claimVerdicts(analysis: Analysis): ClaimVerdict[] {
  const evidence = new Evidence(analysis);
  return CLAIMS.map(({ id, claim, paper, rule, untested, judge }): ClaimVerdict => {
    const found = judge(evidence);
    if (!found) return { id, claim, paper, rule, outcome: "not tested here", ours: untested, cells: [] };
    const { outcome, ours, cells } = found;
    return {
      id,
      claim,
      paper,
      rule,
      outcome,
      ours,
      cells: cells.flatMap(({ ok }) => ok.map((cell) => cell.id)),
    };
  });
}
