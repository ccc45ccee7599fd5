import { InputError } from "../engine/input_error.ts";
import {
  type Method,
  METHOD_IDS,
  METHODS,
  type Optimizer,
  OPTIMIZER_IDS,
  OPTIMIZERS,
  type RequirableSettings,
} from "../results/methods.ts";
import { didYouMean } from "./did_you_mean.ts";

/** @throws {InputError} for a name that is no method. */
export function methodById(id: string): Method {
  const method = METHODS.find((method) => method.id === id) ?? unknown("method", id, METHOD_IDS);
  if (!method.derivedFrom) return method;
  throw new InputError(`Cannot name ${id} as a method: it follows from ${method.derivedFrom}`);
}

/** @throws {InputError} for a name that is no optimizer. */
export function optimizerById(id: string): Optimizer {
  return OPTIMIZERS.find((optimizer) => optimizer.id === id) ?? unknown("optimizer", id, OPTIMIZER_IDS);
}

function unknown(kind: string, id: string, known: readonly string[]): never {
  const list = `${known.join(", ")}${didYouMean(id, known)}`;
  throw new InputError(`Unknown ${kind} ${JSON.stringify(id)}: expected ${list}`);
}

/**
 * @throws {InputError} for unknown names, a method named twice, or two that exclude each other, saying why.
 */
export function checkMethods(methods: readonly string[], optimizer: string): void {
  for (const [i, id] of methods.entries()) {
    const { excludes } = methodById(id);
    if (methods.indexOf(id) < i) throw new InputError(`Method ${id} is named twice`);
    for (const other of methods.slice(0, i)) {
      if (excludes[other]) throw new InputError(`Cannot combine ${other} with ${id}: ${excludes[other]}`);
    }
  }
  optimizerById(optimizer);
}

/**
 * Checks methods against the settings of the run they are to work in.
 *
 * @param run With more than one gradient accumulation step, accumulation is one of the methods.
 * @throws {InputError} for a setting that a method cannot work with, saying why and which value it needs.
 */
export function checkMethodSettings(
  methods: readonly string[],
  run: RequirableSettings & {
    gradientAccumulationSteps: number;
    optimizer: string;
    methodOptions: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  },
): void {
  for (const id of methods) {
    const { excludes, requires, settings } = methodById(id);
    if (run.gradientAccumulationSteps > 1 && excludes.accumulation) {
      throw new InputError(
        `Cannot combine ${id} with ${run.gradientAccumulationSteps} micro-steps: ${excludes.accumulation}`,
      );
    }
    for (const [name, { value, why }] of Object.entries(requires ?? {})) {
      const given = run[name as keyof RequirableSettings];
      if (given !== value) {
        throw new InputError(`Cannot combine ${id} with ${name} ${given}: ${why}; use ${name} ${value}`);
      }
    }
    for (const [name, { default: usual, optimizer }] of Object.entries(settings)) {
      const given = run.methodOptions[id]?.[name] ?? usual;
      if (optimizer && given !== usual && run.optimizer !== optimizer.id) {
        throw new InputError(
          `Cannot combine ${name} ${given} of ${id} with ${run.optimizer}: ${optimizer.why}`,
        );
      }
    }
  }
}

/** What the engine trains today. */
export interface Implemented {
  readonly implementedMethods: readonly string[];
  readonly implementedOptimizers: readonly string[];
}

/** @throws {InputError} for methods or an optimizer that are known but that this version does not train. */
export function checkImplemented(methods: readonly string[], optimizer: string, engine: Implemented): void {
  const check = (kind: string, ids: readonly string[], implemented: readonly string[]) => {
    const missing = ids.find((id) => !implemented.includes(id));
    if (missing === undefined) return;
    const list = implemented.join(", ") || "none";
    throw new InputError(
      `The ${kind} ${missing} is not implemented in this version: implemented are ${list}`,
    );
  };
  check("method", methods, engine.implementedMethods);
  check("optimizer", [optimizer], engine.implementedOptimizers);
}
