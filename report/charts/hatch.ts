/**
 * Fills of roles: colour and, over it, lines that tell the roles apart in black and white. They are lines,
 * not an SVG pattern, since browsers print every use of a pattern as an image of the whole page.
 */
import type { Role } from "../../results/record.ts";
import type { Selection } from "./d3.ts";
import { addText, type Chart, px, textWidth } from "./frame.ts";
import { type Hatch, type PartStyle, ROLE_STYLE } from "./palette.ts";

export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** Distance between two lines of a hatch, px. */
const PITCH = 6;

/** Path of a hatch within a box; lines stand at multiples of the pitch, so that neighbours go on alike. */
export function hatchPath(hatch: Hatch, { x, y, width, height }: Box): string {
  const [right, bottom] = [x + width, y + height];
  const line = (x1: number, y1: number, x2: number, y2: number) =>
    x1 === x2 && y1 === y2 ? "" : `M${px(x1)},${px(y1)}l${px(x2 - x1)},${px(y2 - y1)}`;
  const level = (pitch = PITCH, indent = (_: number) => 0) =>
    multiples(y, bottom, pitch).map((at, i) => {
      const from = x + indent(i);
      return from < right ? line(from, at, right, at) : "";
    });
  const upright = () => multiples(x, right).map((at) => line(at, y, at, bottom));
  switch (hatch) {
    case "plain":
      return "";
    case "level":
      return level().join("");
    case "upright":
      return upright().join("");
    case "crossed":
      return [...level(), ...upright()].join("");
    case "rising": // x + y = k
      return multiples(x + y, right + bottom).map((k) => {
        const [from, until] = [Math.max(x, k - bottom), Math.min(right, k - y)];
        return line(from, k - from, until, k - until);
      }).join("");
    case "falling": // x - y = k
      return multiples(x - bottom, right - y).map((k) => {
        const [from, until] = [Math.max(x, k + y), Math.min(right, k + bottom)];
        return line(from, from - k, until, until - k);
      }).join("");
    case "dots": // the style sheet breaks these lines into dots
      return level(PITCH / 2, (i) => 1.5 + (i % 2) * PITCH / 2).join("");
  }
}

function multiples(from: number, until: number, pitch = PITCH): number[] {
  const first = Math.floor(from / pitch) + 1;
  const count = Math.max(0, Math.ceil(until / pitch) - first);
  return Array.from({ length: count }, (_, i) => (first + i) * pitch);
}

/** Lays a hatch over its box; `clip` names the clip path of a shape that is not a box. */
export function addHatch(to: Selection, { hatch }: PartStyle, box: Box, { clip, faint = false }: {
  clip?: string;
  faint?: boolean;
} = {}): void {
  const d = hatchPath(hatch, box);
  if (d === "") return;
  const kind = ["hatch", hatch === "dots" && "dotted", faint && "planned"].filter(Boolean).join(" ");
  const path = to.append("path").attr("class", kind).attr("d", d);
  if (clip) path.attr("clip-path", `url(#${clip})`);
}

/** A rectangle in a part's colour and hatch. @returns The rectangle, for a hint. */
export function addPartBox(to: Selection, part: PartStyle, box: Box, { kind = "segment", faint = false }: {
  kind?: string;
  faint?: boolean;
} = {}): Selection {
  const rect = to.append("rect").attr("class", faint ? `${kind} planned` : kind)
    .attr("x", px(box.x)).attr("y", px(box.y)).attr("width", px(box.width)).attr("height", px(box.height))
    .attr("fill", part.colour);
  addHatch(to, part, box, { faint });
  return rect;
}

/** `addPartBox` of a role. */
export function addRoleBox(
  to: Selection,
  role: Role,
  box: Box,
  options?: Parameters<typeof addPartBox>[3],
): Selection {
  return addPartBox(to, ROLE_STYLE[role], box, options);
}

/** Swatches with names, wrapped to the width; returns the height they take. */
export function addKey(chart: Chart, parts: readonly PartStyle[], width: number): number {
  let [x, y] = [0, 0];
  for (const part of parts) {
    const { label } = part;
    const room = 18 + textWidth(label) + 14;
    if (x > 0 && x + room - 14 > width) [x, y] = [0, y + 20];
    addPartBox(chart.svg, part, { x, y: y + 1, width: 13, height: 13 }, { kind: "swatch" });
    addText(chart.svg, label, x + 18, y + 12);
    x += room;
  }
  return y + 20;
}

/** `addKey` of roles. */
export function addRoleKey(chart: Chart, roles: readonly Role[], width: number): number {
  return addKey(chart, roles.map((role) => ROLE_STYLE[role]), width);
}
