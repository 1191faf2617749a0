import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A request as the hub, or the store of its large files, saw it. */
export interface SeenRequest {
  readonly from: 'hub' | 'store';
  readonly url: string;
  readonly range: string | null;
  readonly authorization: string | null;
}

const repo = 'org/repo';

/**
 * A hub on a loopback port that speaks what `butterfly pull` needs of Hugging Face's API: the tree in pages, and files
 * by range, the large ones with a redirect to a store of another origin.
 */
export class HubServer implements AsyncDisposable {
  readonly seen: SeenRequest[] = [];
  /** What the listing says, where that differs from what is sent. */
  readonly listedSha256 = new Map<string, string>();
  /** Bytes after which the next answers of the store are cut, in order. */
  readonly cuts: number[] = [];
  /** Asked for where it is not null. */
  token: string | null = null;
  knowsRanges = true;
  /** Bytes after which answers of the store go silent. */
  stallsAfterBytes: number | null = null;
  /** Resolves when one has. */
  readonly stalled: Promise<void>;
  #tellStalled: () => void = () => undefined;

  private constructor(
    private readonly hub: Server,
    private readonly store: Server,
    readonly files: Map<string, Buffer>,
  ) {
    this.stalled = new Promise((resolve) => (this.#tellStalled = resolve));
    hub.on('request', (request, response) => this.#answer('hub', request, response));
    store.on('request', (request, response) => this.#answer('store', request, response));
  }

  static async start(files: Readonly<Record<string, Buffer>>): Promise<HubServer> {
    const server = new HubServer(createServer(), createServer(), new Map(Object.entries(files)));
    for (const each of [server.hub, server.store]) {
      each.listen(0, '127.0.0.1');
      await once(each, 'listening');
    }
    return server;
  }

  get url(): string {
    return urlOf(this.hub);
  }

  /** The ranges that were asked of the store. */
  get storeRanges(): (string | null)[] {
    return this.seen.filter(({ from }) => from === 'store').map(({ range }) => range);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const each of [this.hub, this.store]) {
      each.closeAllConnections();
      each.close();
      await once(each, 'close');
    }
  }

  #answer(from: 'hub' | 'store', request: IncomingMessage, response: ServerResponse): void {
    const { range = null, authorization = null } = request.headers;
    const url = new URL(request.url ?? '/', urlOf(this.hub));
    this.seen.push({ from, url: url.pathname, range, authorization });
    const fail = (status: number, code: string): void => {
      response.writeHead(status, { 'content-type': 'application/json', 'x-error-code': code });
      response.end(JSON.stringify({ error: code }));
    };
    if (from === 'store') {
      this.#send(decodeURIComponent(url.pathname.slice(1)), range, response);
      return;
    }
    if (this.token !== null && authorization !== `Bearer ${this.token}`) {
      fail(401, 'GatedRepo');
      return;
    }
    const resolve = `/${repo}/resolve/main/`;
    if (url.pathname === `/api/models/${repo}/tree/main`) {
      this.#list(url, response);
      return;
    }
    if (!url.pathname.startsWith(resolve)) {
      fail(404, 'RepoNotFound');
      return;
    }
    const path = decodeURIComponent(url.pathname.slice(resolve.length));
    const content = this.files.get(path);
    if (!content) {
      fail(404, 'EntryNotFound');
      return;
    }
    if (!isLarge(path)) {
      this.#send(path, range, response);
      return;
    }
    response.writeHead(302, {
      location: `${urlOf(this.store)}/${encodeURIComponent(path)}`,
      'x-linked-etag': `"${this.#sha256(path, content)}"`,
      'x-linked-size': content.length,
    });
    response.end();
  }

  /** Two files on each page. */
  #list(url: URL, response: ServerResponse): void {
    const start = Number(url.searchParams.get('cursor') ?? 0);
    const all = [...this.files].map(([path, content]) => ({
      type: 'file',
      path,
      size: content.length,
      oid: createHash('sha1').update(`blob ${content.length}\0`).update(content).digest('hex'),
      ...(isLarge(path)
        ? { lfs: { oid: this.#sha256(path, content), size: content.length, pointerSize: 130 } }
        : {}),
    }));
    const next = new URL(url);
    next.searchParams.set('cursor', String(start + 2));
    response.writeHead(200, {
      'content-type': 'application/json',
      ...(start + 2 < all.length ? { link: `<${next.href}>; rel="next"` } : {}),
    });
    response.end(JSON.stringify(all.slice(start, start + 2)));
  }

  #sha256(path: string, content: Buffer): string {
    return this.listedSha256.get(path) ?? createHash('sha256').update(content).digest('hex');
  }

  #send(path: string, range: string | null, response: ServerResponse): void {
    const content = this.files.get(path) ?? Buffer.alloc(0);
    const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(range ?? '') ?? [];
    const isPart = first !== undefined && this.knowsRanges;
    const start = isPart ? Number(first) : 0;
    const end = isPart && last ? Number(last) + 1 : content.length;
    response.writeHead(isPart ? 206 : 200, {
      etag: '"etag"',
      'content-length': end - start,
      ...(isPart ? { 'content-range': `bytes ${start}-${end - 1}/${content.length}` } : {}),
    });
    const { stallsAfterBytes } = this;
    if (stallsAfterBytes !== null && end - start > stallsAfterBytes) {
      response.write(content.subarray(start, start + stallsAfterBytes), () => this.#tellStalled());
      return;
    }
    const cut = end - start > 1 ? this.cuts.shift() : undefined;
    if (cut === undefined) response.end(content.subarray(start, end));
    else response.write(content.subarray(start, start + cut), () => response.destroy());
  }
}

/** Hubs keep all but small texts in a store for large files. */
function isLarge(path: string): boolean {
  return path.endsWith('.gguf') && !path.startsWith('small');
}

function urlOf(server: Server): string {
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
