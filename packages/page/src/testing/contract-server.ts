import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { execFileSync } from 'node:child_process';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { LiveMessage, RequestView } from '@butterfly/telemetry';
import { assetsFolder, pageHeaders } from '../index.js';
import { bucketOf, eventOf, glanceOf, pulseOf, requestsOf, timelineOf } from './glance.js';

const types: Readonly<Record<string, string>> = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
};

/** Speaks to the page as an orchestrator with many workers does, and does what a test wants of it. */
export class ContractServer {
  /** Twelve of them, of which four are stages, unless a test wants more. */
  workers = 12;
  stages = 4;
  startedMs = Date.UTC(2026, 0, 1, 12);
  /** Whether it tells that it lives. */
  isAlive = true;
  /** Null lets everybody in. */
  key: string | null = null;
  /** Answers of chats: what each writes, the last piece apart from its end. */
  chat: (response: ServerResponse) => void = (response) => response.end();
  readonly posted: string[] = [];
  requests: readonly RequestView[] = requestsOf(30, Date.now());
  readonly #live = new Set<ServerResponse>();
  readonly #sockets = new Set<Socket>();
  #server: Server | null = null;
  #timer: ReturnType<typeof setInterval> | undefined;
  #port = 0;

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** On the same port as before. */
  async start(): Promise<void> {
    if (!existsSync(join(assetsFolder, 'index.html')))
      execFileSync(process.execPath, [
        fileURLToPath(new URL('../../../../scripts/page.mjs', import.meta.url)),
      ]);
    const server = createServer((request, response) => this.#answer(request, response));
    server.on('connection', (socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
    });
    await new Promise<void>((resolve) => server.listen(this.#port, '127.0.0.1', resolve));
    this.#port = (server.address() as AddressInfo).port;
    this.#server = server;
    this.#timer = setInterval(() => this.#pulse(), 500);
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    const closed = new Promise<void>((resolve) => this.#server?.close(() => resolve()));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  /** Tells all pages. */
  tell({ kind, ...rest }: LiveMessage): void {
    for (const response of this.#live) response.write(eventText(kind, rest));
  }

  #pulse(): void {
    if (!this.isAlive) return;
    this.tell({ kind: 'pulse', pulse: pulseOf(Date.now(), this.stages) });
    const changed = this.requests
      .slice(-20)
      .map((each) => ({ ...each, outputTokens: each.outputTokens + 1 }));
    this.tell({ kind: 'requests', requests: changed });
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const path = request.url ?? '/';
    const isLetIn = this.key === null || request.headers.authorization === `Bearer ${this.key}`;
    if (path === '/' || path.startsWith('/assets/')) this.#file(path, response);
    else if (!isLetIn) {
      const error = { message: 'This is for the administrator of the cluster.', code: 'access_denied' };
      json(response, 403, { error }, { 'x-butterfly-code': 'ACCESS_DENIED' });
    } else if (request.method === 'POST') this.#post(path, response);
    else if (path === '/cluster/live') this.#open(response);
    else {
      const opened = this.requests.find(({ id }) => path === `/cluster/requests/${id}`);
      json(response, opened ? 200 : 404, opened ? timelineOf(opened) : {});
    }
  }

  #post(path: string, response: ServerResponse): void {
    this.posted.push(path);
    if (path === '/v1/chat/completions') {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      this.chat(response);
      return;
    }
    const line = 'BUTTERFLY_TOKEN=abc butterfly worker --join 10.0.0.1:7070';
    json(response, 200, { line, expiresMs: Date.now() + 3_600_000, usesMax: 1 });
  }

  #file(path: string, response: ServerResponse): void {
    const name = path === '/' ? 'index.html' : path.slice('/assets/'.length);
    if (!readdirSync(assetsFolder).includes(name)) {
      json(response, 404, {});
      return;
    }
    response.writeHead(200, { ...pageHeaders, 'content-type': types[extname(name)] ?? '' });
    response.end(readFileSync(join(assetsFolder, name)));
  }

  #open(response: ServerResponse): void {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    const nowMs = Date.now();
    const buckets = Array.from({ length: 720 }, (_, index) =>
      bucketOf(nowMs - (720 - index) * 5_000, index, this.workers),
    );
    const lost = { workerId: 'w500', name: 'old-machine' };
    const events = [
      ...Array.from({ length: 300 }, (_, index) => eventOf(index + 1, nowMs - (300 - index) * 1_000)),
      eventOf(301, nowMs, {
        ...{ level: 'warn', kind: 'workerLeft', words: 'A worker left: silence', fields: lost },
      }),
    ];
    response.write(eventText('cluster', { cluster: glanceOf(this.workers, this.stages, this.startedMs) }));
    response.write(eventText('requests', { requests: this.requests }));
    response.write(eventText('events', { events }));
    response.write(eventText('series', { buckets }));
    if (this.isAlive) response.write(eventText('pulse', { pulse: pulseOf(nowMs, this.stages) }));
    this.#live.add(response);
    response.on('close', () => this.#live.delete(response));
  }
}

const eventText = (kind: string, data: object): string => `event: ${kind}\ndata: ${JSON.stringify(data)}\n\n`;

function json(
  response: ServerResponse,
  status: number,
  body: object,
  headers: Readonly<Record<string, string>> = {},
): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(JSON.stringify(body));
}

/** A chunk of a chat, as the API writes it. */
export function chunk(delta: object, more: object = {}): string {
  return `data: ${JSON.stringify({ choices: [{ index: 0, delta, finish_reason: null, ...more }] })}\n\n`;
}
