import assert from "node:assert/strict";
import { chatTemplateOf } from "../../../engine/formats/chat_template.ts";
import { byteTokenizer, type Tokenizer } from "../../../engine/formats/tokenizer.ts";
import { assertInputError, fixture } from "./temporary_folder.ts";

function withTemplate(chat_template: unknown): Tokenizer {
  const own = byteTokenizer();
  return { ...own, files: () => ({ ...own.files(), config: { chat_template } }) };
}

const render = (chat_template: unknown, content: string, tools?: Record<string, unknown>[]) =>
  chatTemplateOf(withTemplate(chat_template)).render([{ role: "user", content }], {
    reply: false,
    place: "a.jsonl:1",
    extras: { tools },
  });

Deno.test("templates do with texts what Python does: white space, arguments of strip() and split(), values", () => {
  for (
    const { template, content, text } of JSON.parse(
      Deno.readTextFileSync(fixture("../tool_calls/python.json")),
    )
  ) {
    assert.equal(render(template, content), text, `${template} of ${JSON.stringify(content)}`);
  }
});

Deno.test("a list or an object that a template writes without tojson is refused: Python has quotes of its own", async () => {
  const refused = (template: string, ...parts: string[]) =>
    assertInputError(() => render(template, "x", [{ a: 1 }]), "a.jsonl:1", ...parts);
  await refused("{{ tools }}", "a list", "tojson");
  await refused("{% for tool in tools %}{{ tool }}{% endfor %}", "an object", "tojson");
  await refused("{{ tools.strip() }}", "strip()", "a list");
  await refused("{{ tools | trim }}", "trim", "a list");
  assert.equal(render("{% for tool in tools %}{{ tool | tojson }}{% endfor %}", "x", [{ a: 1 }]), '{"a": 1}');
});

Deno.test("of several templates conversations with tools take the one for them", () => {
  const named = [{ name: "default", template: "plain" }, {
    name: "tool_use",
    template: "{{ tools | length }}",
  }];
  assert.equal(render(named, "x"), "plain");
  assert.equal(render(named, "x", [{ a: 1 }]), "1");
  assert.equal(render(named.slice(0, 1), "x", [{ a: 1 }]), "plain");
});
