/** Bytes by role: at the peak of each configuration, and over the dispatches of one step. */
import { ranAlone } from "../../results/rates.ts";
import { type Role, ROLES } from "../../results/record.ts";
import type { Configuration } from "./configuration.ts";

export interface RoleBar {
  label: string;
  id: string;
  bytes: { role: Role; bytes: number }[];
  total: number;
  observed: { low: number; estimate: number; high: number } | null;
  /** Planned only: no cell ran to its end. */
  planned: boolean;
}

/** One bar a configuration that was planned, in order; roles without bytes are left out. */
export function roleBars(configurations: readonly Configuration[]): RoleBar[] {
  return configurations.flatMap(({ label, memory }) => {
    if (!memory) return [];
    const bytes = ROLES.map((role) => ({ role, bytes: memory.byRole[role] })).filter((part) =>
      part.bytes > 0
    );
    return [{
      label,
      id: memory.id,
      bytes,
      total: bytes.reduce((sum, part) => sum + part.bytes, 0),
      observed: memory.observed,
      planned: memory.bookedBytes === null,
    }];
  });
}

export interface TimelinePoint {
  dispatch: number;
  /** Bytes under each role's band, in the order of `roles`: entry r is where band r begins. */
  edges: number[];
}

export interface Timeline {
  label: string;
  id: string;
  roles: Role[];
  points: TimelinePoint[];
  peak: { dispatch: number; bytes: number };
}

/** Stacks the live bytes of a configuration by role; null where the records hold no timeline. */
export function timelineOf(configuration: Configuration): Timeline | null {
  const { memory, label } = configuration;
  if (!memory || memory.timeline.length === 0) return null;
  const sorted = [...memory.timeline].sort((a, b) => a.dispatch - b.dispatch);
  const roles = ROLES.filter((role) => sorted.some(({ bytes }) => bytes[role] > 0));
  const points = sorted.map(({ dispatch, bytes }) => {
    const edges = [0];
    for (const role of roles) edges.push(edges.at(-1)! + bytes[role]);
    return { dispatch, edges };
  });
  const peak = points.reduce((a, b) => b.edges.at(-1)! > a.edges.at(-1)! ? b : a);
  return {
    label,
    id: memory.id,
    roles,
    points,
    peak: { dispatch: peak.dispatch, bytes: peak.edges.at(-1)! },
  };
}

/** What was observed while one cell trained, in parts that add up to it. */
export interface ObservedParts {
  label: string;
  /** The cell. */
  id: string;
  /** The device, open and empty; of a software adapter the runtime, and the data that was read. */
  context: number;
  /** What came with compiling. */
  kernels: number;
  booked: number;
  /** What nothing explains; 0 where training used memory again that compiling had left. */
  rest: number;
  total: number;
}

/** Parts of the first cell of a configuration whose record has them; null where none has. */
export function observedParts({ label, ok }: Configuration): ObservedParts | null {
  for (const cell of ok) {
    const { memory } = cell;
    const [peak, context, compiled, booked] = [
      memory?.observedPeakBytes,
      memory?.observedBaselineBytes,
      memory?.observedKernelBytes,
      memory?.bookedPeakBytes,
    ];
    if (!ranAlone(cell) || peak == null || context == null || compiled == null || booked == null) continue;
    const kernels = Math.min(compiled, Math.max(0, peak - booked));
    const rest = Math.max(0, peak - kernels - booked);
    const parts = { context, kernels, booked, rest };
    return { label, id: cell.id, ...parts, total: context + kernels + booked + rest };
  }
  return null;
}
