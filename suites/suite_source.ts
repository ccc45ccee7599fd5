import { isMap, isPair, isScalar, LineCounter, type Node, parseDocument } from "yaml";
import { InputError } from "../engine/input_error.ts";

/** Keys and indices from the root of a document to a value. */
export type KeyPath = readonly (string | number)[];

/** Something wrong in a file, and where. */
export interface Issue {
  path: KeyPath;
  /** Points at the key rather than at its value. */
  atKey?: boolean;
  message: string;
}

/** A YAML file that remembers where its values stand. */
export class SuiteSource {
  readonly path: string;
  readonly text: string;
  readonly #lines = new LineCounter();
  readonly #document;

  constructor(path: string, text: string) {
    this.path = path;
    this.text = text;
    this.#document = parseDocument(text, { lineCounter: this.#lines, merge: true, prettyErrors: false });
  }

  /** The file as plain data. @throws {InputError} listing every syntax error with its position. */
  toJson(): unknown {
    const { errors } = this.#document;
    if (errors.length === 0) return this.#document.toJS();
    throw new InputError(
      errors.map((error) => `${this.#position(error.pos[0])}: ${error.message}`).join("\n"),
    );
  }

  /**
   * `file:line:column: phases[0].axes: message`. Falls back to the nearest value that is written in the file.
   */
  describe({ path, atKey = false, message }: Issue): string {
    const name = pathText(path);
    return `${this.#position(this.#offset(path, atKey))}: ${name === "" ? "" : `${name}: `}${message}`;
  }

  #offset(path: KeyPath, atKey: boolean): number {
    for (let length = path.length; length > 0; length--) {
      const key = path[length - 1];
      const parent = this.#document.getIn(path.slice(0, length - 1), true);
      const pair = isMap(parent) &&
        parent.items.find((pair) => isPair(pair) && isScalar(pair.key) && pair.key.value === key);
      const node =
        (pair && (atKey || !pair.value) ? pair.key : this.#document.getIn(path.slice(0, length), true)) as
          | Node
          | undefined;
      if (node?.range) return node.range[0];
    }
    return this.#document.contents?.range?.[0] ?? 0;
  }

  #position(offset: number): string {
    const { line, col } = this.#lines.linePos(offset);
    return `${this.path}:${Math.max(line, 1)}:${Math.max(col, 1)}`;
  }
}

/** `phases[0].axes.methods[2]` */
export function pathText(path: KeyPath): string {
  return path.reduce<string>(
    (text, key) => typeof key === "number" ? `${text}[${key}]` : text === "" ? key : `${text}.${key}`,
    "",
  );
}
