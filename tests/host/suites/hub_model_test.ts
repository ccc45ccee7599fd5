import assert from "node:assert/strict";
import { DownloadLines, downloadText, pinnedField, withPinnedModel } from "../../../suites/cli/hub_model.ts";
import type { PinOptions } from "../../../mod.ts";
import { fakeServices } from "./fake_services.ts";

const MIB = 2 ** 20;

Deno.test("downloadText() says file, bytes, speed and time left", () => {
  const state = {
    file: "model.safetensors",
    doneBytes: 120 * MIB,
    totalBytes: 520 * MIB,
    fetchedBytes: 100 * MIB,
  };
  assert.equal(downloadText(state, 4000), "model.safetensors: 120 MiB of 520 MiB, 25.0 MiB/s, 16 s left");
  assert.equal(downloadText({ ...state, fetchedBytes: 0 }, 0), "model.safetensors: 120 MiB of 520 MiB");
  assert.equal(downloadText({ ...state, totalBytes: null }, 4000), "model.safetensors: 120 MiB, 25.0 MiB/s");
});

Deno.test("DownloadLines writes plain lines at intervals, and how it ended", () => {
  const lines: string[] = [];
  let now = 0;
  const show = new DownloadLines({
    terminal: false,
    columns: 80,
    colour: false,
    writeLine: (text) => lines.push(text),
    now: () => now,
  });
  for (const seconds of [0, 1, 4, 6, 7]) {
    now = seconds * 1000;
    show.update({ file: "x", doneBytes: seconds * MIB, totalBytes: 7 * MIB, fetchedBytes: seconds * MIB });
  }
  show.end();
  show.end();
  assert.deepEqual(lines, [
    "x: 0.00 KiB of 7.00 MiB",
    "x: 6.00 MiB of 7.00 MiB, 1.00 MiB/s, 1 s left",
    "downloaded 7.00 MiB in 7 s",
  ]);
});

Deno.test("withPinnedModel() passes flags on and replaces the model's name alone", async () => {
  const services = fakeServices(() => {}, () => {});
  const asked: PinOptions[] = [];
  services.engine = {
    ...services.engine,
    pinModel(model, options) {
      asked.push(options);
      return Promise.resolve(`${model}@pinned`);
    },
  };
  const args = { values: {}, switches: new Set(["offline"]), positionals: [] };
  const config = await withPinnedModel({ model: "a/b", seed: 1 }, args, services, "config");
  assert.deepEqual(config, { model: "a/b@pinned", seed: 1 });
  assert.equal(asked[0].offline, true);
  assert.equal(asked[0].what, "config");
  const given = { ...args, values: { model: "a/b" } };
  assert.deepEqual(pinnedField(config, given), { model: "a/b@pinned" });
  assert.deepEqual(pinnedField({ model: "a/b" }, given), {});
});
