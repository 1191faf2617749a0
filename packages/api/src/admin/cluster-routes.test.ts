import { ButterflyError } from '@butterfly/common';
import type { ClusterDescription, ClusterView, WorkerDescription } from '@butterfly/orchestrator';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { requireAdministrator, type Caller } from './cluster-access.js';
import { startApi, type TestApi } from '../testing/api.js';

const worker = (workerId: string, name: string): WorkerDescription => ({
  workerId,
  name,
  version: '0.1.0',
  kernels: 'haswell on linux x64 with ggml 0.25.1',
  state: 'idle',
  replica: 1,
  layers: null,
  stepMicros: null,
  device: { name: 'cpu', kind: 'cpu', description: 'haswell' } as const,
  threads: 2,
  memoryBytes: 8e9,
  residentBytes: null,
  host: null,
  loading: null,
  loaded: null,
  profile: null,
  links: [{ toWorkerId: null, latencyMicros: 100, bytesPerSecond: 1e8, isRelayed: false }],
});

const cluster: ClusterDescription = {
  model: { id: 'echo', layers: 4, arenaSlots: 1024 },
  isReady: false,
  detail: '3 of 4 expected workers have joined',
  epoch: null,
  plan: null,
  replicas: [],
  measured: null,
  workers: [worker('w1', 'desk'), worker('w2', 'laptop'), worker('w3', 'laptop')],
  drains: [{ workerId: 'w9', name: 'tablet', state: 'gone' }],
  notes: ['0 of 1 spares held.'],
  trouble: { code: 'MODEL_TOO_LARGE', message: 'It does not fit.' },
};

/** Remembers who is emptied. */
class Recorder implements ClusterView {
  readonly drained: string[] = [];
  refusal: ButterflyError | null = null;

  describe(): ClusterDescription {
    return cluster;
  }

  drain(workerId: string): void {
    if (this.refusal) throw this.refusal;
    this.drained.push(workerId);
  }

  revoke(workerId: string): Promise<void> {
    if (this.refusal) return Promise.reject(this.refusal);
    this.drained.push(`revoked ${workerId}`);
    return Promise.resolve();
  }
}

let view: Recorder;
let api: TestApi;
beforeEach(async () => {
  view = new Recorder();
  api = await startApi({ view, token: 'the token' });
});
afterEach(() => api.close());

const drain = (name: string, headers: Record<string, string> = {}): Promise<Response> =>
  fetch(`${api.url}/cluster/workers/${encodeURIComponent(name)}/drain`, { method: 'POST', headers });

async function errorOf(response: Response): Promise<{ code: string; message: string }> {
  return ((await response.json()) as { error: { code: string; message: string } }).error;
}

describe('GET /cluster', () => {
  it('describes the cluster', async () => {
    const response = await fetch(`${api.url}/cluster`);
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual(cluster);
  });

  it('is refused to what comes through a proxy, and granted for the token', async () => {
    const proxied = { 'x-forwarded-for': '10.0.0.9' };
    const refused = await fetch(`${api.url}/cluster`, { headers: proxied });
    expect([refused.status, (await errorOf(refused)).code]).toEqual([403, 'ACCESS_DENIED']);
    const shown = { ...proxied, authorization: 'Bearer the token' };
    expect((await fetch(`${api.url}/cluster`, { headers: shown })).status).toBe(200);
  });

  it('is not there where there is nothing to administrate', async () => {
    await using bare = await startApi();
    expect((await fetch(`${bare.url}/cluster`)).status).toBe(404);
  });
});

describe('GET /metrics', () => {
  const asked: (string | undefined)[] = [];
  const metrics = (accept: string | undefined) => {
    asked.push(accept);
    return Promise.resolve({ contentType: 'text/plain; version=0.0.4; charset=utf-8', text: 'up 1\n' });
  };

  it('is for those who may read /cluster, in the form that they take', async () => {
    await using measured = await startApi({ view, token: 'the token', metrics });
    const url = `${measured.url}/metrics`;
    const local = await fetch(url, { headers: { accept: 'application/openmetrics-text' } });
    expect([local.headers.get('content-type'), await local.text()]).toEqual([
      'text/plain; version=0.0.4; charset=utf-8',
      'up 1\n',
    ]);
    expect(asked).toEqual(['application/openmetrics-text']);
    const proxied = { 'x-forwarded-for': '10.0.0.9' };
    for (const headers of [proxied, { ...proxied, authorization: 'Bearer another' }])
      expect((await fetch(url, { headers })).status).toBe(403);
    const shown = { ...proxied, authorization: 'Bearer the token' };
    expect((await fetch(url, { headers: shown })).status).toBe(200);
    expect((await fetch(url, { method: 'POST' })).status).toBe(405);
  });

  it('is not there where nothing is measured, or there is nothing to administrate', async () => {
    expect((await fetch(`${api.url}/metrics`)).status).toBe(404);
    await using bare = await startApi();
    expect((await fetch(`${bare.url}/metrics`)).status).toBe(404);
  });
});

describe('POST /cluster/workers/NAME/drain', () => {
  it('begins to empty the worker of this name or id', async () => {
    const response = await drain('desk');
    expect([response.status, await response.json()]).toEqual([
      202,
      { workerId: 'w1', name: 'desk', state: 'draining' },
    ]);
    expect((await drain('w3')).status).toBe(202);
    expect(view.drained).toEqual(['w1', 'w3']);
  });

  it.each([
    ['nobody', 404, 'NOT_FOUND', 'w1 (desk), w2 (laptop), w3 (laptop)'],
    ['laptop', 400, 'REQUEST_INVALID', 'by its id: w2 (laptop), w3 (laptop)'],
  ])('refuses %s', async (name, status, code, words) => {
    const response = await drain(name);
    expect(response.status).toBe(status);
    expect(await errorOf(response)).toMatchObject({
      code,
      message: expect.stringContaining(words) as string,
    });
    expect(view.drained).toEqual([]);
  });

  it('says why the cluster refuses', async () => {
    view.refusal = new ButterflyError('MODEL_TOO_LARGE', 'The others cannot hold the model.');
    const response = await drain('desk');
    expect([response.status, (await errorOf(response)).message]).toEqual([
      500,
      'The others cannot hold the model.',
    ]);
  });

  it('does nothing for a page of elsewhere, nor by GET', async () => {
    expect((await drain('desk', { origin: 'https://evil.example' })).status).toBe(403);
    expect((await fetch(`${api.url}/cluster/workers/desk/drain`)).status).toBe(405);
    expect(view.drained).toEqual([]);
  });
});

describe('an administrator', () => {
  const caller = (remoteAddress: string, headers: Caller['headers'] = {}): Caller => ({
    remoteAddress,
    headers: { host: '127.0.0.1:8080', ...headers },
    hasAdminKey: false,
  });

  it.each([
    [caller('127.0.0.1')],
    [caller('::1', { host: '[::1]:8080' })],
    [caller('::ffff:127.0.0.1', { host: 'localhost:8080', origin: 'http://localhost:8080' })],
    [caller('10.0.0.9', { authorization: 'Bearer secret' })],
    [caller('127.0.0.1', { forwarded: 'for=10.0.0.9', authorization: 'bearer secret' })],
  ])('is let in: %j', (each) => {
    expect(() => requireAdministrator(each, 'secret')).not.toThrow();
  });

  it('from elsewhere is whoever has a key of one', () => {
    const elsewhere = { ...caller('10.0.0.9', { origin: 'https://other.example' }), hasAdminKey: true };
    expect(() => requireAdministrator(elsewhere, null)).not.toThrow();
  });

  it.each([
    [caller('10.0.0.9')],
    [caller('::ffff:10.0.0.9')],
    [caller('10.0.0.9', { authorization: 'Bearer secrets' })],
    [caller('10.0.0.9', { authorization: 'secret' })],
    [caller('127.0.0.1', { forwarded: 'for=10.0.0.9' })],
    [caller('127.0.0.1', { host: 'rebound.example' })],
    [caller('127.0.0.1', { host: undefined })],
    [caller('127.0.0.1', { origin: 'http://localhost:3000' })],
    [caller('127.0.0.1', { origin: 'null' })],
  ])('is none: %j', (each) => {
    expect(() => requireAdministrator(each, 'secret')).toThrow(
      expect.objectContaining({ code: 'ACCESS_DENIED' }),
    );
  });

  it('from elsewhere is nobody where there is no token', () => {
    expect(() => requireAdministrator(caller('10.0.0.9', { authorization: 'Bearer null' }), null)).toThrow(
      expect.objectContaining({ code: 'ACCESS_DENIED' }),
    );
  });
});
