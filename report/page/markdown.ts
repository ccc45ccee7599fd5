/** The run in a block that fits a comment: verdict, ten rows at most, command, adapter, versions. */
import type { Analysis } from "../rows/analysis.ts";
import type { Configuration } from "../rows/configuration.ts";
import { equalTokens, heldOutLosses } from "../rows/held_out.ts";
import type { Measured } from "../../results/measured.ts";
import { verdictOf } from "./verdict.ts";
import { formatBytes, formatCompact, formatInterval } from "../words/format.ts";
import { printable } from "../words/text.ts";
import type { Judgement } from "../claims/judge.ts";

const ROWS = 10;

/** Keeps a record's text on its line and inside its table cell; nothing in it can start markup. */
export function escapeMarkdown(text: string): string {
  return printable(text).replace(/\s+/g, " ").replace(/[\\`*_{}[\]<>|~#@!]/g, "\\$&");
}

/** Text as code, in a fence longer than any run of backticks in it. */
function code(text: string): string {
  const plain = printable(text).replace(/\s+/g, " ").trim();
  const longest = Math.max(0, ...[...plain.matchAll(/`+/g)].map(([run]) => run.length));
  const fence = "`".repeat(longest + 1);
  return longest > 0 ? `${fence} ${plain} ${fence}` : `${fence}${plain}${fence}`;
}

/** The configurations worth a row: the ladder, else the batch sweep, else the first ones. */
export function comparedRows({ configurations, sweep }: Analysis): Configuration[] {
  const ladder = configurations.filter(({ shows }) => shows === "method-ladder");
  if (ladder.length > 0) return ladder;
  return sweep ? sweep.rows.map(({ configuration }) => configuration) : configurations;
}

export function markdownBlock(analysis: Analysis, judgement: Judgement): string {
  const { loaded: { run }, highlighted } = analysis;
  const { environment } = run;
  const rows = comparedRows(analysis);
  const tokens = equalTokens(rows);
  const losses = heldOutLosses(rows, tokens);
  // The columns name what they hold, so that rows stay bare.
  const lines = [
    `**${escapeMarkdown(verdictOf(analysis, judgement).sentence)}**`,
    "",
    `| configuration | tokens/s, 95 % | planned = booked peak | held-out loss${
      tokens === null ? "" : ` at ${formatCompact(tokens)} tokens`
    } |`,
    "|---|---:|---:|---:|",
    ...rows.slice(0, ROWS).map((row, i) => markdownRow(row, losses[i], row === highlighted)),
  ];
  if (rows.length > ROWS) lines.push("", `${rows.length - ROWS} more configurations in the report.`);
  const commit = environment.commit
    ? ` (${code(environment.commit.slice(0, 12) + (environment.commit.endsWith("+") ? "+" : ""))})`
    : "";
  lines.push(
    "",
    `${escapeMarkdown(environment.adapter)}, driver ${escapeMarkdown(environment.driver ?? "not known")}, ${
      escapeMarkdown(environment.operatingSystem)
    } · threefold ${escapeMarkdown(environment.threefold)}${commit}, Deno ${
      escapeMarkdown(environment.deno)
    } · ${code(run.command)}`,
  );
  return lines.join("\n");
}

function markdownRow(configuration: Configuration, loss: Measured | null, isHighlighted: boolean): string {
  const { label, ok, cells, tokensPerSecond, memory } = configuration;
  const name = isHighlighted ? `**${escapeMarkdown(label)}**` : escapeMarkdown(label);
  if (ok.length === 0) {
    return `| ${name} | ${cells[0].status} | ${formatBytes(memory?.plannedBytes)} planned | – |`;
  }
  return `| ${name} | ${formatInterval(tokensPerSecond?.interval)} | ${formatBytes(memory?.bookedBytes)} | ${
    formatInterval(loss?.interval, 3)
  } |`;
}
