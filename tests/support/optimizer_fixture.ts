import { openSafetensors } from "../../engine/formats/safetensors.ts";

/** Tensors and settings of an optimizer fixture; see its `generate.py`. */
export interface OptimizerFixture<Settings> {
  /** Settings by run. */
  runs: Record<string, Settings>;
  steps: number;
  tensors: { name: string; shape: readonly number[] }[];
  initial(tensor: string): Float32Array<ArrayBuffer>;
  /** Gradient of one step, counted from 0. */
  gradient(tensor: string, step: number): Float32Array<ArrayBuffer>;
  /** Parameters after one step, counted from 0. */
  after(run: string, tensor: string, step: number): Float32Array<ArrayBuffer>;
  /** Optimizer state after the last step. */
  state(run: string, key: string, tensor: string): Float32Array<ArrayBuffer>;
}

/** Reads `tests/fixtures/<name>`. */
export async function readOptimizerFixture<Settings>(name: string): Promise<OptimizerFixture<Settings>> {
  const folder = `${import.meta.dirname}/../fixtures/${name}/`;
  const runs = JSON.parse(await Deno.readTextFile(`${folder}settings.json`));
  using file = await openSafetensors(`${folder}steps.safetensors`);
  const data = new Map<string, Float32Array<ArrayBuffer>>();
  for (const key of file.names()) data.set(key, await file.read(key));
  const tensors = file.names().filter((key) => key.startsWith("initial."))
    .map((key) => ({ name: key.slice("initial.".length), shape: file.info(key).shape }));
  const get = (key: string) => {
    const array = data.get(key);
    if (!array) throw new RangeError(`Fixture ${name} has no tensor ${key}`);
    return array;
  };
  const ofStep = (key: string, tensor: string, step: number) => {
    const { length } = get(`initial.${tensor}`);
    return get(`${key}.${tensor}`).slice(step * length, (step + 1) * length);
  };
  return {
    runs,
    steps: file.info(`grads.${tensors[0].name}`).shape[0],
    tensors,
    initial: (tensor) => get(`initial.${tensor}`),
    gradient: (tensor, step) => ofStep("grads", tensor, step),
    after: (run, tensor, step) => ofStep(run, tensor, step),
    state: (run, key, tensor) => get(`${run}.${key}.${tensor}`),
  };
}
