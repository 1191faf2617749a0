import { createServer as createHttpServer } from 'node:http';
import { createServer, type AddressInfo } from 'node:net';
import { once } from 'node:events';
import { expect, it } from 'vitest';
import type { Finding } from './doctor/findings.js';
import { run } from './testing/butterfly.js';
import { describedCluster } from './testing/cluster.js';

it('looks at this machine, and says what to do', async () => {
  const blocker = createServer().listen(7600, '127.0.0.1');
  // Where another program has it, there is nothing to do for that.
  await Promise.race([once(blocker, 'listening'), once(blocker, 'error')]);
  try {
    const { code, stdout } = await run(['doctor', '--json']);
    expect(code).toBe(0);
    const findings = JSON.parse(stdout.join('\n')) as readonly Finding[];
    const of = (what: string): Finding | undefined => findings.find((each) => each.what === what);
    expect(of('versions')).toMatchObject({
      verdict: 'ok',
      found: expect.stringContaining(process.versions.node) as string,
    });
    expect(of('libraries')).toMatchObject({
      verdict: 'ok',
      found: expect.stringMatching(/^ggml \d/) as string,
    });
    expect(of('port 7600')).toMatchObject({ verdict: 'hint', found: 'taken' });
    expect(of('memory')?.found).toMatch(/\d.*available, \d+ cores/);
    const table = await run(['doctor']);
    expect(table.stdout.join('\n')).toMatch(/hint +port 7600 +taken\n +-> Another program/);
  } finally {
    blocker.close();
  }
});

it('fails where the libraries are missing', async () => {
  const { code, stdout } = await run(['doctor'], { BUTTERFLY_GGML_DIR: '/nowhere' });
  expect(code).toBe(5);
  expect(stdout.join('\n')).toMatch(/fault +libraries/);
});

it('looks at a running server, and at its clock', async () => {
  const cluster = describedCluster();
  const server = createHttpServer((request, response) => {
    const isAsked = request.url === '/cluster' && request.headers.authorization === 'Bearer secret';
    response.setHeader('date', new Date(Date.now() - 3_600_000).toUTCString());
    response.writeHead(isAsked ? 200 : 404, { 'content-type': 'application/json' });
    response.end(JSON.stringify(cluster));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const { code, stdout } = await run(['doctor', '--url', url, '--key', 'secret']);
  server.close();
  const text = stdout.join('\n');
  expect(text).toMatch(/ok +server +a-model is ready\n/);
  expect(text).toMatch(/hint +clocks +that of the server is 60 min behind\n +-> Set both/);
  expect(text).toMatch(/hint +link name-of-w1 to name-of-w2 +through the orchestrator, /);
  expect(text).not.toMatch(/port 8080/);
  expect(code).toBe(0);
  const gone = await run(['doctor', '--url', url]);
  expect(gone.stdout.join('\n')).toMatch(/fault +server +No server answers at http/);
  expect(gone.code).toBe(5);
});
