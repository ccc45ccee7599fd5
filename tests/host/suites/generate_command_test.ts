import assert from "node:assert/strict";
import { main } from "../../../suites/cli/main.ts";
import type { GenerateOptions } from "../../../mod.ts";
import { fakeServices } from "./fake_services.ts";

/** Runs `generate` on an engine that says two words. */
async function run(...args: string[]) {
  const [out, err]: [string[], string[]] = [[], []];
  const asked: GenerateOptions[] = [];
  const services = fakeServices((text) => out.push(`${text}\n`), (text) => err.push(text));
  services.write = (text) => void out.push(text);
  services.engine = {
    ...services.engine,
    generate(options, onText) {
      asked.push(options);
      for (const text of ["two", " words"]) onText?.(text);
      return Promise.resolve({ text: "two words", tokens: [1, 2], promptTokens: 3, stopped: "context" });
    },
  };
  const code = await main(["generate", ...args], services);
  return { code, out: out.join(""), err: err.join("\n"), asked };
}

Deno.test("generate writes the text as it comes, and an end of line", async () => {
  const { code, out, err, asked } = await run("--model", "out", "--prompt", "Say");
  assert.equal(code, 0);
  assert.equal(out, "two words\n");
  assert.match(err, /context is full/);
  assert.deepEqual(asked, [{
    model: "out",
    adapter: null,
    prompt: "Say",
    chat: false,
    tokenizer: null,
    maxNewTokens: 64,
    temperature: 0,
    topP: 1,
    seed: 0,
  }]);
});

Deno.test("generate --json prints one document", async () => {
  const { out, asked } = await run(
    ...["--model", "out", "--prompt", "Say", "--json", "--adapter", "a", "--temperature", "0.5"],
    ...["--top-p", "0.9", "--seed", "4", "--max-new-tokens", "7"],
  );
  assert.deepEqual(JSON.parse(out), {
    model: "out",
    text: "two words",
    tokens: [1, 2],
    promptTokens: 3,
    stopped: "context",
    temperature: 0.5,
    topP: 0.9,
    seed: 4,
  });
  assert.deepEqual([asked[0].adapter, asked[0].maxNewTokens], ["a", 7]);
  assert.equal((await run("--model", "m", "--prompt", "Say", "--chat")).asked[0].chat, true);
});

Deno.test("generate refuses what it cannot do, and ends with 2", async () => {
  const refused = async (message: RegExp, ...args: string[]) => {
    const { code, err, asked } = await run(...args);
    assert.equal(code, 2);
    assert.match(err, message);
    assert.deepEqual(asked, []);
  };
  const ok = ["--model", "m", "--prompt", "p"];
  await refused(/Missing --model/, "--prompt", "p");
  await refused(/Missing --prompt/, "--model", "m");
  await refused(/--temperature -1/, ...ok, "--temperature=-1");
  await refused(/--top-p 0\b/, ...ok, "--temperature", "1", "--top-p", "0");
  await refused(/--top-p 1.5/, ...ok, "--temperature", "1", "--top-p", "1.5");
  await refused(/--top-p does nothing at temperature 0/, ...ok, "--top-p", "0.9");
  await refused(/--max-new-tokens 0/, ...ok, "--max-new-tokens", "0");
  await refused(/--seed -1/, ...ok, "--seed=-1");
  await refused(/Unknown flag --promt of generate; did you mean --prompt/, "--model", "m", "--promt", "p");
});
