import { ButterflyError, limits, systemClock } from '@butterfly/common';
import { type ClusterGlance, Telemetry } from '@butterfly/telemetry';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { JoinWishes } from '../context.js';
import { startApi, type TestApi } from '../testing/api.js';

const glance: ClusterGlance = {
  ...{ startedMs: 1, version: '0.1.0', isReady: true, detail: 'all is there', workers: [], models: [] },
};

const view = {
  describe: () => {
    throw new ButterflyError('NOT_FOUND', 'Nobody asks here.');
  },
  drain: () => undefined,
  revoke: () => Promise.resolve(),
};

let telemetry: Telemetry;
let wishes: JoinWishes[];
let api: TestApi;

beforeEach(async () => {
  telemetry = new Telemetry(systemClock);
  telemetry.start({ glance: () => glance, loads: () => [] });
  wishes = [];
  const joinLine = (wished: JoinWishes) => {
    wishes.push(wished);
    return Promise.resolve({
      line: 'BUTTERFLY_TOKEN=t butterfly worker --join h:1',
      expiresMs: 5,
      usesMax: 1,
    });
  };
  const administration = { view, token: 'the token', telemetry, joinLine };
  api = await startApi(administration, { observe: telemetry.observe });
});

afterEach(async () => {
  telemetry[Symbol.dispose]();
  await api.close();
});

const chat = { messages: [{ role: 'user', content: 'hello there' }], max_tokens: 4 };

interface Told {
  readonly kind: string;
  readonly data: Record<string, unknown>;
}

/** Reads what is told until it is enough. */
async function read(response: Response, isEnough: (told: readonly Told[]) => boolean): Promise<Told[]> {
  const told: Told[] = [];
  let text = '';
  const decoder = new TextDecoder();
  for await (const bytes of response.body ?? []) {
    text += decoder.decode(bytes as Uint8Array, { stream: true });
    const parts = text.split('\n\n');
    text = parts.pop() ?? '';
    for (const part of parts) {
      const [event = '', data = '{}'] = part.split('\n');
      if (!event.startsWith('event: ')) continue;
      told.push({ kind: event.slice(7), data: JSON.parse(data.slice(6)) as Told['data'] });
    }
    if (isEnough(told)) break;
  }
  return told;
}

describe('GET /cluster/live', () => {
  it('tells what is known, and then what changes', async () => {
    const response = await fetch(`${api.url}/cluster/live`);
    expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
    const answered = api.post('/v1/chat/completions', chat);
    const told = await read(response, (all) =>
      all.some(({ kind, data }) => kind === 'requests' && JSON.stringify(data).includes('"done"')),
    );
    await answered;
    expect(told.slice(0, 4).map(({ kind }) => kind)).toEqual(['cluster', 'requests', 'events', 'series']);
    expect(told[0]?.data).toEqual({ cluster: glance });
    const requests = told.filter(({ kind }) => kind === 'requests');
    expect(requests.at(-1)?.data).toMatchObject({
      requests: [{ route: 'POST /v1/chat/completions', modelId: 'echo', state: 'done', error: null }],
    });
  });

  it('gives signs of life, though nothing happens', async () => {
    const told = await read(await fetch(`${api.url}/cluster/live`), (all) =>
      all.some(({ kind }) => kind === 'pulse'),
    );
    expect(told.at(-1)?.data).toMatchObject({ pulse: { models: [] } });
  });

  it('ends with the server, which it does not hold up', async () => {
    const response = await fetch(`${api.url}/cluster/live`);
    telemetry[Symbol.dispose]();
    expect((await read(response, () => false)).length).toBeGreaterThan(0);
  });

  it('is for few at once, and whoever goes makes room', async () => {
    const gone = new AbortController();
    const watchers = Array.from({ length: limits.watchersMax }, () =>
      telemetry.watch(
        () => undefined,
        () => undefined,
      ),
    );
    const refused = await fetch(`${api.url}/cluster/live`);
    expect([refused.status, ((await refused.json()) as { error: { code: string } }).error.code]).toEqual([
      429,
      'QUEUE_FULL',
    ]);
    watchers[0]?.[Symbol.dispose]();
    expect((await fetch(`${api.url}/cluster/live`, { signal: gone.signal })).status).toBe(200);
    gone.abort();
    for (const watcher of watchers) watcher[Symbol.dispose]();
    await expect
      .poll(() => {
        const more = Array.from({ length: limits.watchersMax }, () => {
          try {
            return telemetry.watch(
              () => undefined,
              () => undefined,
            );
          } catch {
            return null;
          }
        });
        for (const each of more) each?.[Symbol.dispose]();
        return more.includes(null);
      })
      .toBe(false);
  });
});

describe('GET /cluster/requests', () => {
  it('lists the last ones, with those that were refused', async () => {
    await api.post('/v1/chat/completions', chat);
    await api.post('/v1/chat/completions', { messages: 5 });
    await api.post('/v1/embeddings', { input: 'a' });
    await expect
      .poll(async () => await (await fetch(`${api.url}/cluster/requests`)).json())
      .toMatchObject({
        requests: [
          { route: 'POST /v1/chat/completions', state: 'done', tenant: null },
          { route: 'POST /v1/chat/completions', state: 'failed', error: { code: 'REQUEST_INVALID' } },
          { route: 'POST /v1/embeddings' },
        ],
      });
    const one = await fetch(`${api.url}/cluster/requests?limit=1`);
    expect(((await one.json()) as { requests: unknown[] }).requests).toHaveLength(1);
  });

  it('opens one by the id of its response', async () => {
    const id = (await api.post('/v1/chat/completions', chat)).headers.get('x-request-id') ?? '';
    const opened = await fetch(`${api.url}/cluster/requests/${id}`);
    expect(await opened.json()).toMatchObject({ id, route: 'POST /v1/chat/completions' });
    const unknown = await fetch(`${api.url}/cluster/requests/req_0`);
    expect([unknown.status, ((await unknown.json()) as { error: { param: string } }).error.param]).toEqual([
      404,
      'id',
    ]);
  });

  it.each(['limit=-1', 'limit=ten'])('refuses %s', async (query) => {
    expect((await fetch(`${api.url}/cluster/requests?${query}`)).status).toBe(400);
  });
});

describe('GET /cluster/events and /cluster/series', () => {
  it('tell what the log has, and the last hour', async () => {
    const left = { workerId: 'w1', name: 'desk', isOrderly: false, reason: 'it was silent' };
    telemetry.observe({ kind: 'workerLeft', ...left });
    telemetry.observe({ kind: 'workerLeft', ...left, name: 'lap' });
    const { events } = (await (await fetch(`${api.url}/cluster/events?after=1`)).json()) as {
      events: object[];
    };
    expect(events).toMatchObject([
      {
        index: 2,
        level: 'warn',
        kind: 'workerLeft',
        words: 'A worker left: it was silent',
        fields: { name: 'lap' },
      },
    ]);
    expect(await (await fetch(`${api.url}/cluster/series`)).json()).toEqual({ buckets: [] });
  });

  it('are for administrators alone', async () => {
    const headers = { 'x-forwarded-for': '10.0.0.9', 'content-type': 'application/json' };
    for (const path of ['live', 'requests', 'requests/r1', 'events', 'series'])
      expect((await fetch(`${api.url}/cluster/${path}`, { headers })).status).toBe(403);
    expect((await api.post('/cluster/join-lines', {}, headers)).status).toBe(403);
    expect(wishes).toEqual([]);
  });
});

describe('POST /cluster/join-lines', () => {
  it('makes a line for the next machine', async () => {
    const response = await api.post('/cluster/join-lines', { hours: 2, uses: 1 });
    expect(await response.json()).toMatchObject({ usesMax: 1, expiresMs: 5 });
    await api.post('/cluster/join-lines', {});
    expect(wishes).toEqual([
      { lifeMs: 7_200_000, usesMax: 1, host: '127.0.0.1' },
      { lifeMs: null, usesMax: null, host: '127.0.0.1' },
    ]);
  });

  it.each([{ hours: 0 }, { uses: 1.5 }, { hour: 1 }])('refuses %j', async (body) => {
    expect((await api.post('/cluster/join-lines', body)).status).toBe(400);
    expect(wishes).toEqual([]);
  });
});
