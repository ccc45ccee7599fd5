import type { Setting } from "../../suites/methods.ts";

/** What each setting of a method or optimizer is where a suite says nothing. */
export function defaults(settings: Readonly<Record<string, Setting>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(settings).map(([key, setting]) => [key, setting.default]));
}
