import { parseArgs } from "node:util";
import { InputError } from "../../engine/input_error.ts";
import { didYouMean } from "../did_you_mean.ts";
import { wrap } from "./wrap.ts";

/** One flag of a command. */
export interface Flag {
  /** What stands for the value in `--help`; a flag without one is a switch. */
  value?: string;
  what: string;
  default?: string;
}

/** What a command takes. */
export interface CommandSpec {
  name: string;
  /** One sentence. */
  what: string;
  /** Words that are not flags, as `RUN...`. */
  positionals?: { name: string; what: string; least: number; most: number };
  flags: Readonly<Record<string, Flag>>;
  examples: readonly string[];
}

/** Parsed arguments. */
export interface Arguments {
  values: Readonly<Record<string, string>>;
  switches: ReadonlySet<string>;
  positionals: readonly string[];
}

const HELP: Flag = { what: "print this help" };

/**
 * Parses arguments; null where help is asked for.
 *
 * @throws {InputError} for unknown flags, missing or surplus values, a flag given
 * twice, too few or too many words.
 */
export function parseFlags(spec: CommandSpec, args: readonly string[]): Arguments | null {
  const flags: Record<string, Flag> = { ...spec.flags, help: HELP };
  const { tokens } = parseArgs({
    args: [...args],
    options: Object.fromEntries(
      Object.entries(flags).map(([name, { value }]) => [
        name,
        { type: value ? "string" as const : "boolean" as const, ...(name === "help" ? { short: "h" } : {}) },
      ]),
    ),
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const values: Record<string, string> = {};
  const switches = new Set<string>();
  const positionals: string[] = [];
  for (const token of tokens) {
    if (token.kind === "positional") positionals.push(token.value);
    if (token.kind !== "option") continue;
    const flag = Object.hasOwn(flags, token.name) ? flags[token.name] : undefined;
    if (!flag) {
      const hint = didYouMean(token.name, Object.keys(flags)).replace("did you mean ", "did you mean --");
      throw new InputError(`Unknown flag ${token.rawName} of ${spec.name}${hint || ", see --help"}`);
    }
    if (token.name in values || switches.has(token.name)) {
      throw new InputError(`Flag --${token.name} is given twice`);
    }
    if (!flag.value) {
      if (token.value !== undefined) {
        throw new InputError(`Flag --${token.name} takes no value, got ${token.value}`);
      }
      switches.add(token.name);
    } else if (token.value === undefined || (!token.inlineValue && token.value.startsWith("--"))) {
      throw new InputError(`Flag --${token.name} needs a value: --${token.name} ${flag.value}`);
    } else values[token.name] = token.value;
  }
  if (switches.has("help")) return null;
  requireCount(spec, positionals);
  return { values, switches, positionals };
}

function requireCount({ name, positionals: spec }: CommandSpec, given: readonly string[]): void {
  const most = spec?.most ?? 0;
  if (given.length > most) {
    const wanted = spec ? `expected ${spec.name}` : "expected flags only";
    throw new InputError(`Unexpected argument ${given[most]} of ${name}: ${wanted}`);
  }
  if (spec && given.length < spec.least) {
    throw new InputError(`Missing ${spec.name} of ${name}: expected ${spec.what}`);
  }
}

/** Help of a command, at most 80 columns wide. */
export function helpText(spec: CommandSpec): string {
  const usage = [`deno task ${spec.name}`, spec.positionals?.name ?? "", "[flags]"].filter((part) => part)
    .join(" ");
  const rows: [string, string][] = [];
  if (spec.positionals) rows.push([spec.positionals.name, spec.positionals.what]);
  for (const [name, flag] of Object.entries({ ...spec.flags, help: HELP })) {
    const given = flag.value ? `--${name} ${flag.value}` : `--${name}`;
    rows.push([given, flag.default === undefined ? flag.what : `${flag.what} (default ${flag.default})`]);
  }
  const column = Math.min(26, Math.max(...rows.map(([name]) => name.length)) + 2);
  const table = rows.flatMap(([name, what]) => {
    const lines = wrap(what, 78 - column);
    const head = name.length + 2 > column ? [`  ${name}`] : [];
    return [
      ...head,
      ...lines.map((line, i) => `  ${(i === 0 && head.length === 0 ? name : "").padEnd(column)}${line}`),
    ];
  });
  const examples = spec.examples.map((example) => `  ${example}`);
  return [`Usage: ${usage}`, "", ...wrap(spec.what, 80), "", ...table, "", "Examples:", ...examples].join(
    "\n",
  );
}
