/**
 * Models of the hub that a suite names by a branch or a tag. They are looked up once, when a run begins;
 * cells go by the commit that was found, as a branch could move between two of them, and whoever goes on with
 * the run is held to commit and files.
 */
import { InputError } from "../engine/input_error.ts";
import { hubNameKind, type ModelFile } from "../mod.ts";
import type { HubModel } from "../results/record.ts";
import type { Settings } from "../results/settings.ts";
import type { TieredPhase, TieredSuite } from "./suite.ts";

/** What finds a model. */
export interface HubAccess {
  /** @returns `owner/name@commit`. @throws {InputError} where it cannot be had. */
  pin(model: string): Promise<string>;
  /** What a pinned model is made of on this machine. */
  files(model: string): Promise<ModelFile[]>;
}

/** A suite whose models are pinned. */
export interface PinnedSuite {
  tiered: TieredSuite;
  /** What was found, for `run.json`. */
  models: HubModel[];
}

/** Names of models by branch or tag in phases that are wanted, in their order. */
export function movingModels({ phases }: TieredSuite, isWanted: (phase: string) => boolean): string[] {
  const names = phases.filter(({ name }) => isWanted(name)).flatMap((phase) => modelsOf(phase));
  return [...new Set(names)].filter((model) => hubNameKind(model) === "moving");
}

/**
 * Pins the models that a run needs. Phases whose model cannot be had are left out, and so are those that
 * start from their weights: the rest of a suite runs on a machine without a network too.
 *
 * @param previous What the run that is gone on with found.
 * @throws {InputError} where a file is not what that run had.
 */
export async function pinModels(
  tiered: TieredSuite,
  { hub, previous, isWanted }: {
    hub: HubAccess;
    previous: readonly HubModel[];
    isWanted(phase: string): boolean;
  },
): Promise<PinnedSuite> {
  const models: HubModel[] = [...previous.filter(({ model }) => model !== null)];
  for (const name of movingModels(tiered, isWanted)) {
    const known = models.find((one) => one.name === name);
    if (known) await requireSameFiles(known, hub);
    else models.push(await find(name, hub));
  }
  return { tiered: withModels(tiered, models), models };
}

/** The suite with models as they were found, without the phases that need one which was not. */
export function withModels(tiered: TieredSuite, models: readonly HubModel[]): TieredSuite {
  const found = new Map(models.flatMap(({ name, model }) => model === null ? [] : [[name, model] as const]));
  const missing = models.filter(({ model }) => model === null).map(({ name }) => name);
  const phases = withoutStartsIn(
    tiered.phases,
    tiered.phases.filter((phase) => modelsOf(phase).some((model) => missing.includes(model))),
  );
  return { ...tiered, phases: phases.map((phase) => replaced(phase, found)) };
}

async function find(name: string, hub: HubAccess): Promise<HubModel> {
  try {
    const model = await hub.pin(name);
    return { name, model, files: await hub.files(model), because: null };
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    return { name, model: null, files: [], because: error.message };
  }
}

async function requireSameFiles({ name, model, files }: HubModel, hub: HubAccess): Promise<void> {
  await hub.pin(model!);
  const here = new Map((await hub.files(model!)).map((one) => [one.file, one]));
  const other = files.find(({ file, sha256 }) => here.get(file)?.sha256 !== sha256);
  if (other === undefined) return;
  throw new InputError(
    `Cannot go on with ${name}: ${other.file} of ${model} has SHA-256 ${
      here.get(other.file)?.sha256 ?? "none"
    } here, ` +
      `expected ${other.sha256}, as the run has it`,
  );
}

/** Phases without some of them and those that start from their cells, whichever way round they stand. */
function withoutStartsIn(phases: readonly TieredPhase[], out: readonly TieredPhase[]): TieredPhase[] {
  const gone = new Set(out.map(({ name }) => name));
  const left = phases.filter(({ name }) => !gone.has(name));
  const next = left.filter((phase) =>
    settingsOf(phase).some(({ startFrom }) =>
      typeof startFrom === "object" && startFrom !== null && gone.has(startFrom.phase)
    )
  );
  return next.length === 0 ? left : withoutStartsIn(left, next);
}

function settingsOf({ defaults, cells = [], axes = {} }: TieredPhase): Settings[] {
  const ofAxes = Object.entries(axes).flatMap(([name, values = []]) =>
    values.map((value) => ({ [name]: value }) as Settings)
  );
  return [defaults, ...cells, ...ofAxes];
}

const modelsOf = (phase: TieredPhase) => settingsOf(phase).flatMap(({ model }) => model ?? []);

/** The phase with models by their pinned names. */
function replaced(phase: TieredPhase, pinned: ReadonlyMap<string, string>): TieredPhase {
  if (!modelsOf(phase).some((model) => pinned.has(model))) return phase;
  const of = <S extends Settings>(settings: S): S =>
    settings.model !== undefined && pinned.has(settings.model)
      ? { ...settings, model: pinned.get(settings.model)! }
      : settings;
  const { axes = {}, defaults, cells, include, exclude, prune } = phase;
  return {
    ...phase,
    defaults: of(defaults),
    ...cells && { cells: cells.map(of) },
    ...include && { include: include.map(of) },
    ...exclude && { exclude: exclude.map(of) },
    ...prune && { prune: prune.map((one) => ({ ...one, where: of(one.where) })) },
    axes: axes.model
      ? { ...axes, model: axes.model.map((model) => pinned.get(String(model)) ?? model) }
      : axes,
  };
}
