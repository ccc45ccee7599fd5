import { methodById, trainsAdapters } from "./methods.ts";

/** `--lora-rank` for every method that trains adapters, `--fp16-loss-scale`, `--qlora-quant-block-size`. */
export function methodSettingFlag(id: string, key: string): string {
  const ofLora = key in methodById("lora").settings && trainsAdapters([id]);
  return `${ofLora ? "lora" : id.startsWith("qlora") ? "qlora" : id}-${kebab(key)}`;
}

/** `weightDecay` → `weight-decay` */
export function kebab(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}
