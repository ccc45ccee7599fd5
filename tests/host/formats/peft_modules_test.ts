import assert from "node:assert/strict";
import { parseAdapterConfig } from "../../../engine/formats/peft.ts";
import {
  isTargetModule,
  moduleRankAndAlpha,
  patternOfPath,
  pythonRegExp,
  wholePath,
} from "../../../engine/formats/peft_modules.ts";

const FOLDER = `${import.meta.dirname}/../../fixtures/peft_settings/`;
const read = (name: string) => JSON.parse(Deno.readTextFileSync(FOLDER + name));

Deno.test("ranks and alphas are those of the first pattern that fits the end of a path", () => {
  const config = {
    rank: 8,
    alpha: 16,
    rankPattern: { "layers.1.q_proj": 2, q_proj: 3, "^k_proj": 4 },
    alphaPattern: { "layers\\.[01]\\.v_proj": 5 },
  };
  const of = (path: string) => Object.values(moduleRankAndAlpha(config, path));
  assert.deepEqual(of("model.layers.1.q_proj"), [2, 16]);
  assert.deepEqual(of("model.layers.0.q_proj"), [3, 16]);
  assert.deepEqual(of("model.layers.11.q_proj"), [3, 16], "from a dot on");
  assert.deepEqual(of("model.layers.0.my_q_proj"), [8, 16], "from a dot on");
  assert.deepEqual(of("k_proj"), [4, 16]);
  assert.deepEqual(of("model.k_proj"), [8, 16], "anchored at the beginning of the path");
  assert.deepEqual(of("model.layers.1.v_proj"), [8, 5]);
  assert.deepEqual(of("model.layers.1.v_proj.x"), [8, 16], "to the end");
});

Deno.test("isTargetModule() finds the modules that peft adapts", () => {
  const { modules, cases } = read("targets.json");
  for (const [name, { config, adapted }] of Object.entries<{ config: object; adapted: string[] }>(cases)) {
    const parsed = parseAdapterConfig(config as Record<string, unknown>, "x.json");
    assert.deepEqual(modules.filter((path: string) => isTargetModule(path, parsed)), adapted, name);
  }
  const all = parseAdapterConfig({ peft_type: "LORA", target_modules: "All-Linear" }, "x.json");
  assert.ok(modules.every((path: string) => isTargetModule(path, all)));
  const some = { ...all, excludeModules: ["q_proj"] };
  assert.ok(!isTargetModule("model.layers.0.self_attn.q_proj", some));
});

Deno.test("regular expressions of Python match here what they match there, or are refused", () => {
  const { texts, cases } = read("expressions.json");
  const matching = (compile: () => RegExp): string[] | null => {
    try {
      const expression = compile();
      return texts.filter((text: string) => expression.test(text));
    } catch (error) {
      assert.ok(error instanceof SyntaxError);
      return null;
    }
  };
  for (const { expression, whole, key } of cases) {
    assert.deepEqual(matching(() => wholePath(expression)), whole, expression);
    assert.deepEqual(matching(() => patternOfPath(expression)), key, `${expression} as a key`);
  }
  // What Python has and JavaScript has not.
  for (
    const expression of [
      "a++",
      "(?>a)",
      "\\N{DASH}",
      "(?x)a b",
      "(?(1)a|b)",
      "\\a",
      "a)|(b",
      "(a)\\1",
      "(?P<x>a)(?P=x)",
    ]
  ) {
    assert.throws(() => pythonRegExp(expression, "whole"), SyntaxError, expression);
  }
});
