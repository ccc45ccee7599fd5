import { deviceTest } from "./with_device.ts";

/**
 * Whether those parts of tests run that train or compile for minutes: THREEFOLD_LONG=1. `deno task test:long`
 * sets it and runs the files that import this one, be it through another.
 */
export const isLongRun = Deno.env.get("THREEFOLD_LONG") === "1";

/**
 * Options of device tests that take minutes on a software adapter with an empty shader cache, for what
 * shorter ones cover in part.
 */
export const longDeviceTest = { ...deviceTest, ignore: !isLongRun };
