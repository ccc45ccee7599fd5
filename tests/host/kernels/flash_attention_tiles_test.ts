import assert from "node:assert/strict";
import { type FlashForm, flashForwardCode } from "../../../kernels/flash/text.ts";
import type { TileForm } from "../../../kernels/flash/tile.ts";
import { flashSubgroupTile } from "../../../kernels/lavapipe/flash_tile.ts";
import { workgroupShapes, workgroupTile } from "../../../kernels/flash/workgroup.ts";

Deno.test("the name of a flash tile, by which texts are kept, tells its text from those of all other tiles", () => {
  const form: FlashForm = {
    headSize: 64,
    causal: true,
    segments: false,
    dropout: null,
    dtype: "f32",
    halvesAsWords: false,
    copied: { names: [], wgsl: "" },
  };
  const texts = new Map<string, string>();
  for (const headSize of [32, 64, 128, 256]) {
    const shapes = [...workgroupShapes(headSize, 1), ...workgroupShapes(headSize, 2)];
    const tiles: TileForm[] = [
      ...[4, 8, 16, 32].map((lanes) => flashSubgroupTile(lanes, headSize)),
      ...shapes.map((shape) => workgroupTile(headSize, shape)),
    ];
    for (const tile of tiles) {
      const text = flashForwardCode({ ...form, headSize }, tile);
      assert.equal(texts.get(tile.name) ?? text, text, tile.name);
      texts.set(tile.name, text);
    }
  }
  assert.equal(new Set(texts.values()).size, texts.size);
  assert.ok(texts.size >= 24, `${texts.size} tiles`);
});
