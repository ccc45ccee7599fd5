/** Units of bytes, and bytes as a command line reads and writes them; pages have their own digits. */
import { InputError } from "../engine/input_error.ts";

export const MIB = 2 ** 20;
export const GIB = 2 ** 30;
/** The gigabyte of vendors, and of the paper. */
export const GB = 1e9;

const UNITS: Readonly<Record<string, number>> = { B: 1, KiB: 2 ** 10, MiB: MIB, GiB: GIB, TiB: 2 ** 40 };

/** A binary unit for a whole chart, column or text, fit for its largest value. */
export function byteUnit(largestBytes: number): { name: string; bytes: number } {
  const name = largestBytes >= GIB ? "GiB" : largestBytes >= MIB ? "MiB" : "KiB";
  return { name, bytes: UNITS[name] };
}

/** `24GiB` in bytes. @throws {InputError} for anything but a number and a binary unit. */
export function parseBytes(text: string): number {
  const [, amount, unit] = text.match(/^(\d+(?:\.\d+)?) ?(B|KiB|MiB|GiB|TiB)$/) ?? [];
  if (unit && Number(amount) > 0) return Math.round(Number(amount) * UNITS[unit]);
  throw new InputError(
    `Cannot read ${JSON.stringify(text)} as bytes: expected a number with a unit, as 512MiB or 24GiB`,
  );
}

/** `1.50 GiB` */
export function bytesText(bytes: number): string {
  const unit = byteUnit(bytes);
  const amount = bytes / unit.bytes;
  return `${amount.toFixed(amount < 10 ? 2 : amount < 100 ? 1 : 0)} ${unit.name}`;
}
