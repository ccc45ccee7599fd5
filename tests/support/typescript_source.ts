/**
 * Removes comments that have a line, or the end of one, to themselves: enough for
 * files that `deno fmt` has seen.
 */
export function withoutComments(source: string): string {
  return source.replace(/^\s*\/\*[\s\S]*?\*\/|(^|\s)\/\/.*$/gm, "$1");
}
