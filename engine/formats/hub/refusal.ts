import { InputError } from "../../input_error.ts";
import { type HubReference, hubReferenceText } from "./reference.ts";
import type { HubSettings } from "./settings.ts";

/** What the hub's refusal means to a person, and what to do about it. */
export async function refusal(
  response: Response,
  reference: HubReference,
  { endpoint, token }: HubSettings,
  file?: string,
): Promise<InputError> {
  await response.body?.cancel();
  const { repository, revision } = reference;
  const say = (text: string) => new InputError(`Cannot download ${hubReferenceText(reference)}: ${text}`);
  const code = response.headers.get("X-Error-Code");
  if (code === "GatedRepo" || response.status === 403) {
    return say(
      `access to it is restricted; ask for it at ${endpoint}/${repository} and set HF_TOKEN to a token of an account that has it`,
    );
  }
  if (response.status === 401) {
    return say(
      token === null
        ? `there is no such model at ${endpoint}, or it is private: then set HF_TOKEN`
        : `there is no such model at ${endpoint}, or HF_TOKEN gives no access to it`,
    );
  }
  if (response.status !== 404) return say(`${endpoint} answered with status ${response.status}`);
  if (code === "RevisionNotFound") {
    return say(`the repository has no revision ${revision}, expected a branch, tag or commit`);
  }
  if (file !== undefined && code !== "RepoNotFound") return say(`it has no file ${file}`);
  return say(`there is no such model or revision at ${endpoint}`);
}
