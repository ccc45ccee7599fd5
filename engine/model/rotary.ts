/** Llama 3's stretching of slow rotations to a longer context; fast ones stay, those between are blended. */
export interface RotaryScaling {
  /** What slow frequencies are divided by. */
  factor: number;
  /** Wavelengths above the original context ÷ this are stretched whole. */
  lowFrequencyFactor: number;
  /** Wavelengths below the original context ÷ this stay as they are. */
  highFrequencyFactor: number;
  originalPositionCount: number;
}

/** What angles depend on. */
export interface RotarySettings {
  /** D, even. */
  headSize: number;
  base: number;
  scaling: RotaryScaling | null;
}

/**
 * Radians per position of each of the D/2 pairs of channels: base^(−2i / D), scaled. Rounded to f32 where
 * transformers rounds: at far positions the difference would turn into one of the angle.
 */
export function rotaryFrequencies({ headSize, base, scaling }: RotarySettings): Float32Array<ArrayBuffer> {
  const frequencies = Float32Array.from(
    { length: headSize / 2 },
    (_, i) => 1 / Math.fround(base ** Math.fround((2 * i) / headSize)),
  );
  return scaling ? frequencies.map((frequency) => stretch(frequency, scaling)) : frequencies;
}

function stretch(frequency: number, scaling: RotaryScaling): number {
  const { factor, lowFrequencyFactor: low, highFrequencyFactor: high, originalPositionCount } = scaling;
  const turns = (originalPositionCount * frequency) / (2 * Math.PI); // in the original context
  if (turns < low) return frequency / factor;
  if (turns > high) return frequency;
  const kept = (turns - low) / (high - low);
  return (1 - kept) * (frequency / factor) + kept * frequency;
}

/**
 * Cosines, then sines, of the angles of positions 0 … P − 1: `[P, D]`, the table that the op `rope` reads. Su
 * et al. 2021, arXiv:2104.09864.
 */
export function rotaryTable(positionCount: number, settings: RotarySettings): Float32Array<ArrayBuffer> {
  const frequencies = rotaryFrequencies(settings);
  const half = frequencies.length;
  const table = new Float32Array(positionCount * 2 * half);
  for (let position = 0; position < positionCount; position++) {
    for (let i = 0; i < half; i++) {
      const angle = Math.fround(position * frequencies[i]);
      table[position * 2 * half + i] = Math.cos(angle);
      table[position * 2 * half + half + i] = Math.sin(angle);
    }
  }
  return table;
}
