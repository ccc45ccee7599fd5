// Looks at a report in headless Chromium, as a reader would see it, and prints
// one line for each thing it finds wrong.
// Usage: deno run -A tests/ci/check_report.ts PAGE.html [--screenshot FILE.png]
// Exit code: 0 all well, 1 something is wrong, 2 wrong usage or no browser.
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { Chromium, findChromium } from "./chromium.ts";

/** A chart as the browser lays it out, with everything that folds opened. */
interface ChartBox {
  /** What a screen reader says. */
  name: string;
  width: number;
  height: number;
  /** Drawn shapes and texts in it. */
  marks: number;
}

interface Layout {
  /** Charts that show at this width; a figure may hold a drawing for wide pages and one for narrow ones. */
  charts: ChartBox[];
  /** Texts of charts that lie on each other, or reach beyond their chart. */
  labels: string[];
  /** Figures none of whose charts shows. */
  hiddenFigures: string[];
  headings: number;
  tables: number;
  scrollWidth: number;
  /** Links within the page that lead nowhere. */
  brokenAnchors: string[];
  /** Lines where a number could not be written. */
  holes: string[];
}

/** Runs in the page, so it uses nothing from here. */
const LAYOUT = String.raw`(() => {
  const scrollWidth = document.documentElement.scrollWidth;
  for (const details of document.querySelectorAll("details")) details.open = true;
  const CHART = 'svg[role="img"]';
  const shows = (svg) => getComputedStyle(svg).visibility === "visible" && svg.getClientRects().length > 0;
  const nameOf = (svg) => {
    const ids = svg.getAttribute("aria-labelledby")?.split(" ") ?? [];
    const titles = [...ids.map((id) => document.getElementById(id)), svg.querySelector("title")];
    return (svg.getAttribute("aria-label") ?? titles.find((title) => title)?.textContent ?? "").trim();
  };
  const boxOf = (svg) => {
    const { width, height } = svg.getBoundingClientRect();
    const marks = svg.querySelectorAll("path, rect, circle, line, polygon, text, use").length;
    return { name: nameOf(svg), width, height, marks };
  };
  // Glyphs end inside their boxes, and a tick at the very edge may use the page's own margin.
  const [TOUCH, MARGIN] = [{ x: 1, y: 4 }, 16];
  const labelsOf = (svg) => {
    const frame = svg.getBoundingClientRect();
    const texts = [...svg.querySelectorAll("text")].map((text) => (
      { name: text.firstChild?.textContent ?? "", box: text.getBoundingClientRect() }
    ));
    const cut = texts.filter(({ box }) => box.left < frame.left - MARGIN || box.right > frame.right + MARGIN)
      .map(({ name }) => "label \"" + name + "\" of chart \"" + nameOf(svg) + "\" reaches beyond it");
    const over = texts.flatMap((a, i) =>
      texts.slice(i + 1).filter((b) =>
        Math.min(a.box.right, b.box.right) - Math.max(a.box.left, b.box.left) > TOUCH.x &&
        Math.min(a.box.bottom, b.box.bottom) - Math.max(a.box.top, b.box.top) > TOUCH.y
      ).map((b) => "labels \"" + a.name + "\" and \"" + b.name + "\" of chart \"" + nameOf(svg) + "\" overlap")
    );
    return [...cut, ...over];
  };
  const all = (selector) => [...document.querySelectorAll(selector)];
  const figures = all("figure").filter((figure) => figure.querySelector(CHART));
  const leadsNowhere = (href) => href !== "#" && !document.getElementById(decodeURIComponent(href.slice(1)));
  return {
    charts: all(CHART).filter(shows).map(boxOf),
    labels: all(CHART).filter(shows).flatMap(labelsOf),
    hiddenFigures: figures.filter((figure) => ![...figure.querySelectorAll(CHART)].some(shows)).map(({ id }) => id),
    headings: all("h1, h2, h3").length,
    tables: all("table").length,
    scrollWidth,
    brokenAnchors: [...new Set(all('a[href^="#"]').map((a) => a.getAttribute("href")))].filter(leadsNowhere),
    holes: document.body.innerText.split("\n").filter((line) => /\b(NaN|undefined|Infinity)\b|\[object /.test(line)),
  };
})()`;

/** Widths to look at: a phone, and a desk. */
const WIDTHS = [360, 1280];

/** Everything wrong with the page at one width; empty where all is well. */
export async function problemsAt(browser: Chromium, url: string, width: number): Promise<string[]> {
  const log = await browser.open(url, { width });
  const layout = await browser.evaluate<Layout>(LAYOUT);
  const problems = [...log.problems];
  for (const request of log.requests) {
    if (request !== url && !request.startsWith("data:")) {
      problems.push(`a request leaves the page: ${request}`);
    }
  }
  if (layout.charts.length === 0) problems.push("no chart");
  problems.push(...layout.labels);
  for (const id of layout.hiddenFigures) problems.push(`figure ${id} shows no chart`);
  for (const { name, width, height, marks } of layout.charts) {
    const chart = `chart "${name}"`;
    if (name === "") problems.push("a chart has no name for screen readers");
    if (!(width >= 100 && height >= 50)) problems.push(`${chart} is ${width} × ${height} px`);
    if (marks < 5) problems.push(`${chart} has ${marks} marks`);
  }
  if (layout.headings < 3) problems.push(`only ${layout.headings} headings`);
  if (layout.tables === 0) problems.push("no table");
  if (layout.scrollWidth > width) {
    problems.push(`the page is ${layout.scrollWidth} px wide and scrolls sideways`);
  }
  for (const anchor of layout.brokenAnchors) problems.push(`link ${anchor} leads nowhere`);
  for (const hole of layout.holes) problems.push(`a number is missing: ${hole.trim().slice(0, 120)}`);
  return problems;
}

/** Checks a page, and takes its picture where asked to. @returns The exit code. */
async function checkReport(page: string, screenshot?: string): Promise<number> {
  const url = pathToFileURL(resolve(page)).href;
  await using browser = await Chromium.start(await findChromium());
  let wrong = 0;
  for (const width of WIDTHS) {
    const problems = await problemsAt(browser, url, width);
    wrong += problems.length;
    for (const problem of problems) console.error(`${width} px: ${problem}`);
    if (problems.length === 0) console.log(`${page} at ${width} px: nothing wrong`);
  }
  if (screenshot !== undefined) {
    const width = 1100;
    await browser.open(url, { width });
    await Deno.writeFile(screenshot, await browser.screenshot({ width, height: 1150 }));
  }
  return wrong === 0 ? 0 : 1;
}

if (import.meta.main) {
  try {
    const { values, positionals } = parseArgs({
      args: Deno.args,
      options: { screenshot: { type: "string" } },
      allowPositionals: true,
    });
    if (positionals.length !== 1) {
      throw new Error("Expected one page: check_report.ts PAGE.html [--screenshot FILE.png]");
    }
    Deno.exit(await checkReport(positionals[0], values.screenshot));
  } catch (error) {
    console.error((error as Error).message);
    Deno.exit(2);
  }
}
