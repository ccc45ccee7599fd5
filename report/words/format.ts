/** Numbers as people read them. What cannot be shown (null, NaN, infinite) is a dash. */
import { byteUnit } from "../../results/bytes.ts";
import type { Interval } from "../../results/stats.ts";

export const MISSING = "–";

/** Narrow no-break space: groups digits, keeps a number and its unit on one line. */
const THIN = "\u202f";

/** Fixed decimals, digits in groups of three, a true minus sign. */
export function formatNumber(value: number | null | undefined, decimals = 0): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return MISSING;
  const [whole, fraction] = Math.abs(value).toFixed(decimals).split(".");
  const grouped = whole.length > 4 ? whole.replace(/\B(?=(\d{3})+$)/g, THIN) : whole;
  const digits = fraction ? `${grouped}.${fraction}` : grouped;
  return value < 0 && Number(digits.replaceAll(THIN, "")) !== 0 ? `−${digits}` : digits;
}

/** Decimals that leave `digits` significant ones. */
export function decimalsFor(value: number, digits = 3): number {
  if (!Number.isFinite(value) || value === 0) return 0;
  return Math.min(6, Math.max(0, digits - 1 - Math.floor(Math.log10(Math.abs(value)))));
}

/** Decimals for a figure with noise: one more than the noise carries, never fewer than two digits. */
export function decimalsOfNoise(interval: Interval): number {
  const halfWidth = (interval.high - interval.low) / 2;
  const byNoise = halfWidth > 0 ? decimalsFor(halfWidth, 2) : 6;
  return Math.max(Math.min(byNoise, decimalsFor(interval.estimate, 4)), decimalsFor(interval.estimate, 2));
}

/** Three significant digits. */
export function formatSignificant(value: number | null | undefined, digits = 3): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return MISSING;
  return formatNumber(value, decimalsFor(value, digits));
}

/** `4123` → `4.1 k`: for titles and direct labels. */
export function formatCompact(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return MISSING;
  const size = Math.abs(value);
  const [divisor, suffix] = size >= 999.5e6
    ? [1e9, "G"]
    : size >= 999.5e3
    ? [1e6, "M"]
    : size >= 1e3
    ? [1e3, "k"]
    : [1, ""];
  const text = formatSignificant(value / divisor, suffix && size / divisor < 100 ? 2 : 3);
  return suffix ? `${text}${THIN}${suffix}` : text;
}

/** `1.6×`. */
export function formatRatio(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return MISSING;
  return `${formatNumber(value, value >= 99.5 ? 0 : value >= 9.95 ? 1 : 2)}×`;
}

/**
 * `4120 [4050, 4200]`, as precise as the noise allows; a figure without noise stands alone, and one of a
 * single process says so: `4120 (n = 1)`.
 */
export function formatInterval(interval: Interval | null | undefined, decimals?: number): string {
  if (!interval || !Number.isFinite(interval.estimate)) return MISSING;
  const places = decimals ?? decimalsOfNoise(interval);
  const estimate = formatNumber(interval.estimate, places);
  if (interval.n === 1) return `${estimate} (n = 1)`;
  return interval.low === interval.high ? estimate : `${estimate} ${formatRange(interval, places)}`;
}

/** `[4050, 4200]`. */
export function formatRange(interval: Interval, decimals = decimalsOfNoise(interval)): string {
  return `[${formatNumber(interval.low, decimals)}, ${formatNumber(interval.high, decimals)}]`;
}

/** `2.34 GiB`. */
export function formatBytes(bytes: number | null | undefined): string {
  if (bytes === null || bytes === undefined || !Number.isFinite(bytes)) return MISSING;
  const unit = byteUnit(Math.abs(bytes));
  return `${formatSignificant(bytes / unit.bytes)}${THIN}${unit.name}`;
}

/** `12 ms`, `3.4 s`, `5 min 20 s`. */
export function formatDuration(ms: number | null | undefined): string {
  if (ms === null || ms === undefined || !Number.isFinite(ms)) return MISSING;
  if (ms < 1000) return `${formatSignificant(ms)}${THIN}ms`;
  if (ms < 120_000) return `${formatSignificant(ms / 1000)}${THIN}s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 7200) return `${Math.floor(seconds / 60)}${THIN}min ${seconds % 60}${THIN}s`;
  return `${Math.floor(seconds / 3600)}${THIN}h ${Math.floor(seconds % 3600 / 60)}${THIN}min`;
}

/**
 * Cuts text for a chart; the full text stands in the table beside it. What is left out is behind the first
 * half: configurations of a ladder begin alike and end with what tells them apart.
 */
export function shorten(text: string, length: number): string {
  const characters = [...text];
  if (characters.length <= length) return text;
  const head = Math.ceil((length - 1) / 2);
  const [start, end] = [characters.slice(0, head), characters.slice(characters.length - (length - 1 - head))];
  return `${start.join("").trimEnd()}…${end.join("").trimStart()}`;
}

/** `2nd`, `3rd`, `4th`. */
export function ordinal(n: number): string {
  const isTeen = n % 100 > 10 && n % 100 < 14;
  return `${n}${isTeen ? "th" : ["th", "st", "nd", "rd"][n % 10] ?? "th"}`;
}

/** `1 cell`, `3 cells`. */
export function count(n: number, one: string, many = `${one}s`): string {
  return `${formatNumber(n)} ${n === 1 ? one : many}`;
}

/** `1.6× less memory`, `1.1× more memory`. */
export function memoryText(ratio: number): string {
  return ratio >= 1 ? `${formatRatio(ratio)} less memory` : `${formatRatio(1 / ratio)} more memory`;
}
