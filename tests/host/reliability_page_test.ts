// docs/reliability.md: what writes the last run of the long tests into it, and which tests those are.
import assert from "node:assert/strict";
import { join } from "node:path";
import { filesWithLongParts, type LongRun, PAGE, writeRun } from "../ci/long_tests.ts";

const RUN: LongRun = {
  startedAt: new Date("2026-03-01T23:59:59Z"),
  seconds: 3725.9,
  counts: { passed: 210, failed: 1, skipped: 30 },
  machine: {
    adapter: "A card",
    driver: "1.2",
    gpuProviderVersion: "wgpu 3",
    cpu: "A processor",
    cpuCount: 2,
    operatingSystem: "Debian (linux 6 x86_64)",
    deno: "2.9.6",
    commit: "0123abc+",
  },
};

const TABLE = `| | |
|---|---|
| date | 2026-03-01 |
| commit | 0123abc+ |
| adapter | A card, driver 1.2, wgpu 3 |
| cores | 2 (A processor) |
| system | Debian (linux 6 x86_64), Deno 2.9.6 |
| passed | 210 |
| failed | 1 |
| skipped | 30 |
| wall time | 62 min 5 s |
`;
const BEGIN = "<!-- written by deno task test:long -->\n";
const END = "<!-- end of what is written -->\n";

/** Writes a page to a temporary file, then the runs into it, and reads it. */
async function written(page: string, ...runs: LongRun[]): Promise<string> {
  const path = await Deno.makeTempFile({ suffix: ".md" });
  try {
    await Deno.writeTextFile(path, page);
    for (const run of runs) await writeRun(path, run);
    return await Deno.readTextFile(path);
  } finally {
    await Deno.remove(path);
  }
}

Deno.test("writeRun() writes between the markers, again where a run stands there, and leaves the rest alone", async () => {
  const page = (between: string) =>
    `# A page\n\nWords.\n\n${BEGIN}${between}${END}\nMore words: $& and $1.\n`;
  assert.equal(await written(page("No run.\n"), RUN), page(TABLE));
  const later = { ...RUN, seconds: 59.9, machine: { ...RUN.machine, cpu: null, commit: null } };
  const expected = TABLE.replace("62 min 5 s", "0 min 59 s").replace("2 (A processor)", "2")
    .replace("0123abc+", "unknown");
  assert.equal(await written(page(""), RUN, later), page(expected));
});

Deno.test("writeRun() says which marker it misses, and where", async () => {
  for (const [page, which] of [["Words.\n", "first"], [END, "first"], [END + BEGIN, "second"]]) {
    await assert.rejects(written(page, RUN), ({ name, message }) => {
      assert.equal(name, "InputError");
      assert.match(message, new RegExp(`^Cannot write the run into .*\\.md: .* found no ${which} one$`));
      return true;
    });
  }
});

Deno.test("docs/reliability.md can be written", async () => {
  assert.match(await written(await Deno.readTextFile(PAGE), RUN), /wall time \| 62 min 5 s/);
});

Deno.test("the long tests are the files that ask for the flag, themselves or through a helper, and no others", async () => {
  const files = await filesWithLongParts();
  const imports = async (file: string) =>
    await Deno.readTextFile(join(import.meta.dirname!, "..", "..", file));
  for (
    const file of [
      "tests/device/contract_test.ts",
      "tests/device/kernels/matmul_test.ts",
      "tests/host/report/simulation_test.ts",
      "tests/host/suites/adaptive_rounds_test.ts",
    ]
  ) assert.ok(files.includes(file), file);
  assert.doesNotMatch(await imports("tests/device/kernels/matmul_test.ts"), /long_run/);
  for (const file of ["tests/device/kernels/adamw_test.ts", "tests/host/reliability_page_test.ts"]) {
    assert.ok(!files.includes(file), file);
  }
});
