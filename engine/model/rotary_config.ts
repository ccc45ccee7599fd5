import type { ConfigReader } from "./config_reader.ts";
import type { RotaryScaling } from "./rotary.ts";

/** What config.json says of rotations. */
export interface RotaryConfig {
  /** Base of the rotation frequencies. */
  rotaryBase: number;
  rotaryScaling: RotaryScaling | null;
}

/** How families differ in it. */
export interface RotaryReading {
  /** Base where config.json has none. */
  base?: number;
  /** Types of rotations that the family has, by their names in config.json; Phi-3 has older names too. */
  types?: Readonly<Record<string, RotaryScaling["type"] | "default">>;
  /** Channels of a head that turn, which LongRoPE has factors for. */
  width: number;
  /** Longest sequence. */
  positionCount: number;
  /** Longest sequence before the scaling, where the family has one whatever `rope_scaling` says. */
  originalPositionCount?: number;
}

/** The types by the name that transformers has for them. */
const TYPES = {
  default: "default",
  linear: "linear",
  dynamic: "dynamic",
  yarn: "yarn",
  longrope: "longrope",
  llama3: "llama3",
} as const;

/** Fields of each type, besides base and name. */
const FIELDS: Readonly<Record<RotaryScaling["type"], readonly string[]>> = {
  llama3: ["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"],
  linear: ["factor"],
  dynamic: ["factor"],
  yarn: [
    "factor",
    "beta_fast",
    "beta_slow",
    "mscale",
    "mscale_all_dim",
    "truncate",
    "attention_factor",
    "original_max_position_embeddings",
  ],
  longrope: [
    "factor",
    "short_factor",
    "long_factor",
    "attention_factor",
    "original_max_position_embeddings",
  ],
};

/**
 * transformers 5 has one object `rope_parameters`, transformers 4 `rope_theta` beside `rope_scaling`.
 *
 * @throws {InputError} for rotations that are not known here.
 */
export function readRotary(read: ConfigReader, reading: RotaryReading): RotaryConfig {
  const parameters = read.object("rope_parameters");
  const scaling = read.object("rope_scaling");
  if (parameters && scaling) throw read.refusal("rope_scaling", "none beside rope_parameters");
  const source = parameters ?? scaling;
  const rotaryBase = parameters?.has("rope_theta")
    ? parameters.positiveNumber("rope_theta")
    : read.positiveNumber("rope_theta", reading.base ?? 10000);
  if (read.has("rope_theta") && read.positiveNumber("rope_theta") !== rotaryBase) {
    throw read.refusal("rope_theta", `${rotaryBase}, as rope_parameters has it`);
  }
  return { rotaryBase, rotaryScaling: source && readScaling(source, read, reading) };
}

/**
 * The share of a head's channels that turn.
 *
 * @param whole Whether all must: the family's models turn all of them, whatever the field says.
 */
export function readRotaryShare(read: ConfigReader, { whole }: { whole: boolean }): number {
  const objects = [read.object("rope_parameters"), read.object("rope_scaling")];
  const [source = read] = objects.filter((object) => object?.has("partial_rotary_factor")) as ConfigReader[];
  for (const one of [source, read]) if (whole) one.oneOf("partial_rotary_factor", [1], 1);
  const share = source.positiveNumber("partial_rotary_factor", 1);
  if (share <= 1) return share;
  throw source.refusal("partial_rotary_factor", "at most 1");
}

/** @param source The object that describes the scaling. @param read The whole config.json. */
export function readScaling(
  source: ConfigReader,
  read: ConfigReader,
  { types = TYPES, width, positionCount, originalPositionCount: own }: RotaryReading,
): RotaryScaling | null {
  // Early versions of transformers 4 called it `type`.
  const field = source.has("rope_type") || !source.has("type") ? "rope_type" : "type";
  const type = types[source.oneOf(field, Object.keys(types), "default")];
  const fields = type === "default" ? [] : FIELDS[type];
  source.only(["rope_theta", "rope_type", "type", "partial_rotary_factor", ...fields]);
  const originalPositionCount = () =>
    own !== undefined
      ? own
      : read.has("original_max_position_embeddings")
      ? read.positiveInteger("original_max_position_embeddings")
      : source.positiveInteger("original_max_position_embeddings", positionCount);
  const factorByDefault = () => source.has("factor") ? undefined : positionCount / originalPositionCount();
  switch (type) {
    case "default":
      return null;
    case "linear":
    case "dynamic":
      return { type, factor: source.positiveNumber("factor") };
    case "llama3": {
      const scaling = {
        type,
        factor: source.positiveNumber("factor"),
        lowFrequencyFactor: source.positiveNumber("low_freq_factor"),
        highFrequencyFactor: source.positiveNumber("high_freq_factor"),
        originalPositionCount: originalPositionCount(),
      };
      if (scaling.highFrequencyFactor > scaling.lowFrequencyFactor) return scaling;
      throw source.refusal("high_freq_factor", `more than low_freq_factor, ${scaling.lowFrequencyFactor}`);
    }
    case "yarn": {
      const factor = source.positiveNumber("factor", factorByDefault());
      return {
        type,
        factor,
        betaFast: source.positiveNumber("beta_fast", 32),
        betaSlow: source.positiveNumber("beta_slow", 1),
        truncate: source.oneOf("truncate", [true, false], true),
        originalPositionCount: originalPositionCount(),
        attentionFactor: yarnAttentionFactor(source, factor),
      };
    }
    case "longrope": {
      const factor = source.positiveNumber("factor", factorByDefault());
      const originalCount = originalPositionCount();
      const byFactor = factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(originalCount));
      return {
        type,
        shortFactors: source.positiveNumbers("short_factor", width / 2),
        longFactors: source.positiveNumbers("long_factor", width / 2),
        originalPositionCount: originalCount,
        attentionFactor: source.positiveNumber("attention_factor", byFactor),
      };
    }
    default:
      return type satisfies never;
  }
}

function yarnAttentionFactor(source: ConfigReader, factor: number): number {
  const scaleOf = (scale: number) => factor <= 1 ? 1 : 0.1 * scale * Math.log(factor) + 1;
  const both = source.number("mscale", 0) !== 0 && source.number("mscale_all_dim", 0) !== 0;
  const byDefault = both
    ? scaleOf(source.number("mscale")) / scaleOf(source.number("mscale_all_dim"))
    : scaleOf(1);
  return source.positiveNumber("attention_factor", byDefault);
}

/** The fields of config.json, in the form of transformers 4, which version 5 reads as well. */
export function rotaryJson({ rotaryBase, rotaryScaling }: RotaryConfig): Record<string, unknown> {
  return { rope_theta: rotaryBase, rope_scaling: rotaryScaling && scalingJson(rotaryScaling) };
}

/** A scaling as `rope_scaling` has it. */
export function scalingJson(scaling: RotaryScaling): Record<string, unknown> {
  switch (scaling.type) {
    case "linear":
    case "dynamic":
      return { rope_type: scaling.type, factor: scaling.factor };
    case "llama3":
      return {
        rope_type: "llama3",
        factor: scaling.factor,
        low_freq_factor: scaling.lowFrequencyFactor,
        high_freq_factor: scaling.highFrequencyFactor,
        original_max_position_embeddings: scaling.originalPositionCount,
      };
    case "yarn":
      return {
        rope_type: "yarn",
        factor: scaling.factor,
        beta_fast: scaling.betaFast,
        beta_slow: scaling.betaSlow,
        truncate: scaling.truncate,
        attention_factor: scaling.attentionFactor,
        original_max_position_embeddings: scaling.originalPositionCount,
      };
    case "longrope":
      return {
        rope_type: "longrope",
        short_factor: scaling.shortFactors,
        long_factor: scaling.longFactors,
        attention_factor: scaling.attentionFactor,
        original_max_position_embeddings: scaling.originalPositionCount,
      };
    default:
      return scaling satisfies never;
  }
}
