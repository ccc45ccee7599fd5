/** How the rotations of a model are stretched to a context longer than that it was trained on first. */
export type RotaryScaling = Llama3Scaling | LinearScaling | DynamicScaling | YarnScaling | LongScaling;

/** Llama 3's: slow rotations are stretched, fast ones stay, those between are blended. */
export interface Llama3Scaling {
  type: "llama3";
  /** What slow frequencies are divided by. */
  factor: number;
  /** Wavelengths above the original context ÷ this are stretched whole. */
  lowFrequencyFactor: number;
  /** Wavelengths below the original context ÷ this stay as they are. */
  highFrequencyFactor: number;
  originalPositionCount: number;
}

/** All rotations alike. Chen et al. 2023, arXiv:2306.15595. */
export interface LinearScaling {
  type: "linear";
  factor: number;
}

/** Of sequences beyond the model's positions, which no model here takes: up to there it changes nothing. */
export interface DynamicScaling {
  type: "dynamic";
  factor: number;
}

/**
 * YaRN: as Llama 3's, blended by the channel, and with longer queries and keys. Peng et al. 2023,
 * arXiv:2309.00071.
 */
export interface YarnScaling {
  type: "yarn";
  factor: number;
  /** Turns in the original context above which a rotation stays. */
  betaFast: number;
  /** Turns below which it is stretched whole. */
  betaSlow: number;
  /** Whether the blend begins and ends at whole channels. */
  truncate: boolean;
  originalPositionCount: number;
  /** What cosines and sines are multiplied by. */
  attentionFactor: number;
}

/** LongRoPE: a factor for each rotation, by the sequence's length. Ding et al. 2024, arXiv:2402.13753. */
export interface LongScaling {
  type: "longrope";
  /** Of sequences up to the original context. */
  shortFactors: readonly number[];
  /** Of longer ones. */
  longFactors: readonly number[];
  originalPositionCount: number;
  /** What cosines and sines are multiplied by. */
  attentionFactor: number;
}

/** What angles depend on. */
export interface RotarySettings {
  /** Channels of a head that turn, even. */
  headSize: number;
  base: number;
  scaling: RotaryScaling | null;
}

/**
 * Radians per position of each of the D/2 pairs of channels: base^(−2i / D), scaled. Rounded to f32 where
 * transformers rounds: at far positions the difference would turn into one of the angle.
 *
 * @param sequence Positions of the sequences, where the scaling depends on it.
 */
export function rotaryFrequencies(
  { headSize, base, scaling }: RotarySettings,
  sequence = 0,
): Float32Array<ArrayBuffer> {
  const powers = Float32Array.from(
    { length: headSize / 2 },
    (_, i) => base ** Math.fround((2 * i) / headSize),
  );
  const frequencies = powers.map((power) => 1 / power);
  switch (scaling?.type) {
    case undefined:
    case "dynamic":
      return frequencies;
    case "llama3":
      return frequencies.map((frequency) => stretch(frequency, scaling));
    case "linear":
      return frequencies.map((frequency) => frequency / scaling.factor);
    case "yarn":
      return yarnFrequencies(powers, base, scaling);
    case "longrope": {
      const isLong = sequence > scaling.originalPositionCount;
      const factors = isLong ? scaling.longFactors : scaling.shortFactors;
      return powers.map((power, i) => 1 / Math.fround(Math.fround(factors[i]) * power));
    }
    default:
      return scaling satisfies never;
  }
}

function stretch(frequency: number, scaling: Llama3Scaling): number {
  const { factor, lowFrequencyFactor: low, highFrequencyFactor: high, originalPositionCount } = scaling;
  const turns = (originalPositionCount * frequency) / (2 * Math.PI); // in the original context
  if (turns < low) return frequency / factor;
  if (turns > high) return frequency;
  const kept = (turns - low) / (high - low);
  return (1 - kept) * (frequency / factor) + kept * frequency;
}

function yarnFrequencies(
  powers: Float32Array<ArrayBuffer>,
  base: number,
  { factor, betaFast, betaSlow, truncate, originalPositionCount }: YarnScaling,
): Float32Array<ArrayBuffer> {
  const width = 2 * powers.length;
  // The channel that makes so many turns in the original context.
  const channelOf = (turns: number) =>
    (width * Math.log(originalPositionCount / (turns * 2 * Math.PI))) / (2 * Math.log(base));
  const whole = truncate ? Math.floor(channelOf(betaFast)) : channelOf(betaFast);
  const end = truncate ? Math.ceil(channelOf(betaSlow)) : channelOf(betaSlow);
  const low = Math.max(whole, 0);
  const high = Math.min(end, width - 1);
  const reach = high === low ? 0.001 : high - low;
  return powers.map((power, i) => {
    const kept = 1 - Math.min(Math.max((i - low) / reach, 0), 1);
    return (1 / (factor * power)) * (1 - kept) + (1 / power) * kept;
  });
}

/**
 * Cosines, then sines, of the angles of positions 0 … P − 1: `[P, D]`, the table that the op `rope` reads. Su
 * et al. 2021, arXiv:2104.09864.
 */
export function rotaryTable(positionCount: number, settings: RotarySettings): Float32Array<ArrayBuffer> {
  const frequencies = rotaryFrequencies(settings, positionCount);
  const { scaling } = settings;
  const length = scaling && "attentionFactor" in scaling ? scaling.attentionFactor : 1;
  const half = frequencies.length;
  const table = new Float32Array(positionCount * 2 * half);
  for (let position = 0; position < positionCount; position++) {
    for (let i = 0; i < half; i++) {
      const angle = Math.fround(position * frequencies[i]);
      table[position * 2 * half + i] = length * Math.cos(angle);
      table[position * 2 * half + half + i] = length * Math.sin(angle);
    }
  }
  return table;
}
