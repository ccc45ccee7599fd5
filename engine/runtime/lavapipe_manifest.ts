import { basename, delimiter, join } from "node:path";

/** Where Vulkan's loader looks for drivers' manifests on Linux, below the folders that a home adds. */
const MANIFEST_FOLDERS = ["/etc/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/usr/share/vulkan/icd.d"];
/** What names the manifests instead; the first that is set counts. */
const MANIFEST_VARIABLES = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"];
const IS_LAVAPIPE = /^lvp_icd\b.*\.json$/;

/** The system's files, as far as they may be read. */
interface Files {
  /** Names in a folder; none where there is no such folder. */
  list(folder: string): string[];
  /** Text of a file; undefined where there is no such file. */
  read(path: string): string | undefined;
}

/**
 * Revision of Vulkan's headers that Mesa's software adapter was built with, the last number of `api_version` in its driver manifest:
 * 230 of Mesa 22.3, 305 of Mesa 25.0. It grows with Mesa's versions, and can be had before the driver is loaded, which is when the
 * driver reads its settings.
 *
 * @param variable Reads the environment.
 * @returns The largest where there are several manifests; undefined where none is found or can be read.
 */
export function lavapipeRevision(
  variable: (name: string) => string | undefined,
  files: Files = systemFiles,
): number | undefined {
  const revisions = manifests(variable, files).flatMap((path) => revisionOf(files.read(path)) ?? []);
  return revisions.length > 0 ? Math.max(...revisions) : undefined;
}

function manifests(variable: (name: string) => string | undefined, { list }: Files): string[] {
  const named = MANIFEST_VARIABLES.map(variable).find((value) => value);
  const home = variable("HOME");
  const places = named?.split(delimiter) ??
    [...MANIFEST_FOLDERS, ...(home ? [join(home, ".local/share/vulkan/icd.d")] : [])];
  return places.flatMap((place) => [place, ...list(place).map((name) => join(place, name))])
    .filter((path) => IS_LAVAPIPE.test(basename(path)));
}

function revisionOf(manifest: string | undefined): number | undefined {
  const [, revision] = /"api_version"\s*:\s*"\d+\.\d+\.(\d+)"/.exec(manifest ?? "") ?? [];
  return revision === undefined ? undefined : Number(revision);
}

const systemFiles: Files = {
  list: (folder) =>
    unlessRefused(folder, () => Array.from(Deno.readDirSync(folder), ({ name }) => name)) ?? [],
  read: (path) => unlessRefused(path, () => Deno.readTextFileSync(path)),
};

/** What `get` returns; undefined where it throws, or where reading `path` would have to be asked for. */
function unlessRefused<T>(path: string, get: () => T): T | undefined {
  if (Deno.permissions.querySync({ name: "read", path }).state !== "granted") return undefined;
  try {
    return get();
  } catch {
    // No such file, not a folder, or not to be read: the driver is somewhere else.
    return undefined;
  }
}
