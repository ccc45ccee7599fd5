// Checks the checkers: each finds what it is there to find. Needs a browser.
import assert from "node:assert/strict";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { problemsAt } from "./check_report.ts";
import { Chromium, findChromium } from "./chromium.ts";
import { countTests, testRuns, untrackedFiles } from "./run_tests.ts";

const CHART = `<figure id="f"><svg role="img" aria-label="Peak memory" width="300" height="200">${
  "<circle cx='9' cy='9' r='2'/>".repeat(5)
}</svg></figure>`;
const PAGE = `<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><title>t</title>
<h1 id="top">a</h1><h2>b</h2><h3>c</h3><a href="#top">up</a><table><tr><td>1</td></tr></table>${CHART}`;

/** A page, and what must be found wrong with it. */
const PAGES: readonly [string, string, RegExp | null][] = [
  ["a page as it should be", PAGE, null],
  ["a page without charts", PAGE.replace(CHART, ""), /^no chart$/],
  [
    "a chart that is not laid out",
    PAGE.replace("<svg", "<svg style='display:none'"),
    /^figure f shows no chart$/,
  ],
  [
    "a chart without height",
    PAGE.replace(`height="200"`, `height="0"`),
    /^chart "Peak memory" is 300 × 0 px$/,
  ],
  ["an empty chart", PAGE.replace(/<circle.*?\/>/g, ""), /^chart "Peak memory" has 0 marks$/],
  ["a chart without a name", PAGE.replace(`aria-label="Peak memory"`, ""), /^a chart has no name/],
  ["an exception", `${PAGE}<script>throw new Error("broken")</script>`, /^exception: Error: broken/],
  ["a console error", `${PAGE}<script>console.error("odd")</script>`, /^console error: odd$/],
  ["a request", `${PAGE}<img src="other.png" alt="">`, /^a request leaves the page: file:.*other\.png$/],
  [
    "a request that the policy stops",
    PAGE.replace(
      "<title>",
      `<meta http-equiv="Content-Security-Policy" content="default-src 'none'"><link rel="stylesheet" href="x.css"><title>`,
    ),
    /Content Security Policy/,
  ],
  ["a page wider than the screen", `${PAGE}<div style="width:3000px">wide</div>`, /scrolls sideways$/],
  [
    "labels that touch no other, one at the very edge",
    PAGE.replace("</svg>", "<text x='-8' y='50'>12 MiB</text><text x='9' y='80'>fp16</text></svg>"),
    null,
  ],
  [
    "labels that overlap",
    PAGE.replace("</svg>", "<text x='9' y='50'>baseline</text><text x='30' y='54'>fp16</text></svg>"),
    /^labels "baseline" and "fp16" of chart "Peak memory" overlap$/,
  ],
  [
    "a label that reaches beyond its chart",
    PAGE.replace("</svg>", "<text x='-30' y='50'>baseline</text></svg>"),
    /^label "baseline" of chart "Peak memory" reaches beyond it$/,
  ],
  ["a link that leads nowhere", `${PAGE}<a href="#gone">x</a>`, /^link #gone leads nowhere$/],
  ["a number that is none", `${PAGE}<p>peak NaN MiB</p>`, /^a number is missing: peak NaN MiB$/],
];

Deno.test("check_report.ts finds what is wrong with a page, and nothing wrong with a good one", async (t) => {
  const folder = await Deno.makeTempDir({ prefix: "threefold-pages-" });
  try {
    await using browser = await Chromium.start(await findChromium());
    for (const [name, html, expected] of PAGES) {
      await t.step(name, async () => {
        const file = join(folder, "page.html");
        await Deno.writeTextFile(file, html);
        const problems = await problemsAt(browser, pathToFileURL(file).href, 1280);
        if (expected === null) assert.deepEqual(problems, []);
        else {assert.ok(
            problems.some((problem) => expected.test(problem)),
            `found only: ${problems.join("; ")}`,
          );}
      });
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("countTests() sums suites: failures and skips are not passes", () => {
  const junit = `<testsuites name="deno test" tests="8" failures="1" errors="1" time="0.1">
    <testsuite name="./a_test.ts" tests="5" disabled="2" errors="0" failures="1">
        <testcase name="a" time="0.1"></testcase>
    </testsuite>
    <testsuite name="./b_test.ts" tests="3" disabled="0" errors="1" failures="0"></testsuite>
</testsuites>`;
  assert.deepEqual(countTests(junit), { passed: 4, failed: 2, skipped: 2 });
});

Deno.test("testRuns() gives files that must be alone a process each, and runs nothing twice", () => {
  const alone = ["tests/device/a_test.ts", "tests/device/b_test.ts"];
  const files = ["tests/device/a_test.ts", "tests/device/b_test.ts", "tests/device/c_test.ts"];
  const inFolder = (folder: string) => files.filter((file) => file.startsWith(`${folder}/`));
  const runs = (...args: string[]) => testRuns(args, alone, inFolder);
  assert.deepEqual(runs("--parallel", "tests/host", "./tests/device/", "--", "tests/x"), [
    ["tests/host", files[2], "--parallel", "--", "tests/x"],
    [alone[0], "--parallel", "--", "tests/x"],
    [alone[1], "--parallel", "--", "tests/x"],
  ]);
  assert.deepEqual(runs(), [[files[2]], [alone[0]], [alone[1]]]);
  assert.deepEqual(runs("tests/host"), [["tests/host"]]);
  assert.deepEqual(runs(alone[1], "--filter", "x"), [[alone[1], "--filter", "x"]]);
  assert.deepEqual(runs("tests/device/c_test.ts", alone[0]), [[files[2]], [alone[0]]]);
});

Deno.test("testRuns() finds all files of a folder", () => {
  const [together, ...others] = testRuns(["tests/host", "tests/device"]);
  assert.ok(together.includes("tests/host") && together.includes("tests/device/kernels/adamw_test.ts"));
  assert.ok(!together.includes("tests/device"));
  assert.ok(together.length > 50 && new Set(together).size === together.length, `${together.length} files`);
  assert.deepEqual(others, [["tests/device/runtime/dawn_test.ts"]]);
});

/**
 * Runs the probe through `run_tests.ts`; what lies at `path`, relative to the project, is removed afterwards.
 */
async function runLeaving(path: string, ...further: string[]): Promise<{ code: number; output: string }> {
  const project = join(import.meta.dirname!, "..", "..");
  const probe = "tests/support/left_file_probe.ts";
  const script = join(project, "tests/ci/run_tests.ts");
  try {
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-check", script, probe, "--", `../../${path}`, ...further],
      cwd: project,
    }).output();
    return { code, output: new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr) };
  } finally {
    await Deno.remove(join(project, path)).catch(() => {});
  }
}

Deno.test("run_tests.ts fails where a test leaves a file in the tree, also one that git ignores, but not in a cache", async () => {
  const name = `left-${crypto.randomUUID()}.txt`;
  for (const path of [`tests/ci/${name}`, `results/local/${name}`]) {
    const { code, output } = await runLeaving(path);
    assert.equal(code, 1, output);
    assert.match(output, new RegExp(`The tests left 1 files in the tree: ${path}`));
    assert.match(output, /1 passed, 1 failed, 0 skipped/);
  }
  for (const [path, ...further] of [[`.cache/${name}`], [`tests/ci/${name}`, "removed again"]]) {
    const { code, output } = await runLeaving(path, ...further);
    assert.equal(code, 0, output);
    assert.match(output, /1 passed, 0 failed, 0 skipped/);
  }
});

Deno.test("untrackedFiles() sees files in new folders and ignored ones, and says where git cannot tell", async () => {
  const folder = await Deno.makeTempDir({ prefix: "threefold-tree-" });
  try {
    assert.equal(await untrackedFiles(folder), null);
    const git = async (...args: string[]) =>
      assert.ok((await new Deno.Command("git", { args, cwd: folder }).output()).success, args.join(" "));
    await git("init", "--quiet");
    await Deno.writeTextFile(join(folder, ".gitignore"), "/bench/\n/.cache/\n");
    await Deno.writeTextFile(join(folder, "tracked"), "");
    await git("add", ".");
    assert.deepEqual(await untrackedFiles(folder), []);
    for (const file of ["new/a b", "bench/run.json", ".cache/kept", "tests/.cache/left"]) {
      await Deno.mkdir(join(folder, file, ".."), { recursive: true });
      await Deno.writeTextFile(join(folder, file), "");
    }
    assert.deepEqual((await untrackedFiles(folder))?.sort(), [
      "bench/run.json",
      "new/a b",
      "tests/.cache/left",
    ]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
