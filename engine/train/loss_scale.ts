/** Where a scaler stands, to continue from. */
export interface LossScaleState {
  scale: number;
  goodUpdates: number;
}

/** Settings of dynamic loss scaling; the defaults are those of torch.amp.GradScaler. */
export interface LossScaleSettings {
  initialScale: number;
  /** Applied updates in a row after which the scale doubles. */
  growthInterval: number;
}

export const DEFAULT_LOSS_SCALE: LossScaleSettings = { initialScale: 65536, growthInterval: 2000 };

const GROWTH_FACTOR = 2;
const BACKOFF_FACTOR = 0.5;
/** torch has no floor, and a scale can decay to zero with every step skipped (pytorch/pytorch#96755). */
const SMALLEST_SCALE = 1;
/** Skipped updates in a row at the smallest scale after which gradients overflow for good. */
const HOPELESS_SKIPS = 20;

/**
 * Dynamic loss scaling (Micikevicius et al. 2018, arXiv:1710.03740), as torch.amp.GradScaler: an overflow
 * halves the scale and its update is skipped; after `growthInterval` good updates in a row the scale doubles.
 */
export class LossScaler {
  readonly #growthInterval: number;
  #scale: number;
  #goodUpdates = 0;
  #skipsAtFloor = 0;

  constructor({ initialScale, growthInterval }: LossScaleSettings = DEFAULT_LOSS_SCALE) {
    this.#scale = initialScale;
    this.#growthInterval = growthInterval;
  }

  /** What the loss of the coming step is multiplied by; constant over its micro-steps. */
  get scale(): number {
    return this.#scale;
  }

  /** Good updates since the scale last changed. */
  get goodUpdates(): number {
    return this.#goodUpdates;
  }

  get state(): LossScaleState {
    return { scale: this.#scale, goodUpdates: this.#goodUpdates };
  }

  /** Continues from a saved state. */
  restore({ scale, goodUpdates }: LossScaleState): void {
    this.#scale = scale;
    this.#goodUpdates = goodUpdates;
  }

  /** Whether the scale can go no lower and gradients still overflow: the run has diverged. */
  get hopeless(): boolean {
    return this.#skipsAtFloor >= HOPELESS_SKIPS;
  }

  /**
   * Takes note of a step. @param overflow Whether any gradient was infinite or
   * NaN, so that the update was skipped.
   */
  update(overflow: boolean): void {
    if (overflow) {
      this.#skipsAtFloor = this.#scale <= SMALLEST_SCALE ? this.#skipsAtFloor + 1 : 0;
      this.#scale = Math.max(this.#scale * BACKOFF_FACTOR, SMALLEST_SCALE);
      this.#goodUpdates = 0;
      return;
    }
    this.#skipsAtFloor = 0;
    if (++this.#goodUpdates < this.#growthInterval) return;
    // In f32, as it is used: an infinite scale would overflow for ever.
    const grown = Math.fround(this.#scale * GROWTH_FACTOR);
    if (Number.isFinite(grown)) this.#scale = grown;
    this.#goodUpdates = 0;
  }
}
