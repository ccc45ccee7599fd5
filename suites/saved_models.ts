import { join } from "node:path";

/**
 * Weights that cells of a run leave for later ones: `models/<cell id>/` in the
 * run folder. A folder is written under another name and renamed when it is
 * whole, so that one that is there is complete, whenever the run was killed.
 */
export class SavedModels {
  readonly #folder: string;

  /** @param runFolder Folder of `run.json`. */
  constructor(runFolder: string) {
    this.#folder = join(runFolder, "models");
  }

  /** Where the weights of a cell lie, once they are saved. */
  path(id: string): string {
    return join(this.#folder, id);
  }

  /** Whether the weights of a cell are there, whole. */
  async has(id: string): Promise<boolean> {
    return await Deno.stat(this.path(id)).then(({ isDirectory }) => isDirectory, () => false);
  }

  /** An empty folder for a cell to save to. */
  async begin(id: string): Promise<string> {
    const partial = `${this.path(id)}.partial`;
    await removeIfThere(partial);
    await Deno.mkdir(partial, { recursive: true });
    return partial;
  }

  /**
   * Makes what a cell saved its weights. @returns Size of its adapter's file in
   * bytes; null where it saved none.
   */
  async commit(id: string): Promise<number | null> {
    const partial = `${this.path(id)}.partial`;
    const bytes = await Deno.stat(join(partial, "adapter_model.safetensors")).then(
      ({ size }) => size,
      () => null,
    );
    await removeIfThere(this.path(id));
    await Deno.rename(partial, this.path(id));
    return bytes;
  }

  /** Removes what a cell that failed has saved. */
  async discard(id: string): Promise<void> {
    await removeIfThere(`${this.path(id)}.partial`);
  }

  /** Removes the weights of some cells. */
  async remove(ids: readonly string[]): Promise<void> {
    for (const id of ids) await removeIfThere(this.path(id));
  }

  /** Removes the weights of all cells. */
  async removeAll(): Promise<void> {
    await removeIfThere(this.#folder);
  }
}

async function removeIfThere(path: string): Promise<void> {
  try {
    await Deno.remove(path, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
