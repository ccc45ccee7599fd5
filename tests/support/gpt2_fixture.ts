import { type LanguageModelFixture, languageModelFixture } from "./model_fixture.ts";

export { fixtureOptions } from "./model_fixture.ts";

/** The GPT-2 that most tests of whole steps train. */
export function gpt2Fixture(): Promise<LanguageModelFixture> {
  return languageModelFixture("gpt2_tiny");
}
