import { setTimeout as wait } from 'node:timers/promises';
import { ButterflyError } from '@butterfly/common';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { EchoEngine, say, startApi, type TestApi } from '../testing/api.js';

/** With as much time for clients to come back as a slow machine takes. */
const start = (graceMs = 600_000): Promise<TestApi> =>
  startApi(undefined, { resumption: { journal: null, isRelaxed: true, graceMs } });

let api: TestApi;
beforeAll(async () => {
  api = await start();
});
afterAll(() => api[Symbol.asyncDispose]());
afterEach(() => {
  const { script } = new EchoEngine();
  api.engine.script = script;
});

const json = { 'content-type': 'application/json' };
const body = { model: 'echo', messages: [{ role: 'user', content: 'Hi' }], stream: true, seed: 1 };
let names = 0;
const newName = (): string => `name-${names++}`;

const ask = (headers: Record<string, string>, fields: object = {}): Promise<Response> =>
  api.post('/v1/chat/completions', { ...body, ...fields }, { ...json, ...headers });

/** What an answer says: each of its events, with its number. */
const numbered = (text: string): string[] => text.split('\n\n').filter((event) => event !== '');

/** Reads until the text is there, and leaves. */
async function readUntil(response: Response, text: string): Promise<string> {
  const decoder = new TextDecoder();
  let read = '';
  for await (const bytes of response.body ?? []) {
    read += decoder.decode(bytes as Uint8Array, { stream: true });
    if (read.includes(text)) break;
  }
  return read;
}

/** An engine that says the first half, and the rest when it is told to. */
function halves(first: string, rest: string): () => void {
  let goOn: () => void = () => undefined;
  const half = new Promise<void>((resolve) => (goOn = resolve));
  api.engine.script = () => [...say(first), half, ...say(rest), 'stop'];
  return () => goOn();
}

async function cancellationsReach({ engine }: TestApi, count: number): Promise<void> {
  for (let turn = 0; turn < 2_000 && engine.cancellations < count; turn++) await wait(5);
  expect(engine.cancellations).toBe(count);
}

describe('a stream with a key', () => {
  it('numbers its events, and goes on behind the last one that was heard', async () => {
    const key = { 'idempotency-key': newName() };
    const goOn = halves('Hel', 'lo');
    const first = await readUntil(await ask(key), '"l"');
    goOn();
    const whole = await (await ask(key)).text();
    const events = numbered(whole);
    expect(events.map((event) => event.split('\n')[0])).toEqual(events.map((_, index) => `id: ${index}`));
    expect(whole.startsWith(first.slice(0, first.lastIndexOf('\n\n')))).toBe(true);
    expect(events.at(-1)).toContain('data: [DONE]');
    for (const last of [0, 3, events.length - 1]) {
      const rest = await ask({ ...key, 'last-event-id': String(last) });
      expect(rest.headers.get('idempotent-replayed')).toBe('true');
      expect(numbered(await rest.text())).toEqual(events.slice(last + 1));
    }
    expect(api.engine.requests).toHaveLength(1);
  });

  it('is the same answer for all who ask with it, at once and as often as they like', async () => {
    api.engine.requests.length = 0;
    const key = { 'idempotency-key': newName() };
    const texts = await Promise.all([1, 2, 3].map(async () => (await ask(key)).text()));
    expect(new Set(texts).size).toBe(1);
    const wholes = { 'idempotency-key': newName() };
    const answers = [await ask(wholes, { stream: false }), await ask(wholes, { stream: false })];
    const [one, other] = await Promise.all(answers.map((answer) => answer.json()));
    expect(one).toEqual(other);
    expect(api.engine.requests).toHaveLength(2);
  });

  it('is refused for another request, and where there is nothing to go on with', async () => {
    const key = { 'idempotency-key': newName() };
    await (await ask(key)).text();
    for (const [headers, fields, status] of [
      [key, { seed: 2 }, 400],
      [{ ...key, 'last-event-id': '1' }, { seed: 2 }, 400],
      [{ 'idempotency-key': newName(), 'last-event-id': '1' }, {}, 404],
      [{ 'last-event-id': '1' }, {}, 400],
      [{ ...key, 'last-event-id': '-1' }, {}, 400],
      [{ ...key, 'x-conversation-id': 'a' }, {}, 400],
      [{ 'idempotency-key': 'ä' }, {}, 400],
    ] as const)
      expect((await ask(headers, fields)).status).toBe(status);
  });

  it('runs on when its client is gone, and is cancelled when nobody comes back within the grace', async () => {
    const key = { ...json, 'idempotency-key': newName() };
    api.engine.script = () => [...say('Hel'), 'hang'];
    const before = api.engine.cancellations;
    await readUntil(await api.post('/v1/chat/completions', body, key), '"l"');
    const again = await api.post('/v1/chat/completions', body, { ...key, 'last-event-id': '1' });
    await readUntil(again, '"l"');
    expect(api.engine.cancellations).toBe(before);
    await using hasty = await start(20);
    hasty.engine.script = () => [...say('Hel'), 'hang'];
    await readUntil(await hasty.post('/v1/chat/completions', body, key), '"l"');
    await cancellationsReach(hasty, 1);
    const late = await hasty.post('/v1/chat/completions', body, { ...key, 'last-event-id': '1' });
    expect(late.status).toBe(404);
  });

  it('is heard again without its request, and ended, by its key', async () => {
    const before = api.engine.cancellations;
    const key = { 'idempotency-key': newName() };
    api.engine.script = () => [...say('Hel'), 'hang'];
    const first = await readUntil(await ask(key), '"l"');
    const url = `${api.url}/v1/stream`;
    expect(await readUntil(await fetch(url, { headers: key }), '"l"')).toBe(first);
    expect((await fetch(url, { method: 'DELETE', headers: key })).status).toBe(204);
    await cancellationsReach(api, before + 1);
    expect((await fetch(url, { headers: key })).status).toBe(404);
  });

  it('makes another try of what failed', async () => {
    const key = { 'idempotency-key': newName() };
    api.engine.script = () => [...say('a'), new ButterflyError('WORKER_LOST', 'It is gone.')];
    await (await ask(key)).text();
    api.engine.script = () => [...say('b'), 'stop'];
    expect(await (await ask(key)).text()).toContain('"b"');
  });
});

describe("a conversation, in llama-server's words", () => {
  const streamUrl = (conversation: string, rest = ''): string =>
    `${api.url}/v1/stream?conv_id=${conversation}${rest}`;
  const lookUp = async (...ids: string[]): Promise<unknown> =>
    (await api.post('/v1/streams/lookup', { conversation_ids: ids })).json();

  it('is heard again from any byte, within a character too, while it runs and when it is over', async () => {
    const name = newName();
    const goOn = halves('Grüße ', 'ß');
    const head = await readUntil(await ask({ 'x-conversation-id': name }), '" "');
    expect(await lookUp(name)).toMatchObject([{ conversation_id: name, is_done: false, completed_at: 0 }]);
    const following = fetch(streamUrl(name, `&from=${Buffer.byteLength(head)}`));
    goOn();
    const rest = await (await following).text();
    const whole = Buffer.from(await (await fetch(streamUrl(name))).arrayBuffer());
    expect(head + rest).toBe(whole.toString());
    for (let from = 0; from <= whole.length; from += 7) {
      const heard = await (await fetch(streamUrl(name, `&from=${from}`))).arrayBuffer();
      expect(Buffer.from(heard).equals(whole.subarray(from))).toBe(true);
    }
    expect(await lookUp(name, 'other')).toMatchObject([
      { conversation_id: name, is_done: true, total_bytes: whole.length },
    ]);
    const events = numbered(whole.toString());
    const behind = await fetch(streamUrl(name), { headers: { 'last-event-id': '2' } });
    expect(numbered(await behind.text())).toEqual(events.slice(3));
  });

  it('has one answer at a time, and ends it when it is told to', async () => {
    const before = api.engine.cancellations;
    const name = newName();
    api.engine.script = () => [...say('Hel'), 'hang'];
    await readUntil(await ask({ 'x-conversation-id': `${name}::echo` }), '"l"');
    await readUntil(await ask({ 'x-conversation-id': `${name}::echo` }), '"l"');
    await cancellationsReach(api, before + 1);
    expect(await lookUp(name)).toMatchObject([{ conversation_id: `${name}::echo`, is_done: false }]);
    for (let time = 0; time < 2; time++) {
      const deleted = await fetch(streamUrl(`${name}::echo`), { method: 'DELETE' });
      expect(deleted.status).toBe(204);
    }
    await cancellationsReach(api, before + 2);
    expect(await lookUp(name)).toEqual([]);
    expect((await fetch(streamUrl(`${name}::echo`))).status).toBe(404);
    for (const query of ['', `?conv_id=a&from=x`])
      expect((await fetch(`${api.url}/v1/stream${query}`)).status).toBe(400);
  });
});

describe('a response in the background', () => {
  it('is streamed, and streamed again behind any of its events', async () => {
    const goOn = halves('Hel', 'lo');
    const stream = await api.client.responses.create({
      model: 'echo',
      input: 'Hi',
      background: true,
      stream: true,
    });
    let id = '';
    let last = 0;
    for await (const event of stream) {
      if (event.type === 'response.created') ({ id } = event.response);
      last = event.sequence_number;
      if (event.type === 'response.output_text.delta') break;
    }
    goOn();
    const texts: string[] = [];
    const rest = await api.client.responses.retrieve(id, { stream: true, starting_after: last });
    for await (const event of rest) {
      expect(event.sequence_number).toBe(++last);
      if (event.type === 'response.output_text.delta') texts.push(event.delta);
    }
    expect(texts.join('')).toBe('ello');
    expect(await api.client.responses.retrieve(id)).toMatchObject({ id, status: 'completed' });
    const other = await api.client.responses.create({ model: 'echo', input: 'Hi' });
    const again = api.client.responses.retrieve(other.id, { stream: true });
    await expect(again).rejects.toMatchObject({ status: 400, code: 'REQUEST_UNSUPPORTED' });
  });
});
