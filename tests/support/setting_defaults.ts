import type { MethodSetting } from "../../results/methods.ts";

/** What each setting of a method or optimizer is where a suite says nothing. */
export function defaults(settings: Readonly<Record<string, MethodSetting>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(settings).map(([key, setting]) => [key, setting.default]));
}
