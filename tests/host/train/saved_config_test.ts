import assert from "node:assert/strict";
import { configText } from "../../../engine/train/saved_files.ts";

Deno.test("whole numbers keep their point where transformers asks for one, and nowhere else", () => {
  const config = {
    final_logit_softcapping: 30,
    attn_logit_softcapping: 1.5,
    hidden_size: 30,
    note: '"rms_norm_eps": 1',
    inner: { initializer_range: 1, rms_norm_eps: null },
    layer_norm_eps: 1e-12,
    init_std: 2,
  };
  const text = configText(config);
  assert.deepEqual(JSON.parse(text), config);
  const withPoint = [...text.matchAll(/"(\w+)": \d+\.0/g)].map(([, field]) => field);
  assert.deepEqual(withPoint, ["final_logit_softcapping", "initializer_range", "init_std"]);
});
