import assert from "node:assert/strict";
import {
  type Binding,
  type Command,
  type Dispatch,
  type Kernel,
  TEXEL_ROW_BYTES,
  TEXEL_ROW_TEXELS,
  texelWord,
  u32,
} from "../../../engine/graph/op.ts";
import { PRESETS } from "../../../engine/model/presets.ts";
import { modelOf } from "../../../engine/model/config.ts";
import { keepTexels, texelRowsOf } from "../../../engine/plan/kept_texels.ts";
import { plannedTarget } from "../../../engine/runtime/planned_target.ts";
import { stepMethods } from "../../../engine/train/methods.ts";
import { planStep } from "../../../engine/train/trainer.ts";
import { placeTexels } from "../../../kernels/texel_reads.ts";
import { seededRandom } from "../../../results/stats.ts";
import { writtenSlots } from "../../support/wgsl_scan.ts";

/** Writes what is bound to slot 0 and reads slot 1. */
const KERNEL: Kernel = {
  name: "kernel",
  entryPoint: "kernel",
  writes: [0],
  code: `@group(0) @binding(0) var<storage, read_write> written: array<f32>;
@group(0) @binding(1) var<storage, read_write> read: array<f32>;
@compute @workgroup_size(1) fn kernel() { written[0] = read[0]; }`,
};

const ROW = TEXEL_ROW_BYTES;
const range = (byteOffset: number, byteLength: number, buffer = 0): Binding => ({
  buffer,
  byteOffset,
  byteLength,
});
const ELSEWHERE = range(0, 256, 9);

/** A dispatch with a word for each copy, which counts from its tenth texel, and one that does not move. */
function dispatch(sources: readonly Binding[], written = ELSEWHERE, read?: Binding): Dispatch {
  const texels = placeTexels(sources);
  return {
    kernel: KERNEL,
    bindings: read ? [written, read] : [written],
    params: [u32(7), ...texels.map((_, i) => texelWord(texels, i, TEXEL_ROW_TEXELS, 10))],
    texels,
    workgroups: [1, 1, 1],
  };
}

const texelsOf = (command: Command) => "clear" in command ? [] : command.texels ?? [];
const keptOf = (commands: readonly Command[]) =>
  commands.map((command) => texelsOf(command).map(({ kept }) => kept ?? false));

/** Bytes copied, and of those that are read. */
function copied(commands: readonly Command[]): { copied: number; read: number } {
  const copies = commands.flatMap(texelsOf);
  const bytes = (some: typeof copies) => some.reduce((sum, { source }) => sum + source.byteLength, 0);
  return { copied: bytes(copies.filter(({ kept }) => !kept)), read: bytes(copies) };
}

/** Runs commands on buffers and a texture of version numbers, in pieces of 256 bytes, and checks what each dispatch finds. */
function checkTexture(commands: readonly Command[], rows: number): void {
  const versions = new Map<string, number>();
  const texture = new Map<number, string>();
  const pieces = ({ buffer, byteOffset, byteLength }: Binding) => {
    const [first, end] = [Math.floor(byteOffset / 256), Math.ceil((byteOffset + byteLength) / 256)];
    return Array.from({ length: end - first }, (_, i) => `${buffer}:${first + i}`);
  };
  const contents = (piece: string) => `${piece} version ${versions.get(piece) ?? 0}`;
  for (const command of commands) {
    for (const { source, row, kept } of texelsOf(command)) {
      const first = row * ROW / 256;
      assert.ok(Number.isInteger(first) && row >= 0 && row * ROW + source.byteLength <= rows * ROW);
      if (!kept) {
        assert.ok(Number.isInteger(row), "a copy begins at a row");
        pieces(source).forEach((piece, i) => texture.set(first + i, contents(piece)));
      }
    }
    for (const { source, row } of texelsOf(command)) {
      pieces(source).forEach((piece, i) => assert.equal(texture.get(row * ROW / 256 + i), contents(piece)));
    }
    const written = "clear" in command
      ? [command.clear]
      : writtenSlots(command.kernel).map((slot) => command.bindings[slot]);
    for (const piece of written.flatMap(pieces)) versions.set(piece, (versions.get(piece) ?? 0) + 1);
  }
}

Deno.test("keepTexels() copies a range once, until something writes it", () => {
  const [a, b] = [range(0, 2 * ROW), range(4 * ROW, ROW)];
  const commands = [
    dispatch([a]),
    dispatch([a, b]),
    dispatch([b], a), // writes a
    dispatch([b, a]),
    { clear: range(ROW, 256) },
    dispatch([a]),
    dispatch([a], ELSEWHERE, a), // reads a where it lies, too
    dispatch([a]),
  ];
  const placed = keepTexels(commands, 4);
  assert.deepEqual(keptOf(placed), [[false], [true, false], [true], [true, false], [], [false], [true], [
    true,
  ]]);
  checkTexture(placed, 4);
});

Deno.test("keepTexels() finds a part of a range that lies there, and says so in the kernel's words", () => {
  const whole = range(0, 3 * ROW);
  const part = range(ROW + 512, ROW);
  const [, placed] = keepTexels([dispatch([range(8 * ROW, ROW), whole]), dispatch([part])], 4);
  assert.deepEqual(texelsOf(placed), [{ source: part, row: 1 + 1 + 512 / ROW, kept: true }]);
  const { params } = placed as Dispatch;
  assert.deepEqual(params.map(({ value }) => value), [7, 2 * TEXEL_ROW_TEXELS + 32 + 10]);
});

Deno.test("keepTexels() gives up first what is read last, and all where rows are short", () => {
  const [a, b, c] = [0, 1, 2].map((i) => range(i * ROW, ROW));
  const commands = [dispatch([a]), dispatch([b]), dispatch([c]), dispatch([b]), dispatch([a])];
  assert.deepEqual(keptOf(keepTexels(commands, 2)), [[false], [false], [false], [true], [false]]);
  const large = range(8 * ROW, 2 * ROW);
  // b lies in the second row, so that the large range finds no two together.
  const scattered = keepTexels([dispatch([a, b]), dispatch([large, b])], 3);
  checkTexture(scattered, 3);
  assert.deepEqual(texelsOf(scattered[1]).map(({ row, kept }) => [row, kept]), [[0, undefined], [
    2,
    undefined,
  ]]);
});

Deno.test("keepTexels() leaves every dispatch what it reads, whatever comes in between", () => {
  const random = seededRandom(11);
  const whole = (below: number) => Math.floor(random() * below);
  const anywhere = () => range(256 * whole(400), 256 * (1 + whole(120)), whole(2));
  let kept = 0;
  for (let run = 0; run < 300; run++) {
    const ranges = Array.from({ length: 6 }, anywhere);
    const one = () => ranges[whole(ranges.length)];
    const commands = Array.from({ length: 40 }, (): Command => {
      if (whole(12) === 0) return { clear: one() };
      const sources = [...new Set(Array.from({ length: 1 + whole(3) }, one))];
      return dispatch(sources, whole(4) === 0 ? one() : ELSEWHERE, whole(2) === 0 ? one() : undefined);
    });
    const rows = Math.max(...commands.map((command) => "clear" in command ? 0 : texelRowsOf(command))) +
      whole(3);
    const placed = keepTexels(commands, rows);
    checkTexture(placed, rows);
    for (const command of placed) {
      if ("clear" in command) continue;
      const expected = texelsOf(command).map(({ row }) => row * TEXEL_ROW_TEXELS + 10);
      assert.deepEqual(command.params.map(({ value }) => value), [7, ...expected]);
    }
    kept += keptOf(placed).flat().filter(Boolean).length;
  }
  assert.ok(kept > 1000, `${kept} copies kept`);
});

for (const methods of [[], ["checkpoint", "fp16", "flash"], ["checkpoint", "lora"]]) {
  Deno.test(`a step planned with ${methods.join(", ") || "no method"} finds in the texture what its buffers hold`, () => {
    const model = modelOf({ ...PRESETS["gpt2-nano"], vocabularySize: 512 });
    const { plan } = planStep({
      model,
      microBatchSize: 2,
      gradientAccumulationSteps: 2,
      sequenceLength: 64,
      methods: stepMethods({ methods, methodOptions: {} }, model),
      optimizer: "adamw",
      optimizerOptions: { weightDecay: 0.01, beta1: 0.9, beta2: 0.999, eps: 1e-8, momentum: 0.9 },
      clip: 1,
      dropout: 0,
      evaluate: true,
    }, plannedTarget("software"));
    const rows = plan.buffers[plan.scratchTexture!].bytes / ROW;
    for (const { commands } of plan.programs) checkTexture(commands, rows);
    const { copied: made, read } = copied(plan.programs[0].commands);
    assert.ok(made < 0.85 * read, `${made} of ${read} bytes copied`);
  });
}
