import damerauLevenshtein from "damerau-levenshtein";

/** Fewest insertions, deletions, substitutions and swaps of neighbours that turn one word into the other. */
export function editDistance(from: string, to: string): number {
  return damerauLevenshtein(from, to).steps;
}

/**
 * The known word that was most likely meant, or null where none is close: at most
 * a third of the letters differ.
 */
export function closest(word: string, known: Iterable<string>): string | null {
  let best: { name: string; distance: number } | null = null;
  for (const name of known) {
    const distance = editDistance(normal(word), normal(name));
    const allowed = Math.max(1, Math.floor(Math.max(word.length, name.length) / 3));
    if (distance <= allowed && (best === null || distance < best.distance)) best = { name, distance };
  }
  return best?.name ?? null;
}

/** `"; did you mean fp16?"`, or nothing. */
export function didYouMean(word: string, known: Iterable<string>): string {
  const name = closest(word, known);
  return name === null ? "" : `; did you mean ${name}?`;
}

/**
 * Case and separators are not what tells two names apart: `batch_size` is close
 * to `batchSize` and `batch-size`.
 */
function normal(word: string): string {
  return word.toLowerCase().replaceAll(/[-_]/g, "");
}
