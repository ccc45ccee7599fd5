import type { Binding, Command, Dispatch, TexelCopy } from "../graph/op.ts";
import { overlap, TEXEL_ROW_BYTES } from "../graph/op.ts";

/** A range that lies in the scratch texture as it lies in its buffer, at least until the command that reads it next. */
interface Kept {
  source: Binding;
  /** Where it begins; in the middle of a row where it was read as a part of a larger range. */
  row: number;
  /** Index of that command. */
  nextUse: number;
}

/** How many commands ahead to look for the next that reads a range: what is read later would be in the way of others. */
const LOOK_AHEAD = 32;
/** Programs of more commands are left as they are: a step of one takes hours on a CPU, but its plan should take a second. */
const MOST_COMMANDS = 10_000;

/**
 * Places what dispatches copy into the scratch texture so that a range which is read again soon, and not written before, stays
 * there, and marks the copies that need not be made again (`TexelCopy.kept`). The texture is not larger for it: where there is
 * no room, what is read last has to go.
 *
 * What a kernel writes it declares (`Kernel.writes`). Nothing is kept from one program to another: the host
 * writes between them, and they run in any order.
 *
 * @param rows Rows of the texture, at least as many as each dispatch needs by itself.
 * @returns The commands with other rows in `texels` and in the words of `params` that say where these are.
 */
export function keepTexels(commands: readonly Command[], rows: number): Command[] {
  if (commands.length > MOST_COMMANDS) return [...commands];
  const writes = commands.map(writesOf);
  let kept: Kept[] = [];
  return commands.map((command, index) => {
    if ("clear" in command || !command.texels) return command;
    const copies = place(command.texels, kept, rows, index);
    kept = kept.filter((one) => one.nextUse > index && !copies.some((copy) => rowsOverlap(one, copy)));
    for (const { source, row } of copies) {
      const nextUse = nextUseOf(source, index, commands, writes);
      if (nextUse !== undefined) kept.push({ source, row, nextUse });
    }
    return moved(command, copies);
  });
}

/** Rows of the texture that a dispatch fills as it was lowered. */
export function texelRowsOf({ texels = [] }: Dispatch): number {
  return texels.reduce((most, copy) => Math.max(most, Math.ceil(endOf(copy))), 0);
}

/** The copies of a dispatch in their rows: where they are kept, else where there is room, else where lowering has put them. */
function place(
  copies: readonly TexelCopy[],
  kept: readonly Kept[],
  rows: number,
  index: number,
): TexelCopy[] {
  if (kept.length === 0) return [...copies];
  const found = copies.map(({ source }) =>
    kept.find((one) => one.nextUse === index && contains(one.source, source))
  );
  const others = kept.filter((one) => !found.includes(one)).sort((a, b) => a.nextUse - b.nextUse);
  const taken: TexelCopy[] = found.filter((one) => one !== undefined);
  const result: TexelCopy[] = [];
  for (const [i, { source }] of copies.entries()) {
    const hit = found[i];
    let row = hit && hit.row + (source.byteOffset - hit.source.byteOffset) / TEXEL_ROW_BYTES;
    while (row === undefined) {
      row = freeRow(source.byteLength, [...taken, ...others], rows);
      if (row === undefined && others.pop() === undefined) return [...copies];
    }
    if (!hit) taken.push({ source, row });
    result.push(hit ? { source, row, kept: true } : { source, row });
  }
  return result;
}

/** The command after `index` that copies a range again, if it is near and no command before it writes there. */
function nextUseOf(
  source: Binding,
  index: number,
  commands: readonly Command[],
  writes: readonly Binding[][],
): number | undefined {
  const end = Math.min(commands.length, index + 1 + LOOK_AHEAD);
  for (let i = index; i < end; i++) {
    const command = commands[i];
    if (i > index && "texels" in command && command.texels) {
      for (const copy of command.texels) if (contains(source, copy.source)) return i;
    }
    for (const write of writes[i]) if (overlap(source, write)) return undefined;
  }
  return undefined;
}

/** Ranges that a command writes. */
function writesOf(command: Command): Binding[] {
  if ("clear" in command) return [command.clear];
  return command.kernel.writes.map((slot) => command.bindings[slot]);
}

/** The lowest row at which so many bytes find free ones; undefined where there are none. */
function freeRow(bytes: number, taken: TexelCopy[], rows: number): number | undefined {
  const count = Math.ceil(bytes / TEXEL_ROW_BYTES);
  let row = 0;
  for (const one of taken.sort((a, b) => a.row - b.row)) {
    if (Math.floor(one.row) - row >= count) return row;
    row = Math.max(row, Math.ceil(endOf(one)));
  }
  return rows - row >= count ? row : undefined;
}

/** A dispatch with its copies in other rows. */
function moved(dispatch: Dispatch, copies: TexelCopy[]): Dispatch {
  const rows = copies.map(({ row }, i) => row - dispatch.texels![i].row);
  // Most have not moved, and a large model's tables are long.
  if (rows.every((count) => count === 0)) return { ...dispatch, texels: copies };
  const params = dispatch.params.map((word) => {
    if (!word.texel) return word;
    const { copy, unitsPerRow } = word.texel;
    return { ...word, value: (word.value + rows[copy] * unitsPerRow) >>> 0 };
  });
  return { ...dispatch, params, texels: copies };
}

/** Where a range in the texture ends, in rows. */
function endOf({ source, row }: TexelCopy): number {
  return row + source.byteLength / TEXEL_ROW_BYTES;
}

function contains(whole: Binding, part: Binding): boolean {
  return whole.buffer === part.buffer && whole.byteOffset <= part.byteOffset &&
    part.byteOffset + part.byteLength <= whole.byteOffset + whole.byteLength;
}

function rowsOverlap(a: TexelCopy, b: TexelCopy): boolean {
  return a.row < endOf(b) && b.row < endOf(a);
}
