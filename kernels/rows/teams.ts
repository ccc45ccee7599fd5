/** How the invocations of a workgroup share out a matrix whose rows they add up, column by column. */
export interface RowTeams {
  /** Invocations side by side, each with columns of its own. */
  lanes: number;
  /** Teams that take the rows in turn. */
  teams: number;
  /** Workgroup memory that adding up takes, with so many f32 to a `vec_t`. */
  workgroupBytes(width: 1 | 4): number;
  /** WGSL that goes before the kernel, after `vec_t`: `WG`, `LANES`, `TEAMS`, `together`. */
  wgsl: string;
}

/**
 * Teams of `lanes` invocations that take the rows in turn, so that enough of them wait for memory at once,
 * and add up what they have in workgroup memory; a single one waits for nothing.
 */
export function rowTeams(lanes: number, teams: number): RowTeams {
  return {
    lanes,
    teams,
    workgroupBytes: (width) => teams > 1 ? lanes * teams * width * 4 : 0,
    wgsl: `
const WG: u32 = ${lanes * teams}u;
const LANES: u32 = ${lanes}u;
const TEAMS: u32 = ${teams}u;
${teams > 1 ? TOGETHER : "fn together(value: vec_t, lane: u32, team: u32) -> vec_t { return value; }"}
`,
  };
}

/**
 * Sum over the teams of what each has for the columns of a lane, in the same order in every run; all get it.
 */
const TOGETHER = `
var<workgroup> teamSums: array<array<vec_t, LANES>, TEAMS>;
fn together(value: vec_t, lane: u32, team: u32) -> vec_t {
  workgroupBarrier(); // every invocation has read the sum before this one
  teamSums[team][lane] = value;
  workgroupBarrier();
  for (var width = TEAMS / 2u; width > 0u; width /= 2u) {
    if (team < width) { teamSums[team][lane] += teamSums[team + width][lane]; }
    workgroupBarrier();
  }
  return teamSums[0][lane];
}`;
