import assert from "node:assert/strict";
import { FULL_STACKS, guideRowFor } from "../../../report/claims/guide.ts";
import { judge } from "../../../report/claims/judge.ts";
import {
  batchPanelChart,
  heldOutPanel,
  memoryPanel,
  throughputPanel,
} from "../../../report/charts/batch_panel.ts";
import { ladderChart } from "../../../report/charts/ladder.ts";
import { ladderRows } from "../../../report/rows/ladder.ts";
import { linesChart } from "../../../report/charts/lines.ts";
import { lossCurvesChart, lossPanels } from "../../../report/charts/loss_curves.ts";
import { memoryByRoleChart } from "../../../report/charts/memory_by_role.ts";
import { observedParts, roleBars, timelineOf } from "../../../report/rows/memory.ts";
import { memoryTimelineChart } from "../../../report/charts/memory_timeline.ts";
import { observedPartsChart } from "../../../report/charts/observed_parts.ts";
import { paretoChart } from "../../../report/charts/pareto.ts";
import { paretoOf } from "../../../report/rows/pareto.ts";
import { stepTimeRows, stepTimesChart } from "../../../report/charts/step_times.ts";
import { analyse } from "../../../report/rows/analysis.ts";
import { attentionSection } from "../../../report/page/sections/attention.ts";
import type { PageContext } from "../../../report/page/sections/context.ts";
import { factorialSection } from "../../../report/page/sections/factorial.ts";
import { fineTuningSection } from "../../../report/page/sections/fine_tuning.ts";
import { guideSection } from "../../../report/page/sections/guide.ts";
import { kernelsSection } from "../../../report/page/sections/kernels.ts";
import { lossScaleSection } from "../../../report/page/sections/loss_scale.ts";
import { optimizersSection } from "../../../report/page/sections/optimizers.ts";
import { perBatchSection } from "../../../report/page/sections/per_batch.ts";
import { plansSection } from "../../../report/page/sections/plans.ts";
import { loaded, SMALL, svgLines } from "./support.ts";

const sweepRun = analyse(loaded({ ...SMALL, statuses: { 8: "oom" } }));
const ladderRun = analyse(loaded({ ...SMALL, batches: [4], ladder: true }));
const size = { id: "chart", width: 300, title: "Finding", description: "What is drawn" };
const wide = { ...size, width: 900 };
const slim = { ...size, width: 340 };

/** Reviewed like code: a chart that changes shows here, line by line. */
function snapshot(name: string, draw: () => string): void {
  Deno.test(`${name} draws as reviewed`, (t) => t.assertSnapshot(draw(), { serializer: svgLines }));
}

snapshot("throughput against batch size", () => batchPanelChart(throughputPanel(sweepRun.sweep!), size));
snapshot("memory against batch size", () => batchPanelChart(memoryPanel(sweepRun.sweep!), size));
snapshot("held-out loss against batch size", () => batchPanelChart(heldOutPanel(sweepRun.sweep!), size));
snapshot("memory by role", () => memoryByRoleChart(roleBars(sweepRun.configurations), wide));
snapshot("memory by role on a narrow page", () => memoryByRoleChart(roleBars(sweepRun.configurations), slim));
snapshot("memory over the step", () => memoryTimelineChart(timelineOf(sweepRun.highlighted!)!, wide));
snapshot(
  "loss curves",
  () => lossCurvesChart(lossPanels(sweepRun.configurations, sweepRun.highlighted), 2048, slim),
);
snapshot(
  "observed memory in parts",
  () =>
    observedPartsChart(ladderRun.configurations.flatMap((one) => observedParts(one) ?? []).slice(0, 2), wide),
);
snapshot(
  "step times",
  () => stepTimesChart(stepTimeRows(sweepRun.configurations, sweepRun.highlighted), wide),
);
snapshot(
  "memory against throughput",
  () =>
    paretoChart(
      paretoOf(ladderRun.configurations, { baseline: ladderRun.baseline, stacks: FULL_STACKS }),
      wide,
    ),
);
snapshot("ladder", () => ladderChart(ladderRows(ladderRun.configurations, guideRowFor), wide));
snapshot(
  "ladder on a narrow page",
  () => ladderChart(ladderRows(ladderRun.configurations, guideRowFor), slim),
);

Deno.test("runs of a few hundred thousand steps are drawn", () => {
  const [row] = stepTimeRows(sweepRun.configurations, null);
  const values = Array.from({ length: 200_000 }, (_, i) => 1 + (i % 100) / 100);
  const long = stepTimesChart([{ ...row, byCell: [{ id: "long", values }] }], wide);
  assert.ok(long.includes("<svg") && !long.includes("NaN"));
  const points = values.map((y, x) => ({ x, y, hint: "" }));
  const axis = { label: "step", scale: "linear", format: String } as const;
  const lines = linesChart(
    [{ name: "steps", isDense: true, x: axis, y: axis, series: [{ label: "a", style: 0, points }] }],
    {
      ...wide,
    },
  );
  assert.ok(lines.includes("<svg") && !lines.includes("NaN"));
});

/** Every phase, with the fewest steps and seeds that draw anything. */
const whole = analyse(loaded({ ...SMALL, batches: [4], tokens: 1024, everything: true }));

/** All charts of a section in the order of the page, as the section draws them at the given width. */
function sectionCharts(draw: Section, kind: "wide" | "slim"): string {
  const context = { prefix: "", folderOf: () => "..", drawn: new Set<string>(), judgement: judge(whole) };
  const html = draw(whole, context)?.text ?? "";
  const charts = [...html.matchAll(/<div class="(wide|slim)">(<svg .*?<\/svg>)<\/div>/gs)];
  return charts.filter(([, width]) => width === kind).map(([, , svg]) => svg).join("\n");
}

type Section = (analysis: typeof whole, context: PageContext) => { text: string } | null;

const SECTIONS: Record<string, Section> = {
  "the factorial": factorialSection,
  "checkpointing and mixed precision by batch size": perBatchSection,
  "attention by sequence length": attentionSection,
  "optimizers: state, rates and convergence": optimizersSection,
  "fine-tuning and forgetting": fineTuningSection,
  "the loss scale": lossScaleSection,
  "the guide's table": guideSection,
  "planned models": plansSection,
  "kernels under the roof": kernelsSection,
};

for (const [name, draw] of Object.entries(SECTIONS)) {
  snapshot(name, () => sectionCharts(draw, "wide"));
  snapshot(`${name}, on a narrow page`, () => sectionCharts(draw, "slim"));
}
