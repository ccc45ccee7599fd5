import { METHOD_IDS, METHODS, type MethodSetting, OPTIMIZERS, trainsAdapters } from "../results/methods.ts";
import { methodById } from "./methods.ts";

/** A setting of a method or an optimizer. */
export interface Owned {
  /** The method's or the optimizer's. */
  id: string;
  key: string;
  setting: MethodSetting;
}

/** A flag of settings of methods and optimizers. */
export interface OptionFlag {
  help: { value: string; what: string; default?: string };
  /** What it sets; several of one owner take a value each, in this order. */
  sets: readonly Owned[];
}

/** The flags of all settings of optimizers and methods, in the order of their tables. */
export const OPTION_FLAGS: ReadonlyMap<string, OptionFlag> = optionFlags();

function optionFlags(): Map<string, OptionFlag> {
  const optimizers = OPTIMIZERS.flatMap(({ id, settings }) => owned(id, settings, true));
  const methods = METHODS.filter(({ id }) => METHOD_IDS.includes(id))
    .flatMap(({ id, settings }) => owned(id, settings, false));
  return new Map(
    [...Map.groupBy([...optimizers, ...methods], ({ flag }) => flag)].map(([name, of]) => [name, {
      help: helpOf(of),
      sets: of,
    }]),
  );
}

function owned(id: string, settings: Readonly<Record<string, MethodSetting>>, isOptimizer: boolean) {
  return Object.entries(settings).map(([key, setting]) => ({
    id,
    key,
    setting,
    isOptimizer,
    flag: setting.flag?.name ?? (isOptimizer ? kebab(key) : methodSettingFlag(id, key)),
  }));
}

function helpOf(of: readonly (Owned & { isOptimizer: boolean })[]): OptionFlag["help"] {
  const [{ id, setting, isOptimizer }] = of;
  if (setting.flag) {
    const values = of.filter((one) => one.id === id).map((one) => one.setting.default);
    return { value: setting.flag.value, what: setting.flag.what, default: values.join() };
  }
  return {
    value: setting.schema.type === "boolean" ? "true|false" : "X",
    what: describe(setting.what, setting.schema) + (isOptimizer ? ` (${id})` : ""),
    ...setting.default !== null && { default: String(setting.default) },
  };
}

/** What a setting is, with its choices. */
export function describe(what: string, { enum: choices }: { enum?: readonly unknown[] }): string {
  return choices ? `${what}: ${choices.join(" or ")}` : what;
}

/** `--lora-rank` for every method that trains adapters, `--fp16-loss-scale`, `--qlora-quant-block-size`. */
export function methodSettingFlag(id: string, key: string): string {
  const ofLora = key in methodById("lora").settings && trainsAdapters([id]);
  return `${ofLora ? "lora" : id.startsWith("qlora") ? "qlora" : id}-${kebab(key)}`;
}

/** `weightDecay` → `weight-decay` */
function kebab(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}
