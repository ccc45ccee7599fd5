// Holds the layering of docs/architecture.md by reading every import, and keeps
// this or that machine out of the tree.
import assert from "node:assert/strict";
import { dirname, join, posix, relative, sep } from "node:path";
import { parse } from "yaml";
import { withoutComments } from "../support/typescript_source.ts";

const PROJECT = join(import.meta.dirname!, "..", "..");

/** What the engine needs of the program that it runs in. */
const HOST = "engine/host.ts";

/**
 * The folders a training step passes through. A file imports from its own layer and from
 * those before it. `formats` comes before `model`, as models read their configuration
 * from files, and `kernels` after the graph that declares what an op is. What runs the
 * engine and the number of the numerics are all the step's and import nothing.
 */
const STEP = [
  HOST,
  "engine/numerics.ts",
  "engine/graph",
  "kernels",
  "engine/formats",
  "engine/model",
  "engine/passes",
  "engine/plan",
  "engine/runtime",
  "engine/train",
  "mod.ts",
];

/** Layers beside the step, with all that they import of the project. */
const BESIDE: Readonly<Record<string, readonly string[]>> = {
  results: ["results"],
  report: ["report", "results"],
  // Before the layer whose folder it lies in: the command line knows the suites, and they nothing of it.
  "suites/cli": ["suites/cli", "suites", "results", "mod.ts"],
  suites: ["suites", "results", "mod.ts"],
};

/** Rooms of the report, with all that they import of it; the entry beside them imports what it likes. */
const REPORT: Readonly<Record<string, readonly string[]>> = {
  "report/words": ["report/words"],
  "report/rows": ["report/rows", "report/words"],
  "report/claims": ["report/claims", "report/rows", "report/words"],
  "report/charts": ["report/charts", "report/rows", "report/words"],
  "report/page": ["report/page", "report/charts", "report/claims", "report/rows", "report/words"],
};

/**
 * The judge is asked once a page, and once for the answer without one; what is drawn is handed what it found.
 */
const JUDGE = {
  path: "report/claims/judge.ts",
  askedBy: ["report/page/page.ts", "report/answer.ts"],
};

/** Imported by all: the error that a person's input is wrong. It imports nothing. */
const COMMON = "engine/input_error.ts";

/** Data about the project, read for its version. */
const MANIFEST = "deno.json";

/** Single imports that go against the order, each with its reason. */
const EXCEPTIONS: Readonly<Record<string, string>> = {
  "suites/cli/main.ts -> report/main.ts":
    "the command line is one program; records stay the only thing that both know",
};

/** What the layering speaks of: all but tests. */
const LAYERED = /^(engine|kernels|report|results|suites)\/|^mod\.ts$/;

/** The layer of a file, or null for tests. */
function layerOf(path: string): string | null {
  if (!LAYERED.test(path)) return null;
  const layers = [...STEP, ...Object.keys(BESIDE)];
  const layer = layers.find((layer) => path === layer || path.startsWith(`${layer}/`));
  assert.ok(layer || path === COMMON, `${path} lies in no layer: add its folder to STEP or BESIDE`);
  return layer ?? COMMON;
}

/** What an import from `from` to `to` breaks, or null. Both are paths in the project. */
function brokenRule(from: string, to: string): string | null {
  if (to === MANIFEST) return null;
  const [layer, target] = [layerOf(from), layerOf(to)];
  if (layer === null || to === COMMON && from !== COMMON || `${from} -> ${to}` in EXCEPTIONS) return null;
  if (target === null) return `${from} imports ${to}: only tests import tests`;
  const allowed = BESIDE[layer] ?? STEP.slice(0, STEP.indexOf(layer) + 1);
  if (!allowed.includes(target)) {
    return `${from} imports ${to}: ${layer} may import ${allowed.join(", ") || "nothing"}`;
  }
  return layer === "report" && target === "report" ? brokenRoomRule(from, to) : null;
}

/** The same among the rooms of the report. */
function brokenRoomRule(from: string, to: string): string | null {
  if (dirname(from) === "report") return null;
  const roomOf = (path: string) => Object.keys(REPORT).find((room) => path.startsWith(`${room}/`));
  const [room, target] = [roomOf(from), roomOf(to)];
  assert.ok(room, `${from} lies in no room of the report: add its folder to REPORT`);
  const allowed = REPORT[room];
  return target !== undefined && allowed.includes(target)
    ? null
    : `${from} imports ${to}: ${room} may import ${allowed.join(", ")} of the report`;
}

/** Specifiers of static, dynamic and type imports. */
function importsOf(source: string): string[] {
  const code = withoutComments(source);
  const found = [
    ...code.matchAll(/^\s*(?:import|export)\b[^"'`;]*?\bfrom\s*["']([^"']+)["']/gm),
    ...code.matchAll(/^\s*import\s*["']([^"']+)["']/gm),
    ...code.matchAll(/\bimport\(\s*["']([^"']+)["']/g),
  ];
  return found.map((match) => match[1]);
}

async function* sourceFiles(folder = PROJECT): AsyncGenerator<string> {
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    if (name.startsWith(".") || name === "node_modules" || name === "bench" && folder === PROJECT) continue;
    const path = join(folder, name);
    if (isDirectory) yield* sourceFiles(path);
    else if (name.endsWith(".ts")) yield relative(PROJECT, path).split(sep).join("/");
  }
}

async function readSources(): Promise<Map<string, string>> {
  const sources = new Map<string, string>();
  for await (const path of sourceFiles()) sources.set(path, await Deno.readTextFile(join(PROJECT, path)));
  return sources;
}

const sources = await readSources();

Deno.test("imports point up the list of layers, never down", () => {
  const broken: string[] = [];
  let seen = 0;
  for (const [path, source] of sources) {
    for (const specifier of importsOf(source)) {
      if (!specifier.startsWith(".")) continue;
      seen++;
      const target = posix.normalize(posix.join(dirname(path), specifier));
      const problem = brokenRule(path, target);
      if (problem) broken.push(problem);
    }
  }
  assert.ok(seen > 300, `only ${seen} imports found: the pattern no longer finds them`);
  assert.deepEqual(broken, []);
});

Deno.test("the judge is asked by the page and the answer alone, never to draw a chart", () => {
  const asking = [...sources].filter(([path, source]) =>
    path.startsWith("report/") && !JUDGE.askedBy.includes(path) &&
    /import \{[^}]*\bjudge\b[^}]*\} from "[^"]*\/judge\.ts"/.test(withoutComments(source))
  );
  assert.deepEqual(asking.map(([path]) => path), []);
  for (const path of JUDGE.askedBy) assert.match(sources.get(path)!, /\bjudge\(/);
  assert.ok(sources.has(JUDGE.path));
});

Deno.test("the report knows no phase of a suite by its name", async () => {
  const names = new Set<string>();
  for await (const { name } of Deno.readDir(join(PROJECT, "suites"))) {
    if (!name.endsWith(".yaml")) continue;
    const suite = parse(await Deno.readTextFile(join(PROJECT, "suites", name)), { merge: true });
    for (const phase of suite.phases) names.add(phase.name);
  }
  assert.ok(names.has("ladder") && names.size > 15, `${names.size} phases found`);
  const quoted = new RegExp(`\\bphase\\b.*["'\`](?:${[...names].join("|")})["'\`]`);
  const broken = [...sources].filter(([path]) => path.startsWith("report/")).flatMap(([path, source]) =>
    withoutComments(source).split("\n").filter((line) => quoted.test(line)).map((line) => `${path}: ${line}`)
  );
  assert.deepEqual(broken, []);
});

/**
 * Files in circles of imports, or between two: what is left when none without
 * importers or imports among the rest is.
 */
function inCircles(imports: ReadonlyMap<string, readonly string[]>): string[] {
  const left = new Map(imports);
  for (let before = -1; before !== left.size;) {
    before = left.size;
    const imported = new Set([...left.values()].flat());
    for (const [path, targets] of [...left]) {
      if (!imported.has(path) || !targets.some((target) => left.has(target))) left.delete(path);
    }
  }
  return [...left.keys()];
}

Deno.test("no file imports itself by way of others, types included", () => {
  const imports = new Map<string, string[]>();
  for (const [path, source] of sources) {
    if (!LAYERED.test(path)) continue;
    const targets = importsOf(source).filter((specifier) => specifier.startsWith("."));
    imports.set(path, targets.map((target) => posix.normalize(posix.join(dirname(path), target))));
  }
  assert.ok(imports.size > 300, `only ${imports.size} files found`);
  assert.deepEqual(inCircles(imports), []);
});

Deno.test("inCircles() finds circles of one, two and three files, and none in a tree", () => {
  const circles: [Record<string, string[]>, string[]][] = [
    [{ a: ["a"], b: ["a"] }, ["a"]],
    [{ a: ["b"], b: ["a"], c: ["d"], d: [] }, ["a", "b"]],
    [{ a: ["b"], b: ["c"], c: ["a", "d"], d: [] }, ["a", "b", "c"]],
    [{ a: ["b", "c"], b: ["c"], c: ["elsewhere"] }, []],
  ];
  for (const [imports, found] of circles) {
    assert.deepEqual(inCircles(new Map(Object.entries(imports))), found);
  }
});

Deno.test("the layering rules refuse what they should", () => {
  const refused: [string, string][] = [
    ["engine/graph/types.ts", "kernels/linear.ts"],
    ["kernels/linear.ts", "engine/plan/plan.ts"],
    ["engine/plan/plan.ts", "engine/runtime/device.ts"],
    ["engine/passes/lora.ts", "engine/train/options.ts"],
    ["report/page/page.ts", "mod.ts"],
    ["report/page/page.ts", "suites/matrix.ts"],
    ["results/record.ts", "engine/graph/types.ts"],
    ["suites/runner.ts", "engine/train/train.ts"],
    ["suites/runner.ts", "report/main.ts"],
    ["suites/runner.ts", "suites/cli/progress.ts"],
    ["mod.ts", "suites/cli/main.ts"],
    ["report/rows/budgets.ts", "report/claims/judge.ts"],
    ["report/rows/budgets.ts", "report/page/html.ts"],
    ["report/charts/ladder.ts", "report/claims/guide.ts"],
    ["report/charts/ladder.ts", "report/page/sections/trade_off.ts"],
    ["report/claims/words.ts", "report/charts/palette.ts"],
    ["report/claims/words.ts", "report/page/findings.ts"],
    ["report/words/format.ts", "report/rows/sweep.ts"],
    ["engine/input_error.ts", "engine/graph/types.ts"],
    ["engine/train/train.ts", "tests/support/numerics.ts"],
  ];
  for (const [from, to] of refused) assert.ok(brokenRule(from, to), `${from} -> ${to} is not refused`);
  assert.throws(() => layerOf("engine/somewhere/new.ts"), /lies in no layer/);
});

/** The wing of Mesa's software adapter, and the one file that chooses it. */
const WING = "kernels/lavapipe/";
const CHOOSER = "kernels/kernel_sets.ts";

Deno.test("one file imports the software adapter's kernels, and no kernel asks what it runs on", () => {
  const importers = new Set<string>();
  const asking: string[] = [];
  for (const [path, source] of sources) {
    if (!LAYERED.test(path) || path.startsWith(WING)) continue;
    for (const specifier of importsOf(source)) {
      if (posix.normalize(posix.join(dirname(path), specifier)).startsWith(WING)) importers.add(path);
    }
    const code = withoutComments(source);
    if (path.startsWith("kernels/") && path !== CHOOSER && /\bkind\s*[!=]==|\.kind\b/.test(code)) {
      asking.push(path);
    }
  }
  assert.deepEqual([...importers], [CHOOSER]);
  assert.deepEqual(asking, []);
});

/** Files outside its two folders that name the software adapter, each for a reason. */
const NAMES_THE_SOFTWARE_ADAPTER: Readonly<Record<string, string>> = {
  "engine/runtime/device.ts": "describes an adapter",
  "engine/runtime/planned_kernels.ts": "knows what kinds there are to plan for",
  [CHOOSER]: "chooses the set of kernels",
};

Deno.test("nothing in kernels or engine names Mesa's software adapter but its folders and three files", async () => {
  const folders = ["kernels", "engine"].map((folder) => join(PROJECT, folder));
  const naming: string[] = [];
  for (const folder of folders) {
    for await (const path of filesBelow(folder)) {
      const name = relative(PROJECT, path).split(sep).join("/");
      if (name.startsWith(WING) || name.startsWith("engine/runtime/lavapipe/")) continue;
      if (/lavapipe|llvmpipe|texel/i.test(await Deno.readTextFile(path))) naming.push(name);
    }
  }
  assert.deepEqual(naming.sort(), Object.keys(NAMES_THE_SOFTWARE_ADAPTER).sort());
});

async function* filesBelow(folder: string): AsyncGenerator<string> {
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    const path = join(folder, name);
    if (isDirectory) yield* filesBelow(path);
    else yield path;
  }
}

Deno.test("importsOf() sees static, bare, dynamic and type imports, and none in comments", () => {
  const source = [
    `import { a } from "./a.ts";`,
    `import type {`,
    `  B,`,
    `} from "./b.ts";`,
    `export * from "./c.ts";`,
    `import "./d.ts";`,
    `const e = await import("./e.ts"); // import("./no.ts")`,
    `type F = import("./f.ts").F;`,
    `/** import { g } from "./no.ts"; */`,
    `// import { h } from "./no.ts";`,
  ].join("\n");
  assert.deepEqual(importsOf(source).sort(), ["./a.ts", "./b.ts", "./c.ts", "./d.ts", "./e.ts", "./f.ts"]);
});

/**
 * Programs with packages of their own, pinned in a deno.json and a lock file
 * beside them: no dependencies of the product.
 */
const SEPARATE = "tests/bench/peers/packages";

Deno.test("packages come from npm by the names in deno.json, or from Node", async () => {
  const read = async (folder: string): Promise<string[]> => {
    const { imports } = JSON.parse(await Deno.readTextFile(join(PROJECT, folder, "deno.json")));
    for (const [name, target] of Object.entries<string>(imports)) {
      assert.match(target, /^npm:.+@\d+\.\d+\.\d+$/, `${name} is not pinned to a version on npm`);
    }
    return Object.keys(imports);
  };
  const [imports, separate] = [await read("."), await read(SEPARATE)];
  const broken: string[] = [];
  for (const [path, source] of sources) {
    for (const specifier of importsOf(source)) {
      if (specifier.startsWith(".") || specifier.startsWith("node:")) continue;
      const known = (path.startsWith(`${SEPARATE}/`) ? separate : imports).some((name) =>
        specifier === name || specifier.startsWith(`${name}/`)
      );
      if (!known) broken.push(`${path} imports ${specifier}`);
    }
  }
  assert.deepEqual(broken, []);
});

Deno.test("programs with packages of their own name those of all files that they reach", async () => {
  const { imports } = JSON.parse(await Deno.readTextFile(join(PROJECT, SEPARATE, "deno.json")));
  const reached = new Set([...sources.keys()].filter((path) => path.startsWith(`${SEPARATE}/`)));
  const missing: string[] = [];
  for (const path of reached) {
    // Types are checked from the project's own map, and gone when the program runs.
    const code = (sources.get(path) ?? "").replace(/^import type [^;]*;/gm, "");
    for (const specifier of importsOf(code)) {
      if (specifier.startsWith(".")) reached.add(posix.normalize(posix.join(dirname(path), specifier)));
      else if (!specifier.startsWith("node:")) {
        const known = Object.keys(imports).some((name) =>
          specifier === name || specifier.startsWith(`${name}/`)
        );
        if (!known) missing.push(`${path} imports ${specifier}`);
      }
    }
  }
  assert.ok(reached.size > 10, `only ${reached.size} files reached`);
  assert.deepEqual(missing, []);
});

Deno.test("no import has a computed name: the layering could not be read from it", () => {
  const broken = [...sources].filter(([path, source]) =>
    LAYERED.test(path) && /\bimport\(\s*[^"'\s]/.test(withoutComments(source))
  );
  assert.deepEqual(broken.map(([path]) => path), []);
});

Deno.test("only engine/host.ts knows what runs the engine, so that a page can", () => {
  const found = [...sources].filter(([path, source]) =>
    /^(engine|kernels)\/|^mod\.ts$/.test(path) &&
    /\bDeno\b|\bprocess\b|\brequire\(|["']node:/.test(withoutComments(source))
  );
  assert.deepEqual(found.map(([path]) => path), [HOST]);
});

Deno.test("only engine/runtime touches the GPU", () => {
  const broken: string[] = [];
  for (const [path, source] of sources) {
    if (!LAYERED.test(path) || path.startsWith("engine/runtime/")) continue;
    // Names of errors pass: a driver's error is told from another by its name.
    const [found] = withoutComments(source).match(/\bnavigator\.gpu\b|\bGPU[A-Z]\w+(?<!Error)\b/) ?? [];
    if (found) broken.push(`${path} uses ${found}`);
  }
  assert.deepEqual(broken, []);
});

/**
 * Words that belong to one machine or one network. Letters in brackets keep the
 * patterns from finding themselves.
 */
const PLACES = [
  /(?<![\w.$}"-])\/(?:wor[k]|roo[t]|far[m])\//,
  /(?<![\w.$}-])\/(?:hom[e]|User[s])\/\w+\//,
  /\/tmp\/bas[h]_/,
  /\bregistr[y]\.[a-z]+\.(?:org|com)\b/,
  /\b(?:py[p]i|pythonhoste[d]|crate[s])\.(?:org|io)\b/,
  /\b[a-z]+\.debia[n]\.org\b/,
];

Deno.test("no tracked file names a folder of some machine or the host of a registry", async () => {
  const git = new Deno.Command("git", { args: ["ls-files", "-z"], cwd: PROJECT });
  const { success, stdout } = await git.output();
  assert.ok(success, "git ls-files failed: this test needs a git checkout");
  const broken: string[] = [];
  for (const path of new TextDecoder().decode(stdout).split("\0").filter(Boolean)) {
    const text = await readIfText(join(PROJECT, path));
    text?.split("\n").forEach((line, i) => {
      const [found] = PLACES.map((place) => line.match(place)?.[0]).filter(Boolean);
      if (found) broken.push(`${path}:${i + 1}: ${found}`);
    });
  }
  assert.deepEqual(broken, []);
});

/** The text of a file; null for binary files and for files deleted but not yet committed. */
async function readIfText(path: string): Promise<string | null> {
  try {
    const bytes = await Deno.readFile(path);
    return bytes.subarray(0, 8192).includes(0) ? null : new TextDecoder().decode(bytes);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}

Deno.test("PLACES finds what it should and lets the rest pass", () => {
  const finds = (line: string) => PLACES.some((place) => place.test(line));
  for (
    const parts of [["cd /wor", "k/main"], ["/roo", "t/.cache"], ["/hom", "e/ada/x"], [
      "https://registr",
      "y.npmjs.org/d3",
    ]]
  ) {
    assert.ok(finds(parts.join("")), parts.join(""));
  }
  for (
    const line of [
      "$root/.deno",
      ["src", "work", "done.ts"].join("/"),
      "~/.deno/bin",
      "https://arxiv.org/abs/2001.03288",
    ]
  ) {
    assert.ok(!finds(line), line);
  }
});
