/** What a suite file is: `schema.json` (written by `deno task schema`), the check of it, and the types. */
import { type Static, type TSchema, Type } from "typebox";
import { PHASE_KINDS, PHASE_SHOWS, ROUNDS } from "../results/record.ts";
import {
  described,
  description,
  givenSettings,
  RUN_SETTINGS,
  type Settings,
  type SettingTable,
} from "../results/settings.ts";

/** Fields with the values to cross. */
type Axes = Partial<Record<keyof Settings, unknown[]>>;

/**
 * Sizes of adapter a suite can be cut to. No adapter is picked as `gpu-short`: that is for one that is had
 * for half an hour.
 */
export const TIERS = ["software", "gpu-small", "gpu-large", "gpu-short"] as const;
export type Tier = typeof TIERS[number];

const closed = { additionalProperties: false };
const text = (description?: string) => Type.String({ minLength: 1, description });
/** A key that may be left out, a list of one value or more, both. */
const may = Type.Optional;
const list = <T extends TSchema>(items: T, description: string, rest = {}) =>
  may(Type.Array(items, { minItems: 1, ...rest, description }));
const flag = (description: string) => may(Type.Boolean({ description }));
const count = (minimum: number, description: string) => may(Type.Integer({ minimum, description }));

/** One of `$defs`. */
const refer = <T>(name: string, description?: string) =>
  Type.Unsafe<T>({ $ref: `#/$defs/${name}`, description });

/** The declarations of a suite whose cells have the settings of a table. */
function partsOf(table: SettingTable) {
  const given = Object.entries(givenSettings(table));
  const each = (schemaOf: (name: string) => object) =>
    Object.fromEntries(given.map(([name]) => [name, schemaOf(name)]));
  const referTo = <T>(name: string) => refer<T>(`settings/properties/${name}`);

  const settings = {
    type: "object",
    properties: Object.fromEntries(
      given.map(([name, one]) => [name, described(one.given ?? one.schema, description(one))]),
    ),
    ...closed,
  };
  const cell = {
    type: "object",
    required: ["label"],
    ...closed,
    properties: { label: text("What the cell is called in charts."), ...each(referTo) },
  };
  const axes = {
    type: "object",
    minProperties: 1,
    ...closed,
    properties: each((name) => ({ type: "array", minItems: 1, items: referTo(name) })),
    description: "Fields with the values to cross; the first one named varies slowest.",
  };
  /** What phases and their overrides share. */
  const body = {
    description: may(Type.String()),
    defaults: may(refer<Settings>("settings", "Settings of all cells of the phase.")),
    axes: may(refer<Axes>("axes")),
    cells: list(
      refer<Settings & { label: string }>("cell"),
      "Configurations written out, for a ladder; crossed with the axes where there are both.",
    ),
    include: list(
      refer<Settings>("settings"),
      "Keeps only the cells that match one of these in every field named.",
    ),
    exclude: list(
      refer<Settings>("settings"),
      "Drops the cells that match one of these in every field named.",
    ),
    prune: list(
      Type.Object({
        where: refer<Settings>("settings", "Cells that match every field named."),
        because: text("Stands in the records of the cells."),
      }, closed),
      "Cells that are planned but not run, with the rule: their records say so.",
    ),
    seeds: list(referTo<number>("seed"), "Every configuration runs once a seed.", { uniqueItems: true }),
    repeats: count(1, "Times that every configuration and seed runs, interleaved."),
    rounds: may(
      Type.Enum(ROUNDS, {
        description:
          "adaptive: instead of repeats, every configuration runs in two processes, and in three more, once, where their " +
          "interval holds the margin of throughput inside. Default: fixed, as often as repeats says.",
      }),
    ),
    sideBySide: flag(
      "Runs the cells one a core at once, on software adapters: for cells whose times no one asks for.",
    ),
    reuse: flag(
      "A cell with the same configuration as one of an earlier phase is not run again: its record refers " +
        "to that one.",
    ),
    timing: may(
      Type.Object({
        warmupSteps: count(
          0,
          "Steps at the start that timing leaves out at most: as many as the warm-up took.",
        ),
      }, closed),
    ),
    timeoutSeconds: may(
      Type.Number({
        exclusiveMinimum: 0,
        description: "A cell that takes longer is stopped and recorded as timeout.",
      }),
    ),
    divergenceFactor: may(
      Type.Number({
        exclusiveMinimum: 1,
        description:
          "A cell whose mean loss over ten steps exceeds its first loss by this factor has diverged.",
      }),
    ),
    profile: flag("Times every kernel over one more step of each cell, as --profile does for all."),
    rule: may(
      Type.Enum(["fastest-within-seed-spread", "lowest-loss-lower-rate"], {
        description:
          "How a sweep picks: fastest-within-seed-spread of a batch-sweep, lowest-loss-lower-rate of a " +
          "rate-sweep.",
      }),
    ),
    extend: may(
      Type.Integer({
        minimum: 0,
        maximum: 3,
        description:
          "How often a rate sweep goes on beyond an end of an optimizer's grid at which its best rate lies, by one rate " +
          "each time. Default: 0.",
      }),
    ),
    memoryRatios: list(
      Type.Number({ minimum: 1 }),
      "Budgets of an equal-memory phase, as how many times less than the baseline's planned peak. " +
        "Default: 1, 2, 3, 4.",
      { uniqueItems: true },
    ),
    candidates: count(
      1,
      "Combinations that the search of an equal-memory phase runs, of each budget. Default: 3.",
    ),
    smallestChoice: count(
      1,
      "Smallest batch size the rule of a batch sweep may pick; smaller ones are measured all the same: " +
        "with too few sequences there is nothing to accumulate.",
    ),
  };
  const phase = Type.Object({
    name: Type.String({
      pattern: "^[a-z0-9]+(-[a-z0-9]+)*$",
      description: "Stands in records and reports: batch-size, single, ladder, factorial.",
    }),
    kind: Type.Enum(PHASE_KINDS, {
      description:
        "A batch-sweep ends in the decision that later phases take as `effectiveBatchSize: chosen`, a " +
        "rate-sweep in those they take as `learningRate: tuned`; a plan asks the planner alone, without a GPU.",
    }),
    shows: may(
      Type.Enum(PHASE_SHOWS, {
        description:
          "What the report draws and judges from a matrix or plan; without it, its cells stand in the tables " +
          "alone. Sweeps and equal-memory show themselves.",
      }),
    ),
    ...body,
  }, closed);
  const phaseOverride = Type.Object({ skip: flag("Leaves the phase out."), ...body }, closed);
  const changes = {
    defaults: may(refer<Settings>("settings")),
    memoryBudget: may(
      Type.String({
        pattern: "^[0-9]+(\\.[0-9]+)? ?(KiB|MiB|GiB|TiB)$",
        description: "Device memory a cell may plan for, as 24GiB.",
      }),
    ),
    phases: may(Type.Unsafe<Record<string, Static<typeof phaseOverride>>>({
      type: "object",
      additionalProperties: refer("phaseOverride"),
      description: "Changes to phases, by name.",
    })),
  };
  const override = Type.Object(changes, closed);
  const tier = Type.Object({
    ...changes,
    quick: may(refer<Static<typeof override>>("override", "Changes for --quick on this tier.")),
    quickByDefault: flag(
      "Runs as with --quick unless --full is given: for adapters on which the whole takes long.",
    ),
  }, closed);
  const suite = Type.Object({
    title: text(),
    description: may(Type.String()),
    defaults: may(refer<Settings>("settings", "Settings of all cells.")),
    tiers: may(Type.Unsafe<Partial<Record<Tier, Static<typeof tier>>>>({
      type: "object",
      description: "Changes by the size of the adapter found.",
      ...closed,
      properties: Object.fromEntries(TIERS.map((name) => [name, refer("tier")])),
    })),
    quick: may(refer<Static<typeof override>>("override", "Changes for --quick, on every tier.")),
    phases: Type.Array(refer<Static<typeof phase>>("phase"), {
      minItems: 1,
      description: "Run in this order.",
    }),
    phasesFrom: list(
      Type.Object({
        suite: text("Suite file, relative to this one."),
        phases: list(Type.String(), "Names of its phases; all where left out.", { uniqueItems: true }),
      }, closed),
      "Phases of other suites, run after those of this one, with the settings of their own file; " +
        "overrides here change them by name.",
    ),
  }, closed);
  return { suite, parts: { settings, cell, axes, override, tier, phase, phaseOverride } };
}

type Parts = ReturnType<typeof partsOf>;

/** A suite as it is written. */
export type Suite = Static<Parts["suite"]>;
export type Phase = Static<Parts["parts"]["phase"]>;
/** What phases and their overrides share. */
export type PhaseBody = Omit<Static<Parts["parts"]["phaseOverride"]>, "skip">;
export type Override = Static<Parts["parts"]["override"]>;

/** The schema of a suite. */
export function suiteSchema(table: SettingTable = RUN_SETTINGS): Record<string, unknown> {
  const { suite, parts } = partsOf(table);
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title: "threefold suite",
    description:
      "A matrix of training runs in phases. Settings are merged from general to particular: defaults, " +
      "tier, quick, tier's quick, phase, cell, axis.",
    $comment:
      "Written from results/settings.ts and suites/schema.ts by `deno task schema`: not edited by hand.",
    ...suite,
    $defs: parts,
  };
}

/** Where the schema lies. */
export const SUITE_SCHEMA_FILE = new URL("schema.json", import.meta.url);

/** The text of `schema.json`. */
export function suiteSchemaText(): string {
  return `${JSON.stringify(suiteSchema(), null, 2)}\n`;
}

if (import.meta.main) await Deno.writeTextFile(SUITE_SCHEMA_FILE, suiteSchemaText());
