/** What an `adapter_config.json` says about a LoRA adapter. */
export interface AdapterConfig {
  /** R of modules that no pattern gives another one. */
  readonly rank: number;
  /** The product B·A counts alpha / rank times, or alpha / √rank with rsLoRA: see `loraScale`. */
  readonly alpha: number;
  readonly dropout: number;
  /** Ends of the paths of modules that have an adapter, an expression, or `all-linear`; empty if unsaid. */
  readonly targetModules: readonly string[] | string;
  /** What else says which they are: see `isTargetModule`. */
  readonly excludeModules: readonly string[] | string | null;
  readonly layersToTransform: readonly number[] | number | null;
  readonly layersPattern: readonly string[] | string | null;
  /** Ranks and alphas of some modules, by expressions for ends of their paths: see `moduleRankAndAlpha`. */
  readonly rankPattern: Readonly<Record<string, number>>;
  readonly alphaPattern: Readonly<Record<string, number>>;
  /** Whether the adapted weights are stored as [in, out], as GPT-2's are. A and B are not. */
  readonly fanInFanOut: boolean;
  readonly useRslora: boolean;
  readonly initLoraWeights: boolean | string;
  /**
   * Ends of the paths of modules that are trained and stored whole, as the
   * classifier of a sequence classification.
   */
  readonly modulesToSave: readonly string[];
  readonly baseModel: string | null;
  readonly revision: string | null;
  readonly taskType: string | null;
}
