/**
 * A hub on this machine that misbehaves when it is told to. It speaks HTTP/1.1 byte by byte, since a proper server
 * could neither cut an answer nor lie about its length.
 * @module
 */
import { createHash } from "node:crypto";

/** A request as the hub saw it. */
export interface Seen {
  readonly method: string;
  /** Path and query. */
  readonly path: string;
  readonly headers: Headers;
}

/** An answer, or what is left of it. */
export interface Reply {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | string;
  /** Bytes of the body that are sent before the connection is cut; -1 cuts before the status. */
  readonly cut?: number;
  /** Sends that many bytes and then nothing, with the connection open. */
  readonly stall?: number;
  /** Sends so many bytes at a time, with a pause after each. */
  readonly drip?: number;
  /** Sends the body over and over, as long as the other side reads. */
  readonly endless?: boolean;
}

/** A file in the hub. */
export interface Content {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** In LFS, files are known by SHA-256, others by Git's SHA-1. */
  readonly lfs: boolean;
}

/** Git's or LFS's name of a content. */
export function hashOf({ bytes, lfs }: Content): string {
  const hash = lfs ? createHash("sha256") : createHash("sha1").update(`blob ${bytes.length}\0`);
  return hash.update(bytes).digest("hex");
}

/** The hub; disposing of it closes its connections. */
export class LoopbackHub implements Disposable {
  /** What it was asked, in order. */
  readonly seen: Seen[] = [];
  /** Files by path. */
  readonly files: Map<string, Content>;
  /** The commit that every revision stands for. */
  commit: string = "c0".repeat(20);
  /** Answers instead of the hub; undefined lets it answer. */
  misbehave: (seen: Seen) => Reply | undefined | Promise<Reply | undefined> = () => undefined;
  /** Is called when a connection has begun to be silent. */
  onStall: () => void = () => {};
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #connections = new Set<Deno.Conn>();

  constructor(files: ReadonlyMap<string, Content>) {
    this.files = new Map(files);
    this.#serve();
  }

  get endpoint(): string {
    return `http://127.0.0.1:${this.#listener.addr.port}`;
  }

  /** The ranges of the requests for a file, in order; undefined for a request without one. */
  rangesOf(path: string): (string | null)[] {
    return this.seen.filter((seen) => seen.path.endsWith(`/${path}`)).map(({ headers }) => headers.get("range"));
  }

  /** A proper answer to a request. */
  answer({ path, method, headers }: Seen): Reply {
    if (path.startsWith("/api/models/")) return { body: JSON.stringify(this.#list()) };
    const file = this.files.get(path.split("/").slice(5).join("/"));
    if (file === undefined) return { status: 404, headers: { "x-error-code": "EntryNotFound" } };
    const { bytes } = file;
    const etag = `"${hashOf(file)}"`;
    const from = Number(/^bytes=(\d+)-$/.exec(headers.get("range") ?? "")?.[1] ?? 0);
    if (from >= bytes.length && from > 0) return { status: 416 };
    const range = `bytes ${from}-${bytes.length - 1}/${bytes.length}`;
    return {
      status: from > 0 ? 206 : 200,
      headers: { etag, ...(from > 0 ? { "content-range": range } : {}) },
      body: bytes.subarray(from),
      ...(method === "HEAD" ? { cut: 0 } : {}),
    };
  }

  #list() {
    const siblings = Array.from(this.files, ([rfilename, content]) => {
      const { bytes, lfs } = content;
      const hash = hashOf(content);
      const { length: size } = bytes;
      return lfs
        ? { rfilename, size, blobId: "0".repeat(40), lfs: { sha256: hash, size } }
        : { rfilename, size, blobId: hash };
    });
    return { sha: this.commit, siblings };
  }

  async #serve(): Promise<void> {
    for await (const connection of this.#listener) {
      this.#connections.add(connection);
      this.#converse(connection).catch(() => {}).finally(() => this.#close(connection));
    }
  }

  async #converse(connection: Deno.Conn): Promise<void> {
    const seen = await readRequest(connection);
    this.seen.push(seen);
    const reply = await this.misbehave(seen) ?? this.answer(seen);
    const { status = 200, headers = {}, body = "", cut, stall, drip, endless = false } = reply;
    if (cut === -1) return;
    const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body;
    const length = "transfer-encoding" in headers || endless ? {} : { "content-length": `${bytes.length}` };
    const lines = Object.entries({ ...length, connection: "close", ...headers });
    const head = [`HTTP/1.1 ${status} -`, ...lines.map(([name, value]) => `${name}: ${value}`), "", ""].join("\r\n");
    await writeAll(connection, new TextEncoder().encode(head));
    while (endless) await writeAll(connection, bytes);
    const pieces = drip === undefined ? 0 : Math.floor(bytes.length / drip);
    for (let i = 0; i < pieces; i++) {
      await writeAll(connection, bytes.subarray(i * drip!, (i + 1) * drip!));
      await new Promise((resolve) => setTimeout(resolve));
    }
    await writeAll(connection, bytes.subarray(pieces * (drip ?? 0), cut ?? stall ?? bytes.length));
    if (stall === undefined) return;
    this.onStall();
    // Ends when the other side gives up.
    await connection.read(new Uint8Array(1));
  }

  #close(connection: Deno.Conn): void {
    if (this.#connections.delete(connection)) connection.close();
  }

  [Symbol.dispose](): void {
    this.#listener.close();
    for (const connection of this.#connections) this.#close(connection);
  }
}

async function readRequest(connection: Deno.Conn): Promise<Seen> {
  let text = "";
  const chunk = new Uint8Array(4096);
  while (!text.includes("\r\n\r\n")) {
    const count = await connection.read(chunk);
    if (count === null) throw new Error("The request was cut");
    text += new TextDecoder().decode(chunk.subarray(0, count));
  }
  const [first, ...lines] = text.split("\r\n\r\n")[0]!.split("\r\n");
  const [method, path] = first!.split(" ");
  const headers = new Headers(lines.map((line): [string, string] => {
    const colon = line.indexOf(":");
    return [line.slice(0, colon), line.slice(colon + 1).trim()];
  }));
  return { method: method!, path: path!, headers };
}

async function writeAll(connection: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let rest = bytes; rest.length > 0;) rest = rest.subarray(await connection.write(rest));
}
