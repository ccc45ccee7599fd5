import { InputError } from "../../input_error.ts";

/** A model repository at a revision: a branch, a tag, or a commit. */
export interface HubReference {
  /** `owner/name`. */
  readonly repository: string;
  /** `main` unless given. */
  readonly revision: string;
}

const REPOSITORY = /^[A-Za-z0-9][\w.-]{0,95}\/[A-Za-z0-9][\w.-]{0,95}$/;

/** What git calls a commit, and what records pin. */
export const COMMIT = /^[0-9a-f]{40}$/;

/**
 * Reads `owner/name` or `owner/name@revision`; null for anything that has not the
 * form of a repository, such as a path.
 *
 * @throws {InputError} for a revision that no branch, tag or commit can be called.
 */
export function parseHubReference(text: string): HubReference | null {
  const at = text.indexOf("@");
  const repository = at === -1 ? text : text.slice(0, at);
  // The cache joins owner and name by two dashes; two dots are a way out of a folder.
  if (!REPOSITORY.test(repository) || /--|\.\./.test(repository)) return null;
  const revision = at === -1 ? "main" : text.slice(at + 1);
  if (isRevision(revision)) return { repository, revision };
  throw new InputError(
    `Cannot use the model ${text}: revision ${
      JSON.stringify(revision)
    } cannot exist, expected a branch, tag or commit`,
  );
}

/** Revisions name files in the cache: none may lead out of its folder. */
function isRevision(revision: string): boolean {
  return revision.length < 256 && !/\.lock$/.test(revision) &&
    revision.split("/").every((part) => /^[\w.+-]+$/.test(part) && !/^\.|\.\./.test(part));
}

/** `owner/name@revision` */
export function hubReferenceText({ repository, revision }: HubReference): string {
  return `${repository}@${revision}`;
}
