import type { Card } from "../results/record.ts";
import { output } from "./command_output.ts";
import type { AdapterDescription } from "./engine.ts";

/** PCI's numbers of vendors by the names that WebGPU has for them. */
const VENDORS: Readonly<Record<string, number>> = { nvidia: 0x10de, amd: 0x1002, intel: 0x8086 };

/** PCI's number of an adapter's vendor: wgpu tells it in decimals, Dawn by name. */
export function vendorNumber({ vendor, name }: Pick<AdapterDescription, "vendor" | "name">): number | null {
  if (/^\d+$|^0x[0-9a-f]+$/i.test(vendor)) return Number(vendor);
  const known = Object.keys(VENDORS).find((id) => `${vendor} ${name}`.toLowerCase().includes(id));
  return known === undefined ? null : VENDORS[known];
}

/** A card that the system lists. */
export interface ListedCard extends Card {
  name: string | null;
}

/**
 * The one card that an adapter can be: all that there is, or the only one of its name. WebGPU does not tell
 * which of several it computes on; then the answer is that nobody knows.
 */
export function cardAmong(cards: readonly ListedCard[], name: string): Card {
  const named = cards.length === 1 ? cards : cards.filter((card) => card.name === name);
  if (named.length !== 1) return { pciAddress: null, uuid: null };
  const [{ pciAddress, uuid }] = named;
  return { pciAddress, uuid };
}

/** Rows `name, PCI address, UUID` of nvidia-smi. */
export function parseCards(rows: string): ListedCard[] {
  const told = (text: string | undefined) => text && !/^\[|N\/A/.test(text) ? text : null;
  return rows.split("\n").filter((row) => row.trim() !== "").map((row) => {
    const [name, pciAddress, uuid] = row.split(",").map((cell) => cell.trim());
    return { name: told(name), pciAddress: told(pciAddress), uuid: told(uuid) };
  });
}

/** Which card an adapter is, where the system tells; null for a software adapter, which is none. */
export async function cardOf(adapter: AdapterDescription): Promise<Card | null> {
  if (adapter.software) return null;
  const vendor = vendorNumber(adapter);
  if (vendor === VENDORS.nvidia) {
    const rows = await output("nvidia-smi", ["--query-gpu=name,pci.bus_id,uuid", "--format=csv,noheader"]);
    if (rows !== null) return cardAmong(parseCards(rows), adapter.name);
  }
  return cardAmong(vendor === null ? [] : await drmCards(vendor), adapter.name);
}

/** Graphics cards of a vendor that Linux lists. @param root Where it does. */
export async function drmCards(vendor: number, root = "/sys/class/drm"): Promise<ListedCard[]> {
  const cards = new Map<string, ListedCard>();
  try {
    for await (const { name } of Deno.readDir(root)) {
      if (!/^card\d+$/.test(name)) continue;
      const [number, uevent] = await Promise.all([
        Deno.readTextFile(`${root}/${name}/device/vendor`).catch(() => ""),
        Deno.readTextFile(`${root}/${name}/device/uevent`).catch(() => ""),
      ]);
      const pciAddress = uevent.match(/^PCI_SLOT_NAME=(.+)$/m)?.[1];
      if (Number(number.trim() || NaN) !== vendor || pciAddress === undefined) continue;
      cards.set(pciAddress, { name: null, pciAddress, uuid: null });
    }
  } catch {
    return []; // not Linux, or no such folder
  }
  return [...cards.values()];
}
