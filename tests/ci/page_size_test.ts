// How long the page of the quick protocol is, on a screen and on paper. Needs a browser, and is skipped with
// a message where there is none.
import assert from "node:assert/strict";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { renderReport } from "../../report/page/page.ts";
import type { CellRecord } from "../../results/record.ts";
import { asLoaded } from "../host/report/support.ts";
import { type SyntheticRun, syntheticRun } from "../host/report/synthetic_run.ts";
import { Chromium, findChromium } from "./chromium.ts";

/** Half of the 31,940 px at 1280 px that the page of the quick protocol once had. */
const MOST_PIXELS = 15_970;
const MOST_PDF_BYTES = 5e6;

/** A run with the phases of the quick protocol, about as many cells of each, and all that they draw. */
function likeQuick(): SyntheticRun {
  const { run, cells } = syntheticRun({ everything: true, batches: [1, 2, 4, 8], seeds: [0, 1, 2, 3, 4] });
  const kept = cells.filter(isInQuick);
  const ids = new Set(kept.map(({ id }) => id));
  return { run: { ...run, cells: run.cells.filter(({ id }) => ids.has(id)) }, cells: kept };
}

/** The half fraction of the factorial, attention in f32, no stacks of the guide. */
function isInQuick(
  { phase, config: { methods, optimizer, gradientAccumulationSteps } }: CellRecord,
): boolean {
  if (phase === "guide") return false;
  if (phase === "attention") return methods.every((method) => method === "flash");
  if (phase !== "factorial") return true;
  const on = methods.length + Number(optimizer === "adamw8bit") + Number(gradientAccumulationSteps > 1);
  return optimizer !== "adafactor" && on % 2 === 0;
}

const browser = await findChromium().catch(({ message }: Error) => {
  console.error(`The page's size is not tested: ${message}`);
  return null;
});

Deno.test({
  name: "the page of a run like the quick one is at most half as high as it was, and its PDF under 5 MB",
  ignore: browser === null,
  fn: async () => {
    const folder = await Deno.makeTempDir({ prefix: "threefold-page-size-" });
    try {
      const run = likeQuick();
      assert.ok(run.cells.length > 177 && new Set(run.cells.map(({ phase }) => phase)).size > 14);
      const file = join(folder, "index.html");
      await Deno.writeTextFile(file, renderReport([{ loaded: asLoaded(run), rawBase: ".." }]));
      await using chromium = await Chromium.start(browser!);
      await chromium.open(pathToFileURL(file).href, { width: 1280 });
      const pixels = await chromium.evaluate<number>("document.documentElement.scrollHeight");
      const pdfBytes = (await chromium.pdf()).length;
      assert.ok(pixels <= MOST_PIXELS, `${pixels} px high, expected at most ${MOST_PIXELS}`);
      assert.ok(pdfBytes < MOST_PDF_BYTES, `${pdfBytes} bytes of PDF, expected under ${MOST_PDF_BYTES}`);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});
