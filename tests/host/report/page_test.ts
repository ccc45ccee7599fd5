import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { dirname, join, resolve } from "node:path";
import { writeReport } from "../../../report/main.ts";
import { renderReport } from "../../../report/page/page.ts";
import type { LoadedRun } from "../../../results/load.ts";
import { type SyntheticOptions, syntheticRun } from "./synthetic_run.ts";
import { asLoaded, inFolder, loaded, parsePage, SMALL, writtenRun } from "./support.ts";

function pageOf(...runs: LoadedRun[]): string {
  return renderReport(runs.map((run) => ({ loaded: run, rawBase: ".." })));
}

/** What a run can be like; the rules below hold for all of them. */
const VARIANTS: Record<string, SyntheticOptions> = {
  "a whole sweep": SMALL,
  "a sweep and a ladder": { ...SMALL, ladder: true },
  "every phase": { ...SMALL, tokens: 1024, everything: true },
  "every phase of hostile strings": {
    ...SMALL,
    tokens: 1024,
    everything: true,
    hostile: `"><img src=x onerror=alert(1)></title></svg>'\u202e\`|`,
  },
  "a sweep with every way to fail": {
    ...SMALL,
    batches: [1, 2, 4, 8, 16],
    statuses: { 2: "diverged", 4: "error", 8: "oom", 16: "not-run" },
  },
  "a sweep without observed memory": { ...SMALL, observed: false },
  "a single seed": { ...SMALL, seeds: [7] },
  "a single cell": { ...SMALL, batches: [4], seeds: [0] },
  "no cell that finished": { ...SMALL, statuses: { 1: "oom", 4: "timeout", 8: "device-lost" } },
  "an empty run": { ...SMALL, batches: [] },
  "hostile strings": {
    ...SMALL,
    ladder: true,
    hostile: `"><img src=x onerror=alert(1)></title></svg>'\u202e\`|`,
  },
};

/** Pages already drawn: four tests look at each. */
const drawn = new Map<string, string>();

function pageOfVariant(name: string): string {
  const html = drawn.get(name) ?? pageOf(loaded(VARIANTS[name]));
  drawn.set(name, html);
  return html;
}

for (const name of Object.keys(VARIANTS)) {
  Deno.test(`renderReport() of ${name} shows no missing number as a number`, () => {
    const html = pageOfVariant(name).replace(/<script>.*?<\/script>/s, "");
    for (const word of ["NaN", "undefined", "Infinity", "[object"]) {
      assert.ok(!html.includes(word), `${word}: …${html.slice(html.indexOf(word) - 80).slice(0, 120)}`);
    }
    assert.ok(!/>null</.test(html), "null as text");
  });

  Deno.test(`renderReport() of ${name} links only to what is there`, () => {
    const { all } = parsePage(pageOfVariant(name));
    const ids = all("[id]").map((node) => node.getAttribute("id")!);
    assert.equal(new Set(ids).size, ids.length, "every id stands once");
    const targets = all("[href^='#']").map((node) => node.getAttribute("href")!.slice(1));
    const labels = all("[aria-labelledby]").flatMap((node) =>
      node.getAttribute("aria-labelledby")!.split(" ")
    );
    const fills = all("[fill^='url(']").map((node) => node.getAttribute("fill")!.slice(5, -1));
    const known = new Set(ids);
    assert.deepEqual([...targets, ...labels, ...fills].filter((id) => !known.has(id)), []);
  });

  Deno.test(`renderReport() of ${name} loads nothing and runs nothing of the records`, () => {
    const { all } = parsePage(pageOfVariant(name));
    assert.equal(all("script").length, 1);
    assert.equal(all("style").length, 1);
    assert.equal(
      all("img, iframe, object, embed, link, base, form, [src], [style], foreignObject").length,
      0,
    );
    const links = all("[href]").map((node) => node.getAttribute("href")!);
    assert.deepEqual(links.filter((href) => !/^(#|\.\.\/)/.test(href)), []);
    assert.equal(all("[onerror], [onload], [onclick], [onmouseover], [onfocus]").length, 0);
  });

  Deno.test(`renderReport() of ${name} gives every chart a name, a description and its numbers`, () => {
    const { all } = parsePage(pageOfVariant(name));
    for (const svg of all("svg")) {
      assert.equal(svg.getAttribute("role"), "img");
      assert.equal(svg.getAttribute("aria-labelledby")!.split(" ").length, 2);
      assert.ok(svg.closest("figure"));
    }
    for (const figure of all("figure")) {
      assert.equal(all(`figure#${figure.getAttribute("id")} details table`).length, 1);
    }
  });
}

Deno.test("renderReport() has the structure that was reviewed", async (t) => {
  const { all } = parsePage(pageOf(loaded({ ...SMALL, statuses: { 8: "oom" } })));
  const outline = all("h1, h2, h3, h4, .verdict, .key-figures dt, figcaption p, caption, th, summary")
    .map((node) => `${node.tagName.toLowerCase()}: ${node.textContent.replace(/\s+/g, " ").trim()}`);
  await t.assertSnapshot(outline.join("\n"), { serializer: String });
});

Deno.test("renderReport() of every phase has the structure that was reviewed", async (t) => {
  const { all } = parsePage(pageOfVariant("every phase"));
  const outline = all("h2, h3, h4, .verdict, figcaption p, caption, #claims td")
    .map((node) => `${node.tagName.toLowerCase()}: ${node.textContent.replace(/\s+/g, " ").trim()}`);
  await t.assertSnapshot(outline.join("\n"), { serializer: String });
});

Deno.test("renderReport() says the same of the same records, byte for byte", async () => {
  await inFolder(async (dir) => {
    const run = await writtenRun(dir, "run", { ...SMALL, ladder: true });
    const read = async () => {
      await writeReport([run], join(run, "report"));
      return await Deno.readTextFile(join(run, "report", "index.html"));
    };
    const [first, second] = [await read(), await read()];
    assert.equal(first, second);
    assert.equal(first, pageOf(asLoaded(syntheticRun({ ...SMALL, ladder: true }))), "no trace of the folder");
  });
});

Deno.test("renderReport() allows its own style and script by hash, and nothing else", () => {
  const page = parsePage(pageOf(loaded(SMALL)));
  const policy = page.all("meta[http-equiv='Content-Security-Policy']")[0].getAttribute("content")!;
  const hash = (selector: string) =>
    createHash("sha256").update(page.all(selector)[0].textContent).digest("base64");
  assert.equal(
    policy,
    `default-src 'none'; style-src 'sha256-${hash("style")}'; script-src 'sha256-${
      hash("script")
    }'; base-uri 'none'; form-action 'none'`,
  );
});

Deno.test("renderReport() shows hostile strings as text", () => {
  const hostile = VARIANTS["hostile strings"].hostile!;
  const { text } = parsePage(pageOf(loaded(VARIANTS["hostile strings"])));
  const shown = hostile.replace("\u202e", "\ufffd");
  assert.ok(text("h2")[0].includes(`The paper's protocol${shown}`), text("h2")[0]);
  assert.ok(text("svg text title, svg desc").some((label) => label.includes(shown)));
});

Deno.test("renderReport() names cells without a record and cells that cannot be read", async () => {
  await inFolder(async (dir) => {
    const run = await writtenRun(dir, "run", SMALL);
    const { cells } = syntheticRun(SMALL);
    const file = (i: number) => join(run, "cells", `${cells[i].id}.json`);
    await Deno.writeTextFile(file(0), (await Deno.readTextFile(file(0))).slice(0, 500));
    await Deno.remove(file(1));
    await writeReport([run], join(run, "report"));
    const { text } = parsePage(await Deno.readTextFile(join(run, "report", "index.html")));
    assert.ok(text("#verdict")[0].includes("4 of 6 cells finished, 1 unreadable, 1 without a record"));
    const lines = text("#cells li");
    assert.equal(lines.length, 2);
    assert.match(lines[0], /1 cell unreadable not complete JSON \(500 characters\)/);
    assert.match(lines[1], /1 cell without a record no record/);
  });
});

Deno.test("renderReport() says when a run was interrupted", () => {
  const { run, cells } = syntheticRun(SMALL);
  const { text } = parsePage(pageOf(asLoaded({ run: { ...run, finishedAt: null }, cells })));
  assert.ok(text("#verdict .bad")[0].startsWith("The run has no end time"));
});

Deno.test("renderReport() says on top that cells are of several origins, and of which", () => {
  const { run, cells } = syntheticRun(SMALL);
  const mixture = (changed: typeof cells) =>
    parsePage(pageOf(asLoaded({ run, cells: changed }))).text("#verdict .bad").filter((text) =>
      /Mixed/.test(text)
    );
  assert.deepEqual(mixture(cells), []);
  const environment = { ...cells[0].environment, tree: "2b".repeat(20) };
  assert.deepEqual(mixture(cells.with(0, { ...cells[0], environment })), [
    `Mixed: 5 of the 6 cells that ran are of one origin, 1 of another (work tree 2b2b2b2b2b2b (74ecad0f3b1c+), not ` +
    `1a1a1a1a1a1a (74ecad0f3b1c+)).`,
  ]);
});

Deno.test("renderReport() names numerics, work tree and what computes", () => {
  const { text } = parsePage(pageOf(asLoaded(syntheticRun(SMALL))));
  const environment = text("#environment")[0];
  for (const part of ["4 threads, vectors of 256 bits", "tree 1a1a1a1a1a1a", "numerics2"]) {
    assert.ok(environment.includes(part), `${part} in ${environment}`);
  }
  const gpu = parsePage(pageOf(asLoaded(syntheticRun({ ...SMALL, adapter: "Some GPU" }))));
  assert.ok(gpu.text("#environment")[0].includes("card00000000:65:00.0"));
});

Deno.test("renderReport() judges suites of one adapter together, each cell linked to its own folder", () => {
  const whole = syntheticRun(VARIANTS["every phase"]);
  const part = (suite: string, isIn: (phase: string) => boolean): LoadedRun => {
    const phases = whole.run.phases.filter(({ name }) => isIn(name));
    const cells = whole.cells.filter(({ phase }) => isIn(phase));
    const announced = whole.run.cells.filter(({ phase }) => isIn(phase));
    return asLoaded({ run: { ...whole.run, suite, phases, cells: announced }, cells }, suite);
  };
  const isPlanned = (phase: string) => ["3b", "llama2-7b"].includes(phase);
  const runs = [
    { loaded: part("paper", (phase) => !isPlanned(phase)), rawBase: "../paper" },
    { loaded: part("planner", isPlanned), rawBase: "../planner" },
  ];
  const { text, all } = parsePage(renderReport(runs));
  assert.equal(all("article").length, 1);
  const rows = all("#claims table.claims > tbody > tr");
  // C1 is two claims, so that from C2 on a row's place is its number.
  const verdicts = new Map(rows.map(({ textContent }, i) => [`C${i}`, textContent]));
  assert.match(verdicts.get("C8")!, /by construction/, "from the second run");
  assert.match(verdicts.get("C3")!, /reproduced/, "from the first run");
  const links = all("a[href$='.json']").map((node) => node.getAttribute("href")!);
  for (const { id, phase } of whole.cells) {
    assert.ok(
      links.includes(`../${isPlanned(phase) ? "planner" : "paper"}/cells/${id}.json`),
      `${phase} ${id}`,
    );
  }
  assert.ok(text("#verdict").join().includes("Put together from 2 runs"));
});

Deno.test("renderReport() names the fault of quantized embeddings where a record has them, and only there", () => {
  /** What the page says of 8-bit AdamW, where its cells have this setting. */
  const said = (quantizeEmbeddings: boolean | undefined) => {
    const whole = syntheticRun(VARIANTS["every phase"]);
    const isIn = ({ phase }: { phase: string }) => phase === "single";
    const run = { ...whole.run, cells: whole.run.cells.filter(isIn) };
    const cells = whole.cells.filter(isIn);
    for (const { config } of cells.filter(({ config }) => config.optimizer === "adamw8bit")) {
      delete config.optimizerOptions.quantizeEmbeddings;
      if (quantizeEmbeddings !== undefined) Object.assign(config.optimizerOptions, { quantizeEmbeddings });
    }
    const { text } = parsePage(pageOf(asLoaded({ run, cells })));
    return text("li").filter((item) => item.startsWith("8-bit AdamW.")).join();
  };
  const fault =
    /1 configuration here quantized embeddings, too .* second moment of the rare one rounds to 0 .* can then jump/;
  assert.match(said(true), fault);
  assert.match(said(undefined), fault);
  assert.match(said(false), /^8-bit AdamW\. Embeddings .* keep f32 moments, as transformers' Trainer has it/);
  assert.doesNotMatch(said(false), /jump/);
  const { text } = parsePage(pageOfVariant("a whole sweep"));
  assert.ok(text("li").every((item) => !item.startsWith("8-bit AdamW.")), "no cell of it");
});

Deno.test("cells that did not run are one line a phase, with two of their reasons", () => {
  const whole = loaded({ ...SMALL, ladder: true });
  const ladder = whole.cells.filter(({ phase }) => phase === "ladder");
  ladder.forEach((cell, i) => {
    cell.status = "oom";
    cell.reason = `needs ${Math.min(i, 2)} GiB`;
  });
  const lines = parsePage(pageOf(whole)).text("#cells li");
  assert.equal(lines.length, 1);
  assert.match(
    lines[0],
    new RegExp(`^ladder: ${ladder.length} cells oom needs 0 GiB; needs 1 GiB; and 1 more`),
  );
});

Deno.test("what limits the choice of a rate stands beside the rates", () => {
  const whole = structuredClone(loaded(VARIANTS["every phase"]));
  const rate = whole.run.decisions.find(({ name }) => name === "learningRate/adamw")!;
  const subtitle = () => parsePage(pageOf(whole)).text("#rate-sweep figcaption p")[0];
  assert.doesNotMatch(subtitle(), /highest rate tried/);
  rate.warnings = [{ kind: "edge", text: "lr 0.004 is the highest rate tried" }];
  assert.match(subtitle(), /AdamW: lr 0\.004 is the highest rate tried\.$/);
});

Deno.test("renderReport() reads a phase that two suites share once", () => {
  const whole = loaded({ ...SMALL, ladder: true });
  const other: LoadedRun = { ...loaded({ ...SMALL, ladder: true }), name: "other" };
  other.run.suite = "another suite";
  const { text, all } = parsePage(pageOf(whole, other));
  assert.equal(all("article").length, 1);
  const cells = new Set(whole.cells.map(({ id }) => id));
  assert.equal(all("#configurations p.cell").length, cells.size);
  assert.ok(text("#verdict").join().includes("ladder of other"));
});

Deno.test("renderReport() shows several runs, each with all its parts, under anchors of their own", () => {
  const [first, second] = [loaded(SMALL), loaded({ ...SMALL, adapter: "NVIDIA H200", slowness: 0.05 })];
  const { text, all } = parsePage(pageOf(first, second));
  assert.equal(text("#runs")[0], "2 runs");
  assert.equal(text("ol li").length, 2);
  assert.match(text("ol li")[1], /NVIDIA H200/);
  assert.equal(all("article").length, 2);
  const ids = all("[id]").map((node) => node.getAttribute("id"));
  assert.equal(new Set(ids).size, ids.length);
});

Deno.test("writeReport() links raw records by paths that exist, wherever the page lies", async () => {
  await inFolder(async (dir) => {
    const run = await writtenRun(dir, "a run & more", SMALL);
    for (const out of [join(run, "report"), join(dir, "elsewhere", "deep")]) {
      await writeReport([run], out);
      const { all } = parsePage(await Deno.readTextFile(join(out, "index.html")));
      const links = all("a[href$='.json']").map((node) => decodeURIComponent(node.getAttribute("href")!));
      assert.ok(links.length > 6);
      for (const link of links) await Deno.stat(resolve(dirname(join(out, "index.html")), link));
    }
  });
});

Deno.test("writeReport() needs a run", async () => {
  await assert.rejects(writeReport([], "nowhere"), { name: "InputError" });
});

Deno.test("renderReport() of 120 cells stays under 2 MB", () => {
  const batches = Array.from({ length: 40 }, (_, i) => i + 1);
  const html = pageOf(loaded({ batches, tokens: 8192 }));
  assert.ok(new TextEncoder().encode(html).length < 2e6, `${html.length} characters`);
});

Deno.test("renderReport() quotes at most ten rows in the Markdown block", () => {
  const batches = Array.from({ length: 14 }, (_, i) => i + 1);
  const { text, all } = parsePage(pageOf(loaded({ ...SMALL, batches })));
  const block = all("#markdown pre")[0].textContent;
  assert.equal(block.split("\n").filter((line) => line.startsWith("| ")).length, 1 + 10);
  assert.ok(block.includes("4 more configurations in the report."));
  assert.ok(block.includes("`deno task bench --quick`"));
  assert.ok(block.includes("Deno 2.9.6"));
  assert.ok(text("#verdict .verdict")[0].length > 0);
});

Deno.test("renderReport() knows phases by what they show, not by name", () => {
  const { run, cells } = syntheticRun(VARIANTS["every phase"]);
  const names = run.phases.map(({ name }) => name);
  const renamed = (name: string) => `=${names.indexOf(name)}=`;
  const inPhase = <One extends { phase: string }>(one: One) => ({ ...one, phase: renamed(one.phase) });
  const other = asLoaded({
    run: {
      ...run,
      phases: run.phases.map((phase) => ({ ...phase, name: renamed(phase.name) })),
      cells: run.cells.map(inPhase),
    },
    cells: cells.map(inPhase),
  });
  const html = pageOf(other).replace(/=(\d+)=/g, (_, i) => names[Number(i)]);
  assert.ok(html === pageOf(asLoaded({ run, cells })), "the page changes with the names of phases");
});

Deno.test("renderReport() of phases that do not say what they show says so", () => {
  const { run, cells } = syntheticRun(VARIANTS["every phase"]);
  const silent = run.phases.map((phase) => ({ ...phase, shows: null }));
  const html = pageOf(asLoaded({ run: { ...run, phases: silent }, cells }));
  assert.match(html, /No phase of this suite says what it <code>shows<\/code>/);
  assert.doesNotMatch(html, /<section id="(ladder|factorial|attention|plans)"/);
  assert.match(html, /<section id="batch-sweep"/, "a sweep shows itself");
});
