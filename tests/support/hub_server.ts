import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { HubSettings } from "../../engine/formats/hub/settings.ts";

/** A file of a pretended repository. */
export interface HubFile {
  bytes: Uint8Array;
  /** Large files lie in a storage at another address, and the hub redirects there. */
  large?: boolean;
  /** What the storage sends instead. */
  sent?: Uint8Array;
  /** Instead of the checksum of `bytes`. */
  etag?: string;
}

/** What goes wrong, once each, in this order. */
export type Fault =
  | { kind: "cut"; after: number }
  | { kind: "silence" }
  | { kind: "status"; status: number; headers?: Record<string, string> };

/** What was asked, of which of the two servers. */
export interface Asked {
  server: "hub" | "storage";
  method: string;
  path: string;
  range: string | null;
  authorization: string | null;
}

/** A server that answers as the hub does, and a second one that it redirects to for large files. */
export class HubServer {
  readonly asked: Asked[] = [];
  /** By file; taken by the next requests for its contents. */
  readonly faults = new Map<string, Fault[]>();
  /** Taken by the next requests for what the repository is. */
  readonly infoFaults: Fault[] = [];
  readonly files: Record<string, HubFile>;
  commit = "0123456789abcdef0123456789abcdef01234567";
  /** Answers with this status unless the token is right. */
  requiredToken: string | null = null;
  /** Sends whole files whatever range was asked for. */
  ignoresRanges = false;
  /** Instead of the names of `files`. */
  siblings: unknown[] | null = null;
  /** Address of the hub. */
  endpoint = "";
  readonly #hub: Server;
  readonly #storage: Server;

  private constructor(files: Record<string, HubFile>) {
    this.files = files;
    this.#hub = createServer((request, response) => this.#answer("hub", request, response));
    this.#storage = createServer((request, response) => this.#answer("storage", request, response));
  }

  /** Starts both on free ports of this machine. The repository is called `someone/tiny`. */
  static async start(files: Record<string, HubFile>): Promise<HubServer> {
    const server = new HubServer(files);
    for (const one of [server.#hub, server.#storage]) {
      await new Promise<void>((resolve) => one.listen(0, "127.0.0.1", resolve));
    }
    server.endpoint = `http://127.0.0.1:${(server.#hub.address() as AddressInfo).port}`;
    return server;
  }

  /** Settings that lead here. */
  settings(cacheFolder: string, changes: Partial<HubSettings> = {}): HubSettings {
    return {
      endpoint: this.endpoint,
      cacheFolder,
      token: null,
      offline: false,
      timeoutMs: 2000,
      retryMs: 1,
      ...changes,
    };
  }

  /** How often contents were asked for, and from where on. */
  rangesOf(file: string): (string | null)[] {
    return this.asked.filter(({ method, path, server }) =>
      method === "GET" && path.endsWith(`/${file}`) &&
      (server === "storage" || !this.files[file].large)
    ).map(({ range }) => range);
  }

  async stop(): Promise<void> {
    for (const one of [this.#hub, this.#storage]) {
      one.closeAllConnections();
      await new Promise((resolve) => one.close(resolve));
    }
  }

  #answer(server: Asked["server"], request: IncomingMessage, response: ServerResponse): void {
    const path = new URL(request.url!, this.endpoint).pathname;
    const method = request.method!;
    this.asked.push({
      server,
      method,
      path,
      range: request.headers.range ?? null,
      authorization: request.headers.authorization ?? null,
    });
    if (server === "storage") return this.#send(path.split("/").pop()!, request, response);
    if (this.requiredToken !== null && request.headers.authorization !== `Bearer ${this.requiredToken}`) {
      return end(response, 401, { "X-Error-Code": "RepoNotFound" });
    }
    const info = /^\/api\/models\/(.+?)\/revision\/(.+)$/.exec(path);
    if (info) return this.#info(info[1], decodeURIComponent(info[2]), response);
    const resolve = /^\/someone\/tiny\/resolve\/(\w+)\/(.+)$/.exec(path);
    if (resolve === null) return end(response, 404, { "X-Error-Code": "RepoNotFound" });
    this.#resolve(decodeURIComponent(resolve[2]), request, response);
  }

  #info(repository: string, revision: string, response: ServerResponse): void {
    if (this.#stumble(this.infoFaults, response)) return;
    if (repository === "old/name") {
      return end(response, 307, { Location: `/api/models/someone/tiny/revision/${revision}` });
    }
    if (repository !== "someone/tiny") return end(response, 404, { "X-Error-Code": "RepoNotFound" });
    if (!["main", "v1", "refs/pr/1", this.commit].includes(revision)) {
      return end(response, 404, { "X-Error-Code": "RevisionNotFound" });
    }
    const siblings = this.siblings ?? Object.keys(this.files).map((rfilename) => ({ rfilename }));
    const body = JSON.stringify({ _id: "1", id: repository, private: false, sha: this.commit, siblings });
    end(response, 200, { "Content-Type": "application/json" }, new TextEncoder().encode(body));
  }

  #resolve(name: string, request: IncomingMessage, response: ServerResponse): void {
    const file = this.files[name];
    if (file === undefined) return end(response, 404, { "X-Error-Code": "EntryNotFound" });
    response.setHeader("X-Repo-Commit", this.commit);
    if (!file.large) return this.#send(name, request, response);
    const { port } = this.#storage.address() as AddressInfo;
    end(response, 302, {
      Location: `http://127.0.0.1:${port}/signed/${name}?signature=x`,
      "X-Linked-Etag": `"${etagOf(file)}"`,
      "X-Linked-Size": String(file.bytes.length),
    });
  }

  #send(name: string, request: IncomingMessage, response: ServerResponse): void {
    const file = this.files[name];
    const bytes = file.sent ?? file.bytes;
    const start = this.ignoresRanges
      ? 0
      : Number(/^bytes=(\d+)-/.exec(request.headers.range ?? "")?.[1] ?? 0);
    const headers: Record<string, string> = {
      // Storages have entity tags of their own.
      ETag: file.large ? '"of-the-storage"' : `"${etagOf(file)}"`,
    };
    if (start > 0) headers["Content-Range"] = `bytes ${start}-${bytes.length - 1}/${bytes.length}`;
    const rest = bytes.subarray(start);
    if (request.method === "HEAD") {
      return end(response, 200, { ...headers, "Content-Length": String(rest.length) });
    }
    const fault = this.faults.get(name)?.shift();
    if (fault?.kind === "cut") {
      response.writeHead(start > 0 ? 206 : 200, { ...headers, "Content-Length": String(rest.length) });
      response.write(rest.subarray(0, fault.after), () => setTimeout(() => response.destroy(), 20));
      return;
    }
    if (fault) return void this.#stumble([fault], response);
    if (start >= bytes.length && start > 0) return end(response, 416, {});
    end(response, start > 0 ? 206 : 200, headers, rest);
  }

  #stumble(faults: Fault[], response: ServerResponse): boolean {
    const fault = faults.shift();
    if (!fault) return false;
    if (fault.kind === "status") end(response, fault.status, fault.headers ?? {});
    else if (fault.kind === "cut") response.destroy();
    return true; // silence: no answer at all
  }
}

function end(
  response: ServerResponse,
  status: number,
  headers: Record<string, string>,
  body?: Uint8Array,
): void {
  const length = body ? { "Content-Length": String(body.length) } : {};
  response.writeHead(status, { ...headers, ...length });
  response.end(body);
}

/** As the hub names contents: sha256 where large, else git's id of a blob. */
export function etagOf({ bytes, large, etag }: HubFile): string {
  if (etag !== undefined) return etag;
  if (large) return createHash("sha256").update(bytes).digest("hex");
  return createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
}
