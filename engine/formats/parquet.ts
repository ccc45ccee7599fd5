import { InputError } from "../input_error.ts";
import type { DataRecord } from "./data_record.ts";

/**
 * The rows of a Parquet file, by npm:hyparquet. Texts are columns that the file
 * declares as such; any other byte array stays bytes.
 *
 * @param path The file, for messages.
 * @param wanted Columns to read; others may be large and are left alone.
 * @throws {InputError} naming the file: broken or cut off, a compression that is not known, no rows.
 */
export async function readParquet(
  bytes: Uint8Array<ArrayBuffer>,
  path: string,
  wanted: readonly string[],
): Promise<DataRecord[]> {
  const { parquetMetadata, parquetReadObjects, parquetSchema } = await import("hyparquet");
  const { compressors } = await import("hyparquet-compressors");
  const file = bytes.buffer;
  // Geometry is no text, and looking for it can go on for ever in a broken file.
  const geoparquet = false;
  const [metadata, columns] = await explaining(path, () => {
    const metadata = parquetMetadata(file, { geoparquet });
    return [metadata, parquetSchema(metadata).children.map(({ element }) => element.name)] as const;
  });
  const present = columns.filter((name) => wanted.includes(name));
  // Without any column hyparquet gives no rows: the first one stands for all, so
  // that errors can name what there is.
  const read = present.length > 0 ? present : columns.slice(0, 1);
  const rows = await explaining(
    path,
    () => parquetReadObjects({ file, metadata, columns: read, compressors, utf8: false, geoparquet }),
  );
  if (rows.length === 0) throw new InputError(`Cannot read ${path}: it has no rows`);
  return rows.map((fields, i) => ({ place: `${path}:row ${i + 1}`, fields, fieldNames: columns }));
}

/** The library throws errors of many kinds at broken files; all of them mean one. */
async function explaining<T>(path: string, read: () => T | Promise<T>): Promise<T> {
  // It reads columns side by side and waits for one after the other: where two fail, nobody waits for the
  // second any more, which would end the process.
  const ignore = (event: PromiseRejectionEvent) => event.preventDefault();
  globalThis.addEventListener("unhandledrejection", ignore);
  try {
    return await read();
  } catch (error) {
    throw new InputError(`Cannot read ${path} as Parquet: ${(error as Error).message}`);
  } finally {
    await new Promise((resolve) => setTimeout(resolve, 0)); // until what is rejected has been told
    globalThis.removeEventListener("unhandledrejection", ignore);
  }
}
