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
  const method = METHODS.find((method) => method.id === id);
  if (method?.derivedFrom) {
    throw new InputError(`Cannot name ${id} as a method: it follows from ${method.derivedFrom}`);
  }
  if (method) return method;
  throw new InputError(
    `Unknown method ${JSON.stringify(id)}: expected ${METHOD_IDS.join(", ")}${didYouMean(id, METHOD_IDS)}`,
  );
}

/** @throws {InputError} for a name that is no optimizer. */
export function optimizerById(id: string): Optimizer {
  const optimizer = OPTIMIZERS.find((optimizer) => optimizer.id === id);
  if (optimizer) return optimizer;
  throw new InputError(
    `Unknown optimizer ${JSON.stringify(id)}: expected ${OPTIMIZER_IDS.join(", ")}${
      didYouMean(id, OPTIMIZER_IDS)
    }`,
  );
}

/** @throws {InputError} for unknown names, a method named twice, or two that exclude each other, saying why. */
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
  const missing = methods.find((id) => !engine.implementedMethods.includes(id));
  if (missing !== undefined) {
    throw new InputError(notImplemented("method", missing, engine.implementedMethods));
  }
  if (!engine.implementedOptimizers.includes(optimizer)) {
    throw new InputError(notImplemented("optimizer", optimizer, engine.implementedOptimizers));
  }
}

function notImplemented(kind: string, id: string, implemented: readonly string[]): string {
  const list = implemented.length === 0 ? "none" : implemented.join(", ");
  return `The ${kind} ${id} is not implemented in this version: implemented are ${list}`;
}
