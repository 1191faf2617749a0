import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { cpSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { silentLogger } from '@butterfly/common';
import { loadGgml } from '@butterfly/ggml';
import { describe, expect, it } from 'vitest';
import { Butterfly, run } from './testing/butterfly.js';
import { Folder, model } from './testing/models.js';
import { Server, startWorker } from './testing/server.js';
import { makeToken, tokenOfAnotherCluster } from './testing/tokens.js';

/** A port on which nobody listens, outside of the range that systems give ports from to whoever asks for any. */
async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(20_000, 30_000);
    const server = createServer().listen(port, '127.0.0.1');
    const isFree = await once(server, 'listening').then(
      () => true,
      () => false,
    );
    server.close();
    if (isFree) return port;
  }
}

const token = await makeToken();
const waits = /^Waiting for an orchestrator at \S+\. /;
const worker = (port: number, args: readonly string[] = []): Butterfly =>
  new Butterfly(['worker', '--join', `127.0.0.1:${port}`, '--threads', '1', ...args], {
    env: { BUTTERFLY_TOKEN: token },
  });

describe.concurrent('a worker whose orchestrator is not there yet', () => {
  it.each([[[]], [['--wait']], [['--wait', '600']]])('waits for it, with %j', async (args) => {
    const port = await freePort();
    await using early = worker(port, args);
    await early.line(waits);
    await using server = new Server(['--workers', '0', '--cluster-port', String(port)]);
    await early.line(/^Joined .* as w1/);
    await server.ready();
    expect(early.stdout.filter((line) => waits.test(line))).toHaveLength(1);
    server.kill('SIGTERM');
    expect(await early.ended()).toEqual({ code: 0, signal: null });
    expect(early.stderr).toEqual([]);
  });

  it.each([['no-such-host.invalid:7600'], ['127.0.0.1:1'], ['[::1]:1']])('waits for %s', async (address) => {
    await using early = new Butterfly(['worker', '--join', address, '--threads', '1'], {
      env: { BUTTERFLY_TOKEN: token },
    });
    await early.line(waits);
    early.kill('SIGTERM');
    expect(await early.ended()).toEqual({ code: 0, signal: null });
    expect(early.stderr).toEqual([]);
  });

  it.each(['0', '1'])('gives up after %s s when told so', async (seconds) => {
    const args = ['worker', '--join', '127.0.0.1:1', '--threads', '1', '--wait', seconds];
    const { code, stdout, stderr } = await run(args, { BUTTERFLY_TOKEN: token });
    expect(code).toBe(4);
    expect(stdout).toHaveLength(Number(seconds));
    expect(stderr).toEqual([expect.stringMatching(/^butterfly: PEER_UNREACHABLE: .*check the address/)]);
  });

  it('waits behind a proxy that lets it in and hangs up', async () => {
    const proxy = createServer((socket) => socket.on('error', () => undefined).end()).listen(0, '127.0.0.1');
    await once(proxy, 'listening');
    await using early = worker((proxy.address() as AddressInfo).port);
    await early.line(waits);
    early.kill('SIGINT');
    expect(await early.ended()).toEqual({ code: 0, signal: null });
    proxy.close();
  });
});

describe.concurrent('what waiting cannot mend', () => {
  it('ends a worker at once: a token of another cluster', async () => {
    using empty = new Folder();
    await using server = new Server(['--workers', '0']);
    await server.line(/--join HOST/);
    await using refused = startWorker(server, ['--data-dir', empty.path], {
      token: await tokenOfAnotherCluster(),
    });
    expect(await refused.ended()).toEqual({ code: 4, signal: null });
    expect(refused.stdout).toEqual([]);
    expect(refused.stderr).toEqual([
      expect.stringMatching(/^butterfly: PEER_UNTRUSTED: .* not the orchestrator that made this join token/),
    ]);
  });

  it('ends a worker at once: what is no orchestrator', async () => {
    await using server = new Server(['--workers', '0']);
    await server.line(/^API on/);
    await using lost = worker(Number(new URL(server.url).port));
    expect(await lost.ended()).toEqual({ code: 4, signal: null });
    expect(lost.stderr).toEqual([expect.stringMatching(/^butterfly: PEER_UNTRUSTED: .* does not speak TLS/)]);
  });

  it('ends a worker at once: libraries that are not there', async () => {
    const env = { BUTTERFLY_GGML_DIR: '/nowhere' };
    const { code, stdout, stderr } = await run(['worker', '--join', '127.0.0.1:1'], env);
    expect({ code, stdout }).toEqual({ code: 5, stdout: [] });
    expect(stderr).toEqual([expect.stringMatching(/^butterfly: LIBRARY_MISSING: .*\/nowhere/)]);
  });

  it('ends a server with local workers: libraries that went away', async () => {
    using folder = new Folder();
    const directory = join(folder.path, 'ggml');
    cpSync(loadGgml({ log: silentLogger }).directory, directory, { recursive: true });
    const args = ['serve', model, '--port', '0', '--cluster-port', '0', '--workers', '2', '--threads', '1'];
    await using server = new Butterfly(args, {
      env: { BUTTERFLY_LOG: 'info', BUTTERFLY_GGML_DIR: directory },
    });
    await server.line(/^Ready\.$/);
    rmSync(directory, { recursive: true });
    for (const { workerPid } of server.records('A local worker starts.'))
      process.kill(Number(workerPid), 'SIGKILL');
    expect(await server.ended()).toEqual({ code: 5, signal: null });
    expect(server.records('A local worker starts.')).toHaveLength(4);
    const errors = server.stderr.filter((line) => !line.startsWith('{'));
    expect(errors).toEqual([expect.stringMatching(/^butterfly: LIBRARY_MISSING: /)]);
  });

  it('ends a server with a local worker: a processor that lacks instructions', async () => {
    const args = ['serve', model, '--port', '0', '--cluster-port', '0', '--threads', '1'];
    await using server = new Butterfly(args, { env: { BUTTERFLY_LOG: 'info' } });
    const started = await server.until(
      'its worker',
      () => server.records('A local worker starts.')[0] ?? null,
    );
    process.kill(Number(started.workerPid), 'SIGILL');
    expect(await server.ended()).toEqual({ code: 5, signal: null });
    expect(server.records('A local worker starts.')).toHaveLength(1);
    expect(server.stderr.at(-1)).toMatch(/^butterfly: LIBRARY_MISMATCH: .*BUTTERFLY_GGML_DIR/);
  });
});
