import type { Graph, Node, Phase } from "./graph.ts";
import type { OpCaller, OpDefinition } from "./op.ts";
import type { Role, TensorType, Value } from "./types.ts";

/** Persistent values by name, shared by the graphs of one step. */
export class PersistentValues {
  readonly #byName = new Map<string, Value>();
  #nextId = 0;

  /** Ids are unique over all graphs of a step. */
  nextId(): number {
    return this.#nextId++;
  }

  /** Declares a persistent value. @throws {TypeError} if the name is taken. */
  declare(name: string, type: TensorType, role: Role): Value {
    if (this.#byName.has(name)) throw new TypeError(`Cannot declare persistent value "${name}" twice`);
    const value: Value = {
      id: this.nextId(),
      name,
      shape: type.shape,
      dtype: type.dtype,
      role,
      persistent: true,
    };
    this.#byName.set(name, value);
    return value;
  }

  get(name: string): Value | undefined {
    return this.#byName.get(name);
  }

  /** In order of declaration, which is the order of their storage. */
  all(): Value[] {
    return [...this.#byName.values()];
  }

  /** Forgets a value that a pass has made superfluous. */
  remove(name: string): void {
    this.#byName.delete(name);
  }
}

/** What a transient value is booked as where its op does not say. */
const DEFAULT_ROLE: Readonly<Record<Phase, Role>> = {
  forward: "activations",
  recompute: "activations",
  backward: "workspace",
  update: "workspace",
};

/** Adds nodes to a graph: runs shape inference and keeps the scope path. */
export class GraphBuilder implements OpCaller {
  readonly persistents: PersistentValues;
  readonly nodes: Node[] = [];
  phase: Phase = "forward";
  #scope: string[] = [];

  constructor(persistents: PersistentValues = new PersistentValues()) {
    this.persistents = persistents;
  }

  /** Runs `body` with `name` appended to the scope path. */
  scope<T>(name: string, body: () => T): T {
    this.#scope.push(name);
    try {
      return body();
    } finally {
      this.#scope.pop();
    }
  }

  /** Runs `body` with exactly this scope path; passes use it to keep new nodes beside the ones they serve. */
  atScope<T>(path: string, body: () => T): T {
    const saved = this.#scope;
    this.#scope = path === "" ? [] : [path];
    try {
      return body();
    } finally {
      this.#scope = saved;
    }
  }

  get scopePath(): string {
    return this.#scope.join(".");
  }

  /** Appends `op(inputs)` and returns its outputs. @throws {ShapeError} if the types do not fit. */
  call<Attrs>(op: OpDefinition<Attrs>, inputs: readonly Value[], attrs: Attrs): Value[] {
    const types = op.inferTypes(inputs, attrs);
    const outputs = types.map((type, i): Value => ({
      id: this.persistents.nextId(),
      name: type.name ?? (types.length > 1 ? `${op.name}_${i}` : op.name),
      shape: type.shape,
      dtype: type.dtype,
      role: type.aliasOfInput === undefined
        ? type.role ?? DEFAULT_ROLE[this.phase]
        : inputs[type.aliasOfInput].role,
      persistent: type.aliasOfInput === undefined ? false : inputs[type.aliasOfInput].persistent,
      ...(type.aliasOfInput === undefined ? {} : { aliasOf: inputs[type.aliasOfInput] }),
    }));
    this.nodes.push({ op, inputs: [...inputs], outputs, attrs, scope: this.scopePath, phase: this.phase });
    return outputs;
  }

  /** Appends a node made elsewhere (a pass that copies). */
  push(node: Node): void {
    this.nodes.push(node);
  }

  finish(name: string, outputs: readonly Value[]): Graph {
    return { name, nodes: [...this.nodes], outputs: [...outputs] };
  }
}
