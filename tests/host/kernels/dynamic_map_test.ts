import assert from "node:assert/strict";
import { openSafetensors } from "../../../engine/formats/safetensors.ts";
import { dynamicMap, middlesOf, nearestCode } from "../../../kernels/dynamic_map.ts";

const FIXTURE = `${import.meta.dirname}/../../fixtures/nf4/blockwise.safetensors`;

Deno.test("dynamicMap() gives the maps of bitsandbytes, bit for bit", async () => {
  using file = await openSafetensors(FIXTURE);
  for (const kind of ["signed", "unsigned"]) {
    assert.deepEqual(dynamicMap(kind === "signed"), await file.read(`map.${kind}`));
  }
});

Deno.test("nearestCode() gives the codes of bitsandbytes", async () => {
  using file = await openSafetensors(FIXTURE);
  for (const kind of ["signed", "unsigned"]) {
    const middles = middlesOf(dynamicMap(kind === "signed"));
    const [input, absmax] = [await file.read(`${kind}.input`), await file.read(`${kind}.absmax`)];
    const codes = input.map((x, i) => nearestCode(Math.fround(x / absmax[i >> 8]), middles));
    assert.deepEqual(Uint8Array.from(codes), await file.readBytes(`${kind}.codes`));
  }
});

Deno.test("nearestCode() gives the lower code half way between two, and the ends beyond them", () => {
  const map = dynamicMap(true);
  const middles = middlesOf(map);
  assert.equal(middles.length, 255);
  middles.forEach((middle, k) => assert.equal(nearestCode(middle, middles), k));
  map.forEach((value, k) => assert.equal(nearestCode(value, middles), k));
  assert.equal(nearestCode(-2, middles), 0);
  assert.equal(nearestCode(2, middles), 255);
});
