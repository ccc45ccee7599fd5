// A page in headless Chromium, driven over the DevTools protocol. Needs nothing but the browser's program.

/** What a page did while it was open. */
export interface PageLog {
  /** Exceptions, console errors and warnings, failed loads, violations of the content policy. */
  problems: string[];
  /** URLs the page asked for, the page itself first. */
  requests: string[];
}

type Message = {
  id?: number;
  method?: string;
  params?: Record<string, unknown>;
  result?: unknown;
  error?: unknown;
};

const FLAGS = [
  "--headless",
  "--no-sandbox", // as root there is no other way
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--disable-dev-shm-usage", // containers give /dev/shm 64 MB
  "--hide-scrollbars",
  "--remote-debugging-port=0",
];

/**
 * How long any one answer of the browser may take, in milliseconds; a cold start
 * on a busy machine takes seconds.
 */
const PATIENCE_MS = 60_000;

/** Path of an installed Chromium or Chrome. @throws {Error} when there is none. */
export async function findChromium(): Promise<string> {
  const names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
  for (const folder of (Deno.env.get("PATH") ?? "").split(":")) {
    for (const name of names) {
      const info = await Deno.stat(`${folder}/${name}`).catch(() => null);
      if (info?.isFile) return `${folder}/${name}`;
    }
  }
  throw new Error(`No browser found: expected one of ${names.join(", ")} on the PATH`);
}

/** A browser process with one page at a time. */
export class Chromium implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #profile: string;
  readonly #socket: WebSocket;
  readonly #answers = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>();
  #session: string | undefined;
  #nextId = 1;
  #log: PageLog = { problems: [], requests: [] };
  #onLoad: (() => void) | undefined;

  private constructor(process: Deno.ChildProcess, profile: string, socket: WebSocket) {
    this.#process = process;
    this.#profile = profile;
    this.#socket = socket;
    socket.onmessage = ({ data }) => this.#receive(JSON.parse(data));
    socket.onclose = () => {
      for (const { reject } of this.#answers.values()) reject(new Error("The browser closed the connection"));
    };
  }

  /**
   * Starts the browser with a profile of its own and opens an empty page.
   *
   * @param flags Besides those of every start.
   */
  static async start(program: string, flags: readonly string[] = []): Promise<Chromium> {
    const profile = await Deno.makeTempDir({ prefix: "threefold-chromium-" });
    const process = new Deno.Command(program, {
      args: [...FLAGS, ...flags, `--user-data-dir=${profile}`, "about:blank"],
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    const socket = new WebSocket(await within(endpointOf(process.stderr), "start of the browser"));
    await within(
      new Promise((resolve, reject) => {
        socket.onopen = resolve;
        socket.onerror = () => reject(new Error(`Cannot connect to the browser at ${socket.url}`));
      }),
      "connection to the browser",
    );
    const browser = new Chromium(process, profile, socket);
    const { targetId } = await browser.send("Target.createTarget", { url: "about:blank" }) as {
      targetId: string;
    };
    const { sessionId } = await browser.send("Target.attachToTarget", { targetId, flatten: true }) as {
      sessionId: string;
    };
    browser.#session = sessionId;
    for (const domain of ["Page", "Runtime", "Log", "Network"]) await browser.send(`${domain}.enable`);
    return browser;
  }

  /** Sends one command of the protocol. @returns Its result. @throws {Error} with the browser's words. */
  send(method: string, params: Record<string, unknown> = {}, patienceMs = PATIENCE_MS): Promise<unknown> {
    const id = this.#nextId++;
    const answer = new Promise<unknown>((resolve, reject) => this.#answers.set(id, { resolve, reject }));
    this.#socket.send(JSON.stringify({ id, method, params, sessionId: this.#session }));
    return within(answer, method, patienceMs);
  }

  /** Loads a page at a width in CSS pixels. @returns A log that goes on filling while the page is open. */
  async open(url: string, { width, dark = false }: { width: number; dark?: boolean }): Promise<PageLog> {
    this.#log = { problems: [], requests: [] };
    await this.send("Emulation.setDeviceMetricsOverride", {
      width,
      height: 900,
      deviceScaleFactor: 1,
      mobile: false,
    });
    await this.send("Emulation.setEmulatedMedia", {
      features: [{ name: "prefers-color-scheme", value: dark ? "dark" : "light" }],
    });
    const loaded = new Promise<void>((resolve) => this.#onLoad = resolve);
    const { errorText } = await this.send("Page.navigate", { url }) as { errorText?: string };
    if (errorText) throw new Error(`Cannot load ${url}: ${errorText}`);
    await within(loaded, `load of ${url}`);
    return this.#log;
  }

  /** Value of an expression in the page; of a promise, what it becomes. @param patienceMs Longest wait. */
  async evaluate<T>(expression: string, patienceMs = PATIENCE_MS): Promise<T> {
    const params = { expression, returnByValue: true, awaitPromise: true };
    const { result, exceptionDetails } = await this.send("Runtime.evaluate", params, patienceMs) as {
      result: { value: T };
      exceptionDetails?: { text: string; exception?: { description?: string } };
    };
    if (exceptionDetails) {
      const { text, exception } = exceptionDetails;
      throw new Error(`Cannot evaluate ${expression}: ${exception?.description ?? text}`);
    }
    return result.value;
  }

  /** PNG of the first `height` CSS pixels of the page. */
  async screenshot(
    { width, height, scale = 1 }: { width: number; height: number; scale?: number },
  ): Promise<Uint8Array> {
    const { data } = await this.send("Page.captureScreenshot", {
      format: "png",
      captureBeyondViewport: true,
      clip: { x: 0, y: 0, width, height, scale },
    }) as { data: string };
    return bytesOf(data);
  }

  /** The open page as it would be printed, colours of its backgrounds included. */
  async pdf(): Promise<Uint8Array> {
    const { data } = await this.send("Page.printToPDF", { printBackground: true }) as { data: string };
    return bytesOf(data);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.close();
    try {
      this.#process.kill("SIGTERM");
    } catch {
      // It has ended by itself.
    }
    await this.#process.status;
    // Helper processes of the browser may still be writing to the profile.
    for (let attempt = 0; attempt < 20; attempt++) {
      try {
        return await Deno.remove(this.#profile, { recursive: true });
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
  }

  #receive({ id, method, params, result, error }: Message): void {
    if (id !== undefined) {
      const answer = this.#answers.get(id);
      this.#answers.delete(id);
      if (error) answer?.reject(new Error(`The browser refused: ${JSON.stringify(error)}`));
      else answer?.resolve(result);
      return;
    }
    // deno-lint-ignore no-explicit-any -- the protocol's events have a shape each
    const event = params as any;
    const { problems, requests } = this.#log;
    switch (method) {
      case "Page.loadEventFired":
        this.#onLoad?.();
        break;
      case "Network.requestWillBeSent":
        requests.push(event.request.url);
        break;
      case "Network.loadingFailed":
        problems.push(`a request failed: ${event.errorText}`);
        break;
      case "Runtime.exceptionThrown": {
        const { text, exception } = event.exceptionDetails;
        problems.push(`exception: ${exception?.description ?? text}`);
        break;
      }
      case "Runtime.consoleAPICalled":
        if (["error", "warning", "assert"].includes(event.type)) {
          const words = event.args.map((argument: { value?: unknown }) => String(argument.value));
          problems.push(`console ${event.type}: ${words.join(" ")}`);
        }
        break;
      case "Log.entryAdded":
        if (["error", "warning"].includes(event.entry.level)) {
          problems.push(`${event.entry.level} (${event.entry.source}): ${event.entry.text}`);
        }
        break;
    }
  }
}

function bytesOf(base64: string): Uint8Array {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

/**
 * Reads standard error until the browser says where it listens, and goes on reading so that it never blocks.
 */
function endpointOf(stderr: ReadableStream<Uint8Array>): Promise<string> {
  return new Promise((resolve, reject) => {
    (async () => {
      let text = "";
      for await (
        const chunk of stderr.pipeThrough(new TextDecoderStream() as TransformStream<Uint8Array, string>)
      ) {
        if (text.length < 1e6) text += chunk;
        const endpoint = text.match(/DevTools listening on (ws:\/\/\S+)/)?.[1];
        if (endpoint) resolve(endpoint);
      }
      reject(new Error(`The browser ended before it listened:\n${text.slice(-2000)}`));
    })().catch(reject);
  });
}

function within<T>(promise: Promise<T>, what: string, patienceMs = PATIENCE_MS): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new Error(`No answer within ${patienceMs / 1000} s: ${what}`)),
      patienceMs,
    );
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
