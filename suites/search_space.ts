/** The combinations that an equal-memory phase searches where it writes out none of its own. */
import { METHODS, OPTIMIZERS } from "../results/methods.ts";
import type { Settings } from "../results/settings.ts";

/** Methods and optimizer of a combination; what it is called. */
export interface Combination {
  label: string;
  settings: Pick<Settings, "methods" | "methodOptions" | "optimizer">;
}

/** What memory methods are called in labels. */
const named = (id: string) => METHODS.find((method) => method.id === id)!.label;

/** Checkpointing and its kinds. */
const CHECKPOINTING: readonly { label: string; options: Record<string, unknown> | null }[] = [
  { label: "", options: null },
  { label: named("checkpoint"), options: {} },
  { label: `${named("checkpoint")} every two blocks`, options: { blocksPerCheckpoint: 2 } },
  { label: `selective ${named("checkpoint")}`, options: { selective: true } },
];

const SWITCHED = ["fp16", "flash"];
/** Those that are said to keep AdamW's quality, AdamW first. */
const SEARCHED_OPTIMIZERS = ["adamw", ...OPTIMIZERS.filter(({ isLean }) => isLean).map(({ id }) => id)];

/**
 * Every combination of checkpointing, mixed precision, flash attention and optimizer that trains all
 * parameters, the baseline first, but for selective checkpointing with flash attention, which never keeps
 * what that would drop. How the batch is split is left to the search: accumulation follows from it.
 */
export function searchSpace(): Combination[] {
  const switched = SWITCHED.reduce<string[][]>((sets, id) => [...sets, ...sets.map((set) => [...set, id])], [
    [],
  ]);
  return SEARCHED_OPTIMIZERS.flatMap((optimizer) =>
    CHECKPOINTING.flatMap(({ label, options }) =>
      switched.filter((others) => !(options?.selective && others.includes("flash"))).map(
        (others): Combination => {
          const parts = [label, ...others.map(named), optimizer === "adamw" ? "" : optimizerLabel(optimizer)];
          return {
            label: parts.filter((part) => part !== "").join(" + ") || "baseline",
            settings: {
              methods: [...options === null ? [] : ["checkpoint"], ...others],
              ...options !== null && { methodOptions: { checkpoint: options } },
              optimizer,
            },
          };
        },
      )
    )
  );
}

function optimizerLabel(optimizer: string): string {
  return OPTIMIZERS.find(({ id }) => id === optimizer)!.label;
}
