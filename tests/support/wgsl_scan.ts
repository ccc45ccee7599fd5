// Reads what a WGSL kernel writes and how much workgroup memory it takes, to check what kernels declare of
// themselves.
import type { Kernel } from "../../engine/graph/launch.ts";

const TOKEN =
  /[A-Za-z_]\w*|\d[\w.]*|<<=|>>=|->|\+\+|--|&&|\|\||[-+*\/%&|^=!<>]=|[-+*\/%&|^=!<>()[\]{},;:.@~]/g;
const ASSIGNMENT = /^(?:(?:[-+*\/%&|^]|<<|>>)?=|\+\+|--)$/;
/** Built-in functions that take a pointer and write nothing through it. */
const READING = new Set(["arrayLength", "atomicLoad", "subgroupMatrixLoad", "workgroupUniformLoad"]);

const CLOSING: Readonly<Record<string, string>> = { "(": ")", "[": "]", "{": "}" };

/** Index of the bracket that closes the one at `open`. */
function closing(tokens: readonly string[], open: number): number {
  let depth = 0;
  for (let i = open; i < tokens.length; i++) {
    if (tokens[i] === tokens[open]) depth++;
    else if (tokens[i] === CLOSING[tokens[open]] && --depth === 0) return i;
  }
  throw new SyntaxError(`${tokens[open]} at token ${open} is never closed`);
}

/** Tokens between commas that no bracket encloses. */
function split(tokens: readonly string[]): string[][] {
  const parts: string[][] = [];
  let part: string[] = [];
  for (let i = 0; i < tokens.length; i++) {
    if (tokens[i] === ",") {
      parts.push(part);
      part = [];
    } else if (tokens[i] in CLOSING) {
      const end = closing(tokens, i);
      part.push(...tokens.slice(i, end + 1));
      i = end;
    } else part.push(tokens[i]);
  }
  return part.length > 0 ? [...parts, part] : parts;
}

interface WgslFunction {
  params: string[];
  body: string[];
}

/** The module-scope declarations of a kernel that the checks ask for. */
class Module {
  readonly functions = new Map<string, WgslFunction>();
  /** Slot in group 0 by name. */
  readonly storage = new Map<string, number>();
  /** Type of workgroup variables by name. */
  readonly workgroup = new Map<string, string[]>();
  readonly aliases = new Map<string, string[]>();
  readonly constants = new Map<string, string[]>();
  readonly #writes = new Map<string, Set<string>>();

  constructor(code: string) {
    const tokens: string[] = code.replace(/\/\/.*$/gm, "").replace(/\/\*[\s\S]*?\*\//g, "").match(TOKEN) ??
      [];
    let slot = NaN;
    let group = NaN;
    for (let i = 0; i < tokens.length; i++) {
      const end = () => tokens.indexOf(";", i);
      if (tokens[i] === "@" && tokens[i + 1] === "binding") slot = Number(tokens[i + 3]);
      else if (tokens[i] === "@" && tokens[i + 1] === "group") group = Number(tokens[i + 3]);
      else if (tokens[i] === "var" && tokens[i + 1] === "<") {
        const name = tokens[tokens.indexOf(":", i) - 1];
        if (tokens[i + 2] === "storage" && group === 0) this.storage.set(name, slot);
        if (tokens[i + 2] === "workgroup") {
          this.workgroup.set(name, tokens.slice(tokens.indexOf(":", i) + 1, end()));
        }
        i = end();
      } else if (tokens[i] === "alias") this.aliases.set(tokens[i + 1], tokens.slice(i + 3, i = end()));
      else if (tokens[i] === "const" || tokens[i] === "override") {
        this.constants.set(tokens[i + 1], tokens.slice(tokens.indexOf("=", i) + 1, i = end()));
      } else if (tokens[i] === "struct") i = closing(tokens, tokens.indexOf("{", i));
      else if (tokens[i] === "fn") {
        const open = tokens.indexOf("(", i);
        const close = closing(tokens, open);
        const body = tokens.indexOf("{", close);
        this.functions.set(tokens[i + 1], {
          params: split(tokens.slice(open + 1, close)).map((param) => param[param.indexOf(":") - 1]),
          body: this.#alive(tokens.slice(body + 1, i = closing(tokens, body))),
        });
      }
    }
  }

  /** A body without the branches that a constant of the module rules out. */
  #alive(tokens: readonly string[]): string[] {
    const alive: string[] = [];
    for (let i = 0; i < tokens.length; i++) {
      const value = this.constants.get(tokens[i + 2])?.join();
      const isDecided = tokens[i] === "if" && tokens[i + 3] === ")" &&
        (value === "true" || value === "false");
      if (!isDecided) {
        alive.push(tokens[i]);
        continue;
      }
      const open = i + 4;
      const close = closing(tokens, open);
      if (value === "true") alive.push(...this.#alive(tokens.slice(open, close + 1)));
      i = close;
      if (tokens[close + 1] !== "else") continue;
      if (tokens[close + 2] !== "{") throw new SyntaxError("else if after a constant condition is not read");
      const end = closing(tokens, close + 2);
      if (value === "false") alive.push(...this.#alive(tokens.slice(close + 2, end + 1)));
      i = end;
    }
    return alive;
  }

  /** All functions that one calls, itself first. */
  reached(name: string, seen = new Set<string>()): Set<string> {
    const found = this.functions.get(name);
    if (!found || seen.has(name)) return seen;
    seen.add(name);
    found.body.forEach((token, i) => {
      if (found.body[i + 1] === "(") this.reached(token, seen);
    });
    return seen;
  }

  /**
   * What a function writes, by itself or through those it calls: names of storage variables, and of its own
   * parameters.
   */
  writesOf(name: string): Set<string> {
    const known = this.#writes.get(name);
    if (known) return known;
    const { params, body } = this.functions.get(name)!;
    const writes = new Set<string>();
    this.#writes.set(name, writes);
    const locals = new Set<string>();
    const pointsTo = new Map<string, string>();
    /** The variable that an expression is a place in, or a pointer to. */
    const rootOf = (tokens: readonly string[]): string | undefined => {
      const root = tokens.find((token) => /^[A-Za-z_]/.test(token));
      return root === undefined ? undefined : pointsTo.get(root) ?? root;
    };
    const write = (tokens: readonly string[]) => {
      const root = rootOf(tokens);
      if (root === undefined || locals.has(root)) return;
      if (this.storage.has(root) || params.includes(root)) writes.add(root);
    };
    body.forEach((token, i) => {
      if (ASSIGNMENT.test(token)) {
        const target = body.slice(startOfStatement(body, i), i);
        if (!/^(let|var|const)$/.test(target[0])) return write(target);
        const declared = target[1];
        if (this.storage.has(declared)) {
          throw new SyntaxError(`${name} has a variable ${declared} of its own`);
        }
        locals.add(declared);
        const root = rootOf(body.slice(i + 1, body.indexOf(";", i)));
        const isPointer = body[i + 1] === "&" || body[i + 2] === ";" && pointsTo.has(body[i + 1]);
        if (isPointer && root !== undefined) pointsTo.set(declared, root);
        return;
      }
      if (body[i + 1] !== "(" || !/^[A-Za-z_]/.test(token)) return;
      const called = this.functions.get(token);
      if (called) { for (const root of this.writesOf(token)) if (this.storage.has(root)) writes.add(root); }
      split(body.slice(i + 2, closing(body, i + 1))).forEach((argument, k) => {
        const isPointer = argument[0] === "&" ||
          argument.length === 1 && (pointsTo.has(argument[0]) || params.includes(argument[0]));
        if (!isPointer) return;
        if (
          called
            ? this.writesOf(token).has(called.params[k])
            : argument[0] === "&" || pointsTo.has(argument[0])
        ) {
          if (!READING.has(token)) write(argument);
        }
      });
    });
    return writes;
  }

  /** Bytes of a type. */
  sizeOf(type: readonly string[]): number {
    const [head, ...rest] = type;
    const alias = this.aliases.get(head);
    if (alias) return this.sizeOf(alias);
    if (head === "array") {
      const [element, count] = splitTemplate(rest);
      return this.sizeOf(element) * this.#valueOf(count);
    }
    if (head === "vec4") return 4 * this.sizeOf(splitTemplate(rest)[0]);
    if (head === "f32" || head === "u32") return 4;
    throw new SyntaxError(`The size of ${type.join(" ")} is not known`);
  }

  #valueOf(tokens: readonly string[]): number {
    if (tokens.includes("*")) {
      const at = tokens.indexOf("*");
      return this.#valueOf(tokens.slice(0, at)) * this.#valueOf(tokens.slice(at + 1));
    }
    const [token] = tokens;
    if (tokens.length !== 1) throw new SyntaxError(`The value of ${tokens.join(" ")} is not known`);
    return this.constants.has(token)
      ? this.#valueOf(this.constants.get(token)!)
      : Number(token.replace("u", ""));
  }
}

/** Arguments of `<…>`; tokens `>>` are read as two. */
function splitTemplate(tokens: readonly string[]): string[][] {
  const inner = tokens.slice(1, tokens.lastIndexOf(">"));
  const parts: string[][] = [[]];
  let depth = 0;
  for (const token of inner) {
    if (token === "<") depth++;
    if (token === ">") depth--;
    if (token === "," && depth === 0) parts.push([]);
    else parts.at(-1)!.push(token);
  }
  return parts;
}

/** Index of the first token of the statement that an assignment at `at` belongs to. */
function startOfStatement(tokens: readonly string[], at: number): number {
  let depth = 0;
  for (let i = at - 1; i >= 0; i--) {
    if (tokens[i] === ")" || tokens[i] === "]") depth++;
    else if ((tokens[i] === "(" || tokens[i] === "[") && --depth < 0) return i + 1;
    else if (depth === 0 && (tokens[i] === ";" || tokens[i] === "{" || tokens[i] === "}")) {
      // `case 1: x = 2;`
      const label = /^(case|default)$/.test(tokens[i + 1]) ? tokens.indexOf(":", i) : i;
      return label + 1;
    }
  }
  return 0;
}

const modules = new Map<string, Module>();

function moduleOf(code: string): Module {
  let module = modules.get(code);
  if (!module) modules.set(code, module = new Module(code));
  return module;
}

/** Slots of group 0 that a kernel's entry point writes, ascending, by its text. */
export function writtenSlots({ code, entryPoint }: Pick<Kernel, "code" | "entryPoint">): number[] {
  const module = moduleOf(code);
  return [...new Set([...module.writesOf(entryPoint)].map((name) => module.storage.get(name)!))].sort();
}

/** Bytes of the workgroup variables that a kernel's entry point uses, by its text. */
export function workgroupBytes({ code, entryPoint }: Pick<Kernel, "code" | "entryPoint">): number {
  const module = moduleOf(code);
  const used = new Set([...module.reached(entryPoint)].flatMap((name) => module.functions.get(name)!.body));
  return [...module.workgroup].reduce(
    (sum, [name, type]) => used.has(name) ? sum + module.sizeOf(type) : sum,
    0,
  );
}

/** What a kernel declares that its text does not do, or the other way round. */
export function wrongDeclarations(
  { name, writes, workgroupBytes: declaredBytes = 0, ...text }: Kernel,
): string[] {
  const [slots, bytes] = [writtenSlots(text), workgroupBytes(text)];
  return [
    ...slots.join() === writes.toSorted().join() ? [] : [`${name} writes ${slots}, and declares ${writes}`],
    ...bytes === declaredBytes
      ? []
      : [`${name} takes ${bytes} bytes of a workgroup, and declares ${declaredBytes}`],
  ];
}
