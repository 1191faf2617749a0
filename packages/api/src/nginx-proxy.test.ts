import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request, type IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { say, startApi } from './testing/api.js';

const hasNginx = spawnSync('nginx', ['-v']).status === 0;
if (!hasNginx)
  console.warn('Without nginx (Debian: nginx-light) nothing shows that it leaves silent streams alone.');

/** The real nginx on a socket in a folder of its own, which cuts what is silent for three seconds. */
class Nginx implements AsyncDisposable {
  readonly socketPath: string;
  readonly #directory = mkdtempSync(join(tmpdir(), 'butterfly-nginx-'));
  readonly #process: ChildProcess;

  constructor(upstream: string) {
    this.socketPath = join(this.#directory, 'http.sock');
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
    writeFileSync(
      join(this.#directory, 'nginx.conf'),
      `${process.getuid?.() === 0 ? 'user root;' : ''}
       daemon off;
       pid ${this.#directory}/pid;
       error_log ${this.#directory}/error.log;
       events {}
       http {
         access_log off;
         ${temporary.map((each) => `${each}_temp_path ${this.#directory}/${each};`).join('\n')}
         server {
           listen unix:${this.socketPath};
           location / {
             proxy_pass ${upstream};
             proxy_read_timeout 3s;
           }
         }
       }`,
    );
    const errors = join(this.#directory, 'error.log');
    this.#process = spawn('nginx', ['-p', this.#directory, '-c', 'nginx.conf', '-e', errors], {
      stdio: 'inherit',
    });
  }

  /** Resolves when it takes connections. */
  async listening(): Promise<void> {
    for (;;) {
      if (this.#process.exitCode !== null) throw new Error('nginx ended.');
      const socket = connect(this.socketPath);
      const isThere = await new Promise((resolve) => {
        socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
      });
      socket.destroy();
      if (isThere === true) return;
      await delay(20);
    }
  }

  async post(path: string, body: object): Promise<IncomingMessage> {
    const headers = { host: 'localhost', 'content-type': 'application/json' };
    const sent = request({ socketPath: this.socketPath, method: 'POST', path, headers });
    sent.end(JSON.stringify(body));
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    return response;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = once(this.#process, 'exit');
    this.#process.kill('SIGTERM');
    await ended;
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

const body = { messages: [{ role: 'user', content: 'Hi' }], stream: true };

describe.skipIf(!hasNginx)(
  'nginx that waits three seconds for the next byte',
  () => {
    it('leaves a stream alone that waits for its first token and for another one', async () => {
      await using api = await startApi(undefined, { keepAliveMs: 1000 });
      await using nginx = new Nginx(api.url);
      await nginx.listening();
      // Each pause is over after five comments of one second each, which is longer than nginx waits.
      const opens: (() => void)[] = [];
      api.engine.script = () => {
        const gates = [0, 1].map(() => new Promise<void>((resolve) => opens.push(resolve)));
        const [first = Promise.resolve(), second = Promise.resolve()] = gates;
        return [first, ...say('a'), second, ...say('b')];
      };
      const response = await nginx.post('/v1/chat/completions', body);
      expect(response.statusCode).toBe(200);
      let text = '';
      let comments = 0;
      for await (const chunk of response.setEncoding('utf8') as AsyncIterable<string>) {
        text += chunk;
        comments += chunk.split(': keep-alive\n\n').length - 1;
        if (comments >= 5) {
          comments = 0;
          opens.shift()?.();
        }
      }
      expect(text).toMatch(/"content":"a"[^]*"content":"b"[^]*data: \[DONE\]\n\n$/);
      expect(text.match(/: keep-alive/g)?.length).toBeGreaterThanOrEqual(10);
    });

    it('cuts one that says nothing, which shows that it would', async () => {
      await using api = await startApi(undefined, { keepAliveMs: 0 });
      await using nginx = new Nginx(api.url);
      await nginx.listening();
      api.engine.script = () => ['hang'];
      const response = await nginx.post('/v1/chat/completions', body);
      expect(response.statusCode).toBe(200);
      const read = async () => {
        for await (const chunk of response) expect(chunk).toBe('nothing');
      };
      await expect(read()).rejects.toThrow('aborted');
      await api.engine.idle();
      expect(api.engine.cancellations).toBe(1);
    });
  },
  60_000,
);
