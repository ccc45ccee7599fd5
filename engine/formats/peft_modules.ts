import type { AdapterConfig } from "./adapter_config.ts";

/**
 * R and alpha of the module at `path`: of the first pattern that matches it, or
 * what follows a dot in it, whole.
 */
export function moduleRankAndAlpha(
  { rank, alpha, rankPattern, alphaPattern }: Pick<
    AdapterConfig,
    "rank" | "alpha" | "rankPattern" | "alphaPattern"
  >,
  path: string,
): { rank: number; alpha: number } {
  const of = (patterns: Readonly<Record<string, number>>, otherwise: number) =>
    Object.entries(patterns).find(([pattern]) => patternOfPath(pattern).test(path))?.[1] ?? otherwise;
  return { rank: of(rankPattern, rank), alpha: of(alphaPattern, alpha) };
}

/** peft's `get_pattern_key`. @throws {SyntaxError} where JavaScript has no such regular expression. */
export function patternOfPath(pattern: string): RegExp {
  return pythonRegExp(`(.*\\.)?(${pattern})$`, "start");
}

/** Matches whole paths, as peft does by `target_modules` and `exclude_modules`. @throws {SyntaxError} */
export function wholePath(pattern: string): RegExp {
  return pythonRegExp(pattern, "whole");
}

/** The beginning of a path up to its layer, `idx`; null takes any list of layers. @throws {SyntaxError} */
export function layerOfPath(pattern: string | null): RegExp {
  return pythonRegExp(
    pattern === null ? "(?:.*?\\.[^.]*\\.(?P<idx>\\d+)\\.)" : `(?:^|.*?\\.)${pattern}\\.(?P<idx>\\d+)\\.`,
    "start",
  );
}

/** What `isTargetModule` reads of a configuration. */
export type TargetConfig = Pick<
  AdapterConfig,
  "targetModules" | "excludeModules" | "layersToTransform" | "layersPattern" | "modulesToSave"
>;

/**
 * Whether peft puts an adapter on the linear layer at `path`, which is no head, by what a configuration says.
 *
 * Source: huggingface/peft, `check_target_module_exists` in src/peft/tuners/tuners_utils.py.
 */
export function isTargetModule(path: string, config: TargetConfig): boolean {
  const { targetModules, excludeModules, layersToTransform, layersPattern, modulesToSave } = config;
  const isNamed = (names: readonly string[]) => names.some((name) => `.${path}`.endsWith(`.${name}`));
  if (
    typeof excludeModules === "string" ? wholePath(excludeModules).test(path) : isNamed(excludeModules ?? [])
  ) {
    return false;
  }
  if (modulesToSave.some((name) => `.${path}.`.includes(`.${name}.`))) return false;
  if (typeof targetModules === "string") {
    return isAllLinear(targetModules) || wholePath(targetModules).test(path);
  }
  // Whole paths count in every layer.
  if (targetModules.includes(path)) return true;
  if (!isNamed(targetModules)) return false;
  const layers = [layersToTransform ?? []].flat();
  if (layers.length === 0) return true;
  const patterns = [layersPattern || []].flat();
  const match = (patterns.length === 0 ? [null] : patterns)
    .map((pattern) => layerOfPath(pattern).exec(path))
    .find((found) => found !== null);
  return match !== undefined && layers.includes(Number(match.groups!.idx));
}

/** Whether `target_modules` stands for every linear layer but the head. */
export function isAllLinear(targetModules: string): boolean {
  return targetModules.toLowerCase() === "all-linear";
}

/**
 * A regular expression of Python's `re`, anchored at its start or at both ends.
 *
 * The two languages differ in how they write some things (`(?P<name>…)`, `\A`, `\Z`, `{,3}`, `[]a]`), and in
 * what they take for a plain character; whatever JavaScript has no counterpart for, back references included,
 * is an error, never another meaning.
 *
 * @throws {SyntaxError}
 */
export function pythonRegExp(pattern: string, anchored: "start" | "whole"): RegExp {
  const flags = /^\(\?([aisu]+)\)/.exec(pattern);
  const source = translate(pattern.slice(flags?.[0].length ?? 0));
  const own = "u" + ["i", "s"].filter((flag) => flags?.[1].includes(flag)).join("");
  new RegExp(source, own); // throws for one such as `a)|(b`, which would be whole between other brackets
  return new RegExp(`^(?:${source})${anchored === "whole" ? "$" : ""}`, own);
}

/** Puts what JavaScript has for what Python writes otherwise; all else stays. */
function translate(pattern: string): string {
  let source = "";
  for (let i = 0; i < pattern.length;) {
    const [part, written] = nextPart(pattern.slice(i));
    source += written;
    i += part.length;
  }
  return source;
}

function nextPart(rest: string): [part: string, written: string] {
  const is = (pattern: RegExp) => pattern.exec(rest)?.[0];
  // A `]` that comes first in a class is one of its characters.
  const characters = is(/^\[\^?\]?(?:\\.|[^\\\]])*\]/);
  if (characters !== undefined) {
    const first = /^\[\^?/.exec(characters)![0];
    return [characters, first + characters.slice(first.length, -1).replace(/^\]/, "\\]") + "]"];
  }
  const group = is(/^\(\?P</);
  if (group !== undefined) return [group, "(?<"];
  const escaped = is(/^\\[^]/);
  // A group that took no part matches nothing in Python, and the empty text in JavaScript.
  if (escaped !== undefined && /[1-9k]/.test(escaped[1])) throw new SyntaxError("Back references differ");
  if (escaped === "\\A") return [escaped, "^"];
  if (escaped === "\\Z") return [escaped, "$"];
  // JavaScript escapes no other signs than those of its syntax, Python's `re.escape` does.
  if (escaped !== undefined) {
    return [escaped, /[-\s#&~"'%,:;<=>@`!_]/.test(escaped[1]) ? escaped[1] : escaped];
  }
  const open = is(/^\{,\d+\}/);
  if (open !== undefined) return [open, `{0${open.slice(1)}`];
  const times = is(/^\{\d+(,\d*)?\}/);
  if (times !== undefined) return [times, times];
  return [rest[0], /[{}\]]/.test(rest[0]) ? `\\${rest[0]}` : rest[0]];
}
