import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";

const MAIN = fileURLToPath(new URL("../../bench/peers/main.ts", import.meta.url));

async function peers(...args: string[]) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", MAIN, ...args],
    stdout: "piped",
    stderr: "piped",
  }).output();
  const [out, err] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
  return { code, out, err };
}

Deno.test("deno task peers measures the engine where there are no peers", async () => {
  const { code, out, err } = await peers("--shapes", "tiny", "--peers", "none", "--rounds", "2", "--json");
  assert.equal(code, 0, err);
  const { comparisons: [{ rows: [row], runs: [run] }] } = JSON.parse(out);
  assert.equal(row.peer, "threefold");
  assert.equal(run.warmup.length, 2);
  assert.equal(run.timed.length, 2);
  const losses = [...run.warmup, ...run.timed].map(({ loss }: { loss: number }) => loss);
  // Untrained logits are near zero, so the first loss is near ln V.
  assert.ok(Math.abs(losses[0] - Math.log(32)) < 0.1, `first loss ${losses[0]}`);
  assert.equal(new Set(losses).size, 4, "every step takes other tokens and other weights");
  for (const { ms, cpuMs, gpu } of run.timed) {
    assert.ok(ms > 0 && cpuMs > 0);
    assert.equal(gpu.submits, 1);
    assert.ok(gpu.dispatches > 20 && gpu.dispatches < 150, `${gpu.dispatches} dispatches`);
  }
});

Deno.test("deno task peers --enforce fails where a bound was not measured", async () => {
  const { code, out, err } = await peers("--shapes", "S", "--peers", "none", "--rounds", "1", "--enforce");
  assert.equal(code, 1, err);
  assert.match(out, /times faster than jax-js +– .*not measured/);
});

Deno.test("deno task peers refuses wrong usage with exit code 2", async () => {
  for (
    const [args, message] of [
      [["--shapes", "XL"], /Unknown shape XL: expected S, M, tiny/],
      [["--peers", "torch,onnx"], /Unknown peer onnx: expected jax-js, tfjs, torch/],
      [["--rounds", "0"], /Flag --rounds is 0: expected a whole number from 1/],
    ] as const
  ) {
    const { code, err } = await peers(...args);
    assert.equal(code, 2);
    assert.match(err, message);
  }
});
