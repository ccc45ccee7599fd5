/**
 * Colours, shapes and hatches, the same on every page. Okabe & Ito's palette ("Color Universal Design",
 * 2008), read by people with any colour vision; no meaning hangs on colour alone. In charts they are CSS
 * variables, so that dark mode and print change them in one place.
 */
import type { Role } from "../../results/record.ts";

export type Hatch = "plain" | "rising" | "falling" | "dots" | "level" | "upright" | "crossed";

/** How a part of a stack is filled, and what it is called. */
export interface PartStyle {
  label: string;
  colour: string;
  hatch: Hatch;
}

/** Name, colour and hatch of each role. The hatches carry the roles on a black-and-white print. */
export const ROLE_STYLE: Record<Role, PartStyle> = {
  weights: { label: "weights", colour: "var(--blue)", hatch: "plain" },
  masterWeights: { label: "master weights", colour: "var(--sky)", hatch: "level" },
  gradients: { label: "gradients", colour: "var(--orange)", hatch: "rising" },
  optimizer: { label: "optimizer", colour: "var(--vermillion)", hatch: "falling" },
  activations: { label: "activations", colour: "var(--green)", hatch: "dots" },
  workspace: { label: "workspace", colour: "var(--purple)", hatch: "crossed" },
  inputs: { label: "inputs", colour: "var(--muted)", hatch: "upright" },
};

/** Parts of what is observed, in the order in which they are stacked. */
export const OBSERVED_STYLE = {
  context: { label: "context", colour: "var(--muted)", hatch: "upright" },
  kernels: { label: "compiled kernels", colour: "var(--sky)", hatch: "level" },
  booked: { label: "booked", colour: "var(--blue)", hatch: "plain" },
  rest: { label: "rest", colour: "var(--orange)", hatch: "rising" },
} as const satisfies Record<string, PartStyle>;

/** One style a series (machines in a comparison, …): colour, shape and dash change together. */
export const SERIES_STYLE = [
  { colour: "var(--blue)", shape: "circle", dash: null },
  { colour: "var(--vermillion)", shape: "diamond", dash: "6 3" },
  { colour: "var(--green)", shape: "square", dash: "2 3" },
  { colour: "var(--purple)", shape: "triangle", dash: "8 3 2 3" },
  { colour: "var(--orange)", shape: "cross", dash: "4 2" },
  { colour: "var(--sky)", shape: "times", dash: "1 3" },
] as const;

const LIGHT = {
  paper: "#ffffff",
  panel: "#f5f6f7",
  ink: "#16191d",
  muted: "#5b6570",
  faint: "#d5dade",
  link: "#005a8e",
  blue: "#0072b2",
  sky: "#56b4e9",
  green: "#009e73",
  orange: "#e69f00",
  vermillion: "#d55e00",
  purple: "#cc79a7",
  yellow: "#f0e442",
  bad: "#b34700",
  raw: "0.22",
};

const DARK: typeof LIGHT = {
  ...LIGHT,
  paper: "#14171a",
  panel: "#1e2327",
  ink: "#e8eaec",
  muted: "#9aa5af",
  faint: "#3a424a",
  link: "#7cc4f5",
  blue: "#3f9bdc",
  sky: "#8fd0f7",
  green: "#1fb98c",
  vermillion: "#ee7b26",
  bad: "#f59a5a",
  raw: "0.42",
};

function variables(colours: typeof LIGHT): string {
  return Object.entries(colours).map(([name, value]) => `--${name}:${value}`).join(";");
}

/** Paper is white: print keeps the light colours whatever the screen prefers. */
export const PALETTE_CSS = `:root{color-scheme:light dark;${variables(LIGHT)}}
@media screen and (prefers-color-scheme:dark){:root{${variables(DARK)}}}`;
