import type { Template } from "@huggingface/jinja";

/** The tree of a parsed template. Its classes are not exported, and the interpreter goes by `type` alone. */
type Program = Template["parsed"];
interface Node {
  type: string;
  [field: string]: unknown;
}

/**
 * White space as `str.isspace` has it: Unicode's, and four separators.
 * JavaScript's has U+FEFF and lacks five of these.
 */
const SPACE = "[\\p{White_Space}\\x1c-\\x1f]";

/** Methods of `str` that npm:@huggingface/jinja has in JavaScript's way, or without their arguments. */
const METHODS: Readonly<Record<string, (text: string, ...args: unknown[]) => unknown>> = {
  strip: (text, characters) => stripped(text, characters, { left: true, right: true }),
  lstrip: (text, characters) => stripped(text, characters, { left: true, right: false }),
  rstrip: (text, characters) => stripped(text, characters, { left: false, right: true }),
  split(text, ...args) {
    const named = args.find((arg) => arg instanceof Map) as Map<string, { value: unknown }> | undefined;
    const [separator = named?.get("sep")?.value ?? null, most = named?.get("maxsplit")?.value ?? -1] = args
      .filter((arg) => !(arg instanceof Map));
    return split(text, separator, most);
  },
};

/** What `pythonText` has put into a template calls these by name. */
export const PYTHON_FUNCTIONS: Readonly<Record<string, (...args: unknown[]) => unknown>> = {
  ...Object.fromEntries(
    Object.entries(METHODS).map(([name, method]) => [
      functionName(name),
      (text: unknown, ...args: unknown[]) => {
        if (typeof text === "string") return method(text, ...args);
        throw new Error(`${name}() is a method of texts, and was called on ${describe(text)}`);
      },
    ]),
  ),
  [functionName("trim")]: (text, characters) => {
    if (typeof text === "string") return stripped(text, characters, { left: true, right: true });
    if (typeof text === "number") return String(text);
    if (text === undefined) return "";
    throw new Error(`the filter trim was applied to ${describe(text)}`);
  },
  [functionName("written")]: written,
};

/**
 * Makes a template do what jinja2 does: white space in `trim`, `strip()` and `split()`, what is written for
 * `true`, `none` and lists, and loops over what is not there. Changes the tree in place.
 *
 * Source: jinja2 3.1.6 and str of Python 3.13; `PYTHON_FUNCTIONS` must be among the template's variables.
 */
export function pythonText(program: Program): void {
  rewriteIn(program as unknown as Node);
}

function rewriteIn(value: unknown): void {
  if (Array.isArray(value)) {
    for (const [i, item] of value.entries()) value[i] = rewritten(item);
  } else if (value instanceof Map) {
    const entries = [...value].map(([key, item]) => [rewritten(key), rewritten(item)] as const);
    value.clear();
    for (const [key, item] of entries) value.set(key, item);
  } else if (isNode(value)) {
    for (const [field, child] of Object.entries(value)) {
      if (typeof child !== "object" || child === null) continue;
      value[field] = rewritten(child);
      if (!BLOCKS.includes(field) || !Array.isArray(child)) continue;
      for (const [i, item] of child.entries()) {
        if (isNode(item) && isPlace(item)) {
          child[i] = either(
            is(item, "none"),
            { type: "StringLiteral", value: "None" },
            call("written", [item]),
          );
        }
      }
    }
  }
}

/** Fields that hold what a template writes, in order. */
const BLOCKS = ["body", "alternate", "defaultBlock"];

/**
 * Whether an expression is a variable or a part of one, which may be of any type.
 * Those are looked up again without harm.
 */
function isPlace({ type }: Node): boolean {
  return type === "Identifier" || type === "MemberExpression";
}

function rewritten(node: unknown): unknown {
  rewriteIn(node);
  if (!isNode(node)) return node;
  if (node.type === "For") node.iterable = iterable(node.iterable as Node);
  if (node.type === "FilterExpression") {
    const filter = node.filter as Node;
    if (filter.type === "Identifier" && filter.value === "trim") return call("trim", [node.operand]);
    const callee = filter.callee as Node | undefined;
    if (filter.type === "CallExpression" && callee?.value === "trim") {
      return call("trim", [node.operand, ...filter.args as unknown[]]);
    }
  }
  if (node.type === "CallExpression") {
    const { type, computed, property, object } = node.callee as Node;
    const name = (property as Node | undefined)?.value;
    if (
      type === "MemberExpression" && !computed && typeof name === "string" && Object.hasOwn(METHODS, name)
    ) {
      return call(name, [object, ...node.args as unknown[]]);
    }
  }
  return node;
}

/** What is not there has no items, as in jinja2; the library fails there. */
function iterable(node: Node): Node {
  if (node.type === "SelectExpression") return { ...node, lhs: iterable(node.lhs as Node) };
  return isPlace(node) ? either(is(node, "undefined"), { type: "ArrayLiteral", value: [] }, node) : node;
}

function is(operand: Node, test: string): Node {
  return { type: "TestExpression", operand, negate: false, test: { type: "Identifier", value: test } };
}

function either(condition: Node, trueExpr: Node, falseExpr: Node): Node {
  return { type: "Ternary", condition, trueExpr, falseExpr };
}

function call(name: string, args: unknown[]): Node {
  return { type: "CallExpression", callee: { type: "Identifier", value: functionName(name) }, args };
}

/** No variable of a template has a space in its name. */
function functionName(name: string): string {
  return `python ${name}`;
}

function isNode(value: unknown): value is Node {
  return typeof value === "object" && value !== null &&
    typeof (value as { type?: unknown }).type === "string";
}

function stripped(
  text: string,
  characters: unknown,
  { left, right }: { left: boolean; right: boolean },
): string {
  if (characters !== undefined && characters !== null && typeof characters !== "string") {
    throw new Error(`strip() takes characters as a text, got ${describe(characters)}`);
  }
  const space = new RegExp(`^${SPACE}$`, "u");
  const own = typeof characters === "string" ? new Set(characters) : null;
  const goes = (char: string) => own ? own.has(char) : space.test(char);
  const chars = Array.from(text);
  let [start, end] = [0, chars.length];
  while (left && start < end && goes(chars[start])) start++;
  while (right && end > start && goes(chars[end - 1])) end--;
  return chars.slice(start, end).join("");
}

function split(text: string, separator: unknown, most: unknown): string[] {
  if ((separator !== null && typeof separator !== "string") || typeof most !== "number") {
    throw new Error(`split() takes a text and a number, got ${describe(separator)} and ${describe(most)}`);
  }
  if (separator === "") throw new Error("split() cannot split at an empty text");
  const limit = most < 0 ? Infinity : most;
  const parts: string[] = [];
  let rest = separator === null ? stripped(text, null, { left: true, right: false }) : text;
  const border = separator === null
    ? new RegExp(`${SPACE}+`, "u")
    : new RegExp(RegExp.escape(separator), "u");
  while (parts.length < limit) {
    const found = border.exec(rest);
    if (found === null) break;
    parts.push(rest.slice(0, found.index));
    rest = rest.slice(found.index + found[0].length);
  }
  return separator === null && rest === "" ? parts : [...parts, rest];
}

/**
 * What Python writes for a value; of lists and objects, which it writes with
 * quotes of its own, nobody trains on that.
 */
function written(value: unknown): unknown {
  if (value === undefined || typeof value === "string" || typeof value === "number") return value;
  if (typeof value === "boolean") return value ? "True" : "False";
  throw new Error(`it writes ${describe(value)} as it is, expected a text, or the filter tojson`);
}

function describe(value: unknown): string {
  if (value === null) return "none";
  if (Array.isArray(value)) return "a list";
  return typeof value === "object"
    ? "an object"
    : value === undefined
    ? "nothing"
    : `${typeof value} ${value}`;
}
