import type { BatchInputs } from "../model/layers.ts";
import type { Session } from "../runtime/session.ts";
import { TokenSorter } from "./tokens.ts";

/** Uploads micro-batches into the graph's inputs, with the orders that embedding gradients need. Allocates once. */
export class DataFeed {
  readonly tokens: Uint32Array<ArrayBuffer>;
  readonly targets: Int32Array<ArrayBuffer>;
  readonly #order: Uint32Array<ArrayBuffer>;
  readonly #sorter: TokenSorter;
  readonly #session: Session;
  readonly #inputs: BatchInputs;

  constructor(
    session: Session,
    inputs: BatchInputs,
    { batch, sequence, vocabularySize }: { batch: number; sequence: number; vocabularySize: number },
  ) {
    const rows = batch * sequence;
    this.#session = session;
    this.#inputs = inputs;
    this.tokens = new Uint32Array(rows);
    this.targets = new Int32Array(rows);
    this.#order = new Uint32Array(rows);
    this.#sorter = new TokenSorter({ vocabularySize: Math.max(vocabularySize, sequence), capacity: rows });
    // Positions restart with every sequence and stay the same for the whole run.
    const positions = Uint32Array.from({ length: rows }, (_, i) => i % sequence);
    session.write(inputs.positions, positions);
    this.#sorter.sort(positions, this.#order);
    session.write(inputs.positionOrder, this.#order);
  }

  /** Uploads what `tokens` and `targets` hold. */
  upload(): void {
    this.#sorter.sort(this.tokens, this.#order);
    this.#session.write(this.#inputs.tokens, this.tokens);
    this.#session.write(this.#inputs.tokenOrder, this.#order);
    this.#session.write(this.#inputs.targets, this.targets);
  }
}
