// The measuring process of the runner's tests.
import { serve } from "../../../suites/measure.ts";
import { fakeEngine } from "./fake_engine.ts";

await serve(fakeEngine);
