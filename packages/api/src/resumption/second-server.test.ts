import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ButterflyError, type ButterflyEvent } from '@butterfly/common';
import { type Journal, openEmbeddedJournal } from '@butterfly/journal';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { say, startApi, type TestApi } from '../testing/api.js';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'butterfly-test-'));
});
afterEach(() => rm(directory, { recursive: true }));

const bytesMax = 16 * 1024 * 1024;

interface Life extends AsyncDisposable {
  readonly api: TestApi;
  readonly journal: Journal;
  readonly events: readonly ButterflyEvent[];
}

/** A server with the journal of the folder; the next one can be started when it is disposed. */
async function start(isRelaxed = false): Promise<Life> {
  const journal = await openEmbeddedJournal({ directory, bytesMax, requestsMax: 16 });
  const events: ButterflyEvent[] = [];
  const api = await startApi(undefined, {
    resumption: { journal, isRelaxed, graceMs: 60_000 },
    observe: (event) => events.push(event),
  });
  return {
    ...{ api, journal, events },
    [Symbol.asyncDispose]: async () => {
      await api.close();
      await journal.close();
    },
  };
}

/** A journal that does some things in another way. */
const over = (journal: Journal, changes: Partial<Journal>): Journal => ({
  begin: (record) => journal.begin(record),
  append: (id, entries) => journal.append(id, entries),
  end: (id, endedMs) => journal.end(id, endedMs),
  forget: (id) => journal.forget(id),
  requests: () => journal.requests(),
  entries: (id) => journal.entries(id),
  close: () => journal.close(),
  ...changes,
});

const words = 'Grüße an alle';
/** The first tokens, and then nothing more. */
const begins = (tokens: number) => () => [...say(words).slice(0, tokens), 'hang'] as const;
const whole = () => [...say(words), 'stop'] as const;

const headers = { 'content-type': 'application/json', 'idempotency-key': 'mine' };
const chat = { model: 'echo', messages: [{ role: 'user', content: 'Hi' }], stream: true, logprobs: true };

/** What came before the connection ended, in whole events; broken off or not. @param onText hears all of it so far */
async function heard(response: Response, onText: (text: string) => void = () => undefined): Promise<string> {
  let text = '';
  const decoder = new TextDecoder();
  try {
    for await (const bytes of response.body ?? []) {
      text += decoder.decode(bytes as Uint8Array, { stream: true });
      onText(text);
    }
  } catch {
    // It broke off.
  }
  return text.slice(0, text.lastIndexOf('\n\n') + 2);
}

const chunksOf = (text: string): number => text.split('\n\n').length - 1;

describe('a server that is started again', () => {
  it.each([0, 1, 3, 4, say(words).length])(
    'goes on with a stream of which %i tokens were said, in other words for none of them',
    async (tokens) => {
      let before: string;
      {
        await using life = await start();
        life.api.engine.script = begins(tokens);
        const response = await life.api.post('/v1/chat/completions', chat, headers);
        // As many chunks as were said, behind that with the role; of none, nothing comes at all.
        let tell: () => void = () => undefined;
        const told = new Promise<void>((resolve) => (tell = resolve));
        const hearing = heard(response, (text) => {
          if (chunksOf(text) > tokens) tell();
        });
        if (tokens > 0) await told;
        await life.api.close();
        before = await hearing;
      }
      expect(chunksOf(before)).toBe(tokens === 0 ? 0 : tokens + 1);
      await using life = await start();
      life.api.engine.script = whole;
      const last = chunksOf(before) - 1;
      const more = last < 0 ? {} : { 'last-event-id': String(last) };
      const rest = await heard(await life.api.post('/v1/chat/completions', chat, { ...headers, ...more }));
      const all = before + rest;
      expect(await heard(await life.api.post('/v1/chat/completions', chat, headers))).toBe(all);
      expect(life.api.engine.requests.map(({ knownOutput }) => knownOutput?.length ?? 0)).toEqual([tokens]);
      expect(life.events.some(({ kind }) => kind === 'requestRestored')).toBe(true);
      const said = [...all.matchAll(/"content":"([^"]*)"/g)].map(([, text]) => text).join('');
      expect(said).toBe(words);
      expect(all.match(/data: \[DONE\]/g)).toHaveLength(1);
    },
  );

  it('makes one answer of several requests with one key that come before it knows what was left', async () => {
    const journal = await openEmbeddedJournal({ directory, bytesMax, requestsMax: 16 });
    let tell: () => void = () => undefined;
    const told = new Promise<void>((resolve) => (tell = resolve));
    const slow = over(journal, {
      requests: async () => {
        await told;
        return journal.requests();
      },
    });
    await using api = await startApi(undefined, {
      resumption: { journal: slow, isRelaxed: false, graceMs: 60_000 },
    });
    api.engine.script = whole;
    const asked = [1, 2, 3].map(() => api.post('/v1/chat/completions', chat, headers));
    await new Promise((resolve) => setTimeout(resolve, 100));
    tell();
    const texts = await Promise.all((await Promise.all(asked)).map((each) => heard(each)));
    expect(new Set(texts).size).toBe(1);
    expect(texts[0]).toContain('[DONE]');
    expect(api.engine.requests).toHaveLength(1);
    await api.close();
    await journal.close();
  });

  it('tells again what was over, whole answers too, without another computation', async () => {
    const asked = { ...chat, stream: false };
    const answers: unknown[] = [];
    for (let life = 0; life < 3; life++) {
      await using server = await start(life > 0);
      server.api.engine.script = whole;
      answers.push(await (await server.api.post('/v1/chat/completions', asked, headers)).json());
      expect(server.api.engine.requests).toHaveLength(life === 0 ? 1 : 0);
      // Nor is it counted again.
      const counted = server.events.filter(({ kind }) => kind === 'requestBegun' || kind === 'requestEnded');
      expect(counted).toHaveLength(life === 0 ? 2 : 0);
    }
    expect(answers[1]).toEqual(answers[0]);
    expect(answers[2]).toEqual(answers[0]);
  });

  it('forgets what failed, what was ended, and what nobody can read any more', async () => {
    {
      await using life = await start();
      life.api.engine.script = () => [...say('a'), new ButterflyError('WORKER_LOST', 'It is gone.')];
      await heard(await life.api.post('/v1/chat/completions', chat, headers));
      const other = { ...headers, 'idempotency-key': 'other' };
      life.api.engine.script = begins(3);
      const leaving = await life.api.post('/v1/chat/completions', chat, other);
      await leaving.body?.cancel();
      await fetch(`${life.api.url}/v1/stream`, { method: 'DELETE', headers: { 'idempotency-key': 'other' } });
      await life.journal.begin({
        ...{ id: 'req_odd', handle: 'key//odd', model: 'echo', startedMs: Date.now() },
        ...{ deadlineMs: Date.now() + 60_000, asked: '{"odd":1}' },
      });
      await life.journal.begin({
        ...{ id: 'req_late', handle: 'key//late', model: 'echo', startedMs: 0, deadlineMs: 1, asked: '{}' },
      });
    }
    {
      await using life = await start();
      for (const key of ['odd', 'late', 'mine', 'other']) {
        const asked = { headers: { 'idempotency-key': key } };
        expect((await fetch(`${life.api.url}/v1/stream`, asked)).status).toBe(404);
      }
      expect(life.api.engine.requests).toHaveLength(0);
      const failures = life.events.filter(({ kind }) => kind === 'journalFailed');
      expect(failures).toMatchObject([{ requestId: 'req_odd' }]);
    }
    const journal = await openEmbeddedJournal({ directory, bytesMax, requestsMax: 16 });
    expect(await journal.requests()).toEqual([]);
    await journal.close();
  });

  it('keeps a response in the background, and its stream', async () => {
    let id: string;
    {
      await using life = await start();
      life.api.engine.script = begins(3);
      const begun = await life.api.client.responses.create({ model: 'echo', input: 'Hi', background: true });
      ({ id } = begun);
      const stream = await life.api.client.responses.retrieve(id, { stream: true });
      for await (const event of stream) if (event.type === 'response.output_text.delta') break;
    }
    await using life = await start();
    life.api.engine.script = whole;
    const texts: string[] = [];
    for await (const event of await life.api.client.responses.retrieve(id, { stream: true }))
      if (event.type === 'response.output_text.delta') texts.push(event.delta);
    expect(texts.join('')).toBe(words);
    expect(await life.api.client.responses.retrieve(id)).toMatchObject({ id, status: 'completed' });
  });
});

describe('a journal that fails', () => {
  const append = (): Promise<void> =>
    Promise.reject(new ButterflyError('JOURNAL_FAILED', 'The disk is full; free some of it.'));

  it.each([
    ['ends the answer, of which no word was told', false],
    ['costs the answer nothing but its second life, where it is relaxed', true],
  ] as const)('%s', async (_, isRelaxed) => {
    const journal = await openEmbeddedJournal({ directory, bytesMax, requestsMax: 16 });
    await using api = await startApi(undefined, {
      resumption: { journal: over(journal, { append }), isRelaxed, graceMs: 60_000 },
    });
    api.engine.script = whole;
    const text = await heard(await api.post('/v1/chat/completions', chat, headers));
    expect(text.includes('"content":"G"')).toBe(isRelaxed);
    expect(text.includes('JOURNAL_FAILED')).toBe(!isRelaxed);
    await api.close();
    await journal.close();
  });
});
