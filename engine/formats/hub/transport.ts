import { InputError } from "../../input_error.ts";
import { ATTEMPTS, type HubSettings } from "./settings.ts";

/** What the hub answered, with the address that answered. */
export interface HubResponse {
  readonly response: Response;
  readonly url: string;
}

/** A request that may succeed when it is made again: a cut connection, a silent or an overworked server. */
export class TransientError extends Error {
  override name = "TransientError";
  /** Wait that the server asked for. */
  readonly afterMs: number | null;

  constructor(message: string, afterMs: number | null = null) {
    super(message);
    this.afterMs = afterMs;
  }
}

/** What a request asks for, and when it gives up. */
export interface RequestOptions {
  method?: "GET" | "HEAD";
  headers?: Readonly<Record<string, string>>;
  /** Ends the request when it aborts. */
  signal?: AbortSignal;
  /** Whether to answer with a redirect instead of following it. */
  stopAt?: (response: Response) => boolean;
}

const REDIRECTS = 10;

/**
 * Makes one request and follows redirects by hand: the token goes to the hub's own address and nowhere else.
 *
 * @throws {TransientError} when the server cannot be reached, is silent or overworked.
 * @throws {InputError} when a redirect leads to where no request should go.
 */
export async function request(
  url: string,
  settings: HubSettings,
  { method = "GET", headers = {}, signal, stopAt }: RequestOptions = {},
): Promise<HubResponse> {
  const hub = new URL(settings.endpoint).origin;
  for (let hops = 0; hops <= REDIRECTS; hops++) {
    const own = new URL(url).origin === hub;
    const authorization = own && settings.token !== null
      ? { Authorization: `Bearer ${settings.token}` }
      : undefined;
    const response = await send(url, settings, {
      method,
      headers: { "Accept-Encoding": "identity", "User-Agent": "threefold", ...headers, ...authorization },
      redirect: "manual",
      signal,
    });
    const location = response.headers.get("Location");
    if (response.status < 300 || response.status >= 400 || location === null || stopAt?.(response)) {
      return { response, url };
    }
    await response.body?.cancel();
    url = redirected(url, location);
  }
  throw new InputError(`Cannot fetch ${withoutQuery(url)}: more than ${REDIRECTS} redirects`);
}

async function send(url: string, { timeoutMs }: HubSettings, init: RequestInit): Promise<Response> {
  const silence = new AbortController();
  const timer = setTimeout(() => silence.abort(), timeoutMs);
  const signals = [silence.signal, ...init.signal ? [init.signal] : []];
  let response: Response;
  try {
    response = await fetch(url, { ...init, signal: AbortSignal.any(signals) });
  } catch (error) {
    if (silence.signal.aborted) throw new TransientError(`no answer within ${timeoutMs / 1000} s`);
    throw new TransientError(reasonOf(error));
  } finally {
    clearTimeout(timer);
  }
  if (response.status !== 429 && response.status < 500) return response;
  await response.body?.cancel();
  const seconds = Number(response.headers.get("Retry-After") ?? NaN);
  throw new TransientError(
    `the server answered with status ${response.status}`,
    seconds >= 0 ? Math.min(seconds, 60) * 1000 : null,
  );
}

function redirected(from: string, location: string): string {
  const target = URL.parse(location, from);
  const allowed = from.startsWith("https:") ? /^https:$/ : /^https?:$/;
  if (target && allowed.test(target.protocol)) return target.href;
  throw new InputError(`Cannot fetch ${withoutQuery(from)}: it redirects to ${withoutQuery(location)}`);
}

/** Addresses of storage carry signatures in their query, which are nobody's business. */
export function withoutQuery(url: string): string {
  return url.split("?")[0];
}

/** The innermost cause says what happened, the outer ones which library noticed. */
export function reasonOf(error: unknown): string {
  let inner = error;
  while (inner instanceof Error && inner.cause instanceof Error) inner = inner.cause;
  return inner instanceof Error ? inner.message : String(inner);
}

/**
 * Repeats what fails for reasons that may pass, waiting longer each time.
 *
 * @param what Names what could not be done, for the message.
 * @throws {InputError} after the last attempt.
 */
export async function persistently<T>(
  what: string,
  settings: HubSettings,
  attempt: () => Promise<T>,
): Promise<T> {
  for (let failures = 1;; failures++) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof TransientError)) throw error;
      if (failures === ATTEMPTS) throw givenUp(what, settings, error);
      await pause(settings, failures, error);
    }
  }
}

/** What to throw when a request has failed too often. */
export function givenUp(what: string, { endpoint }: HubSettings, error: Error): UnreachableError {
  return new UnreachableError(
    `Cannot ${what} from ${endpoint}: ${error.message}, after ${ATTEMPTS} attempts`,
  );
}

/** The hub could not be reached: what is in the cache may still do. */
export class UnreachableError extends InputError {}

/** Waits before the next attempt. */
export async function pause(
  { retryMs }: HubSettings,
  failures: number,
  { afterMs }: TransientError,
): Promise<void> {
  const ms = afterMs ?? retryMs * 2 ** (failures - 1);
  await new Promise((resolve) => setTimeout(resolve, ms));
}
