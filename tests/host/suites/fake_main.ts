// The command line of the tests that send signals: as suites/cli/main.ts, with a
// trainer and a report that are quick.
import { main } from "../../../suites/cli/main.ts";
import { fakeServices } from "./fake_services.ts";

Deno.exit(await main(Deno.args, fakeServices((text) => console.log(text), (text) => console.error(text))));
