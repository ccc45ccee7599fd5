import type { Value } from "../graph/types.ts";
import { elementCount } from "../graph/types.ts";
import type { BatchInputs } from "../model/inputs.ts";
import type { Session } from "../runtime/session.ts";
import type { BatchArrays } from "./sequences.ts";
import { TokenSorter } from "./tokens.ts";

/**
 * Uploads micro-batches into the graph's inputs, with the orders that embedding
 * gradients need. Allocates once.
 */
export class DataFeed implements BatchArrays {
  readonly tokens: Uint32Array<ArrayBuffer>;
  readonly targets: Int32Array<ArrayBuffer>;
  /** Zeros unless filled; read by models that have token types. */
  readonly tokenTypes: Uint32Array<ArrayBuffer>;
  /**
   * One segment unless filled; `PADDING_SEGMENT` where a sequence is padded. Read
   * by models that have segments.
   */
  readonly segments: Uint32Array<ArrayBuffer>;
  /** 0 to T − 1 in every sequence unless filled; the same numbers are not uploaded twice. */
  readonly positions: Uint32Array<ArrayBuffer>;
  readonly #uploadedPositions: Uint32Array<ArrayBuffer>;
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
    this.targets = new Int32Array(elementCount(inputs.targets));
    this.tokenTypes = new Uint32Array(rows);
    this.segments = new Uint32Array(rows);
    this.#order = new Uint32Array(rows);
    this.#sorter = new TokenSorter({ vocabularySize: Math.max(vocabularySize, sequence), capacity: rows });
    for (const { value, spec } of inputs.constants) session.write(value, spec.data());
    this.positions = Uint32Array.from({ length: rows }, (_, i) => i % sequence);
    this.#uploadedPositions = this.positions.slice();
    this.#write(inputs.positions, inputs.positionOrder, this.positions);
  }

  /** Uploads what the arrays hold. */
  upload(): void {
    const { tokens, tokenOrder, tokenTypes, tokenTypeOrder, segments, targets } = this.#inputs;
    const { positions, positionOrder } = this.#inputs;
    this.#write(tokens, tokenOrder, this.tokens);
    this.#write(tokenTypes, tokenTypeOrder, this.tokenTypes);
    this.#write(segments, undefined, this.segments);
    this.#session.write(targets, this.targets);
    if (this.positions.some((position, i) => position !== this.#uploadedPositions[i])) {
      this.#uploadedPositions.set(this.positions);
      this.#write(positions, positionOrder, this.positions);
    }
  }

  /** Ids and their order, as far as the model reads them. */
  #write(ids: Value | undefined, order: Value | undefined, numbers: Uint32Array<ArrayBuffer>): void {
    if (ids) this.#session.write(ids, numbers);
    if (!order) return;
    this.#sorter.sort(numbers, this.#order);
    this.#session.write(order, this.#order);
  }
}
