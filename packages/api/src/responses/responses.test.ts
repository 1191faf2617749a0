import { ButterflyError } from '@butterfly/common';
import type { Response as ModelResponse, ResponseStreamEvent } from 'openai/resources/responses/responses';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { say, startApi, type TestApi } from '../testing/api.js';
import { conformanceErrors } from '../testing/conformance/validate.js';
import { eventsOf } from '../testing/server-events.js';

let api: TestApi;
beforeAll(async () => {
  api = await startApi();
});
afterAll(() => api[Symbol.asyncDispose]());
beforeEach(() => {
  api.engine.requests.length = 0;
  api.engine.script = () => say('Hello');
});

/** What the model was given to read last, BOS aside. */
const lastPrompt = () =>
  Buffer.from([...(api.engine.requests.at(-1)?.promptTokens ?? [])].slice(1)).toString();
const create = (fields: object = {}) =>
  api.client.responses.create({ model: 'echo', input: 'Hi', ...fields }) as Promise<ModelResponse>;
const post = (fields: object) => api.post('/v1/responses', { input: 'Hi', ...fields });
const refusal = async (response: Response) => {
  const { error } = (await response.json()) as {
    error: { code: string; param: string | null; message: string };
  };
  return [response.status, error.code, error.param];
};

describe('an answer in one piece', () => {
  it("is OpenAI's object, with all that was asked for", async () => {
    api.engine.cachedPromptTokens = 4;
    const response = await post({
      instructions: 'Be brief.',
      metadata: { a: 'b' },
      temperature: 0.5,
      user: 'me',
      max_output_tokens: 100,
    });
    api.engine.cachedPromptTokens = 0;
    const body = (await response.json()) as ModelResponse;
    expect(conformanceErrors('response', body)).toEqual([]);
    expect(body).toMatchObject({
      status: 'completed',
      model: 'echo',
      error: null,
      instructions: 'Be brief.',
      metadata: { a: 'b' },
      temperature: 0.5,
      user: 'me',
      max_output_tokens: 100,
      output: [{ type: 'message', role: 'assistant', status: 'completed', content: [{ text: 'Hello' }] }],
      usage: {
        input_tokens: 26,
        output_tokens: 5,
        total_tokens: 31,
        input_tokens_details: { cached_tokens: 4 },
      },
    });
    expect(lastPrompt()).toBe('system=Be brief.|user=Hi|');
  });

  it('is read by the client', async () => {
    const { output_text, id } = await create();
    expect([output_text, id.slice(0, 5)]).toEqual(['Hello', 'resp_']);
  });

  it('that ends by its length is incomplete', async () => {
    const response = await create({ max_output_tokens: 2 });
    expect(conformanceErrors('response', { ...response })).toEqual([]);
    expect(response).toMatchObject({
      status: 'incomplete',
      incomplete_details: { reason: 'max_output_tokens' },
      output_text: 'He',
      output: [{ status: 'incomplete' }],
    });
  });

  it('without a word has an empty message', async () => {
    api.engine.script = () => ['stop'];
    const { output, output_text } = await create();
    expect([output.length, output_text]).toEqual([1, '']);
  });

  it('that fails is an HTTP error', async () => {
    api.engine.script = () => [new ButterflyError('WORKER_LOST', 'It is gone.')];
    expect(await refusal(await post({}))).toEqual([503, 'WORKER_LOST', null]);
    expect(await refusal(await post({ input: 'x'.repeat(300) }))).toMatchObject([
      400,
      'context_length_exceeded',
      'input',
    ]);
  });
});

describe('a stream', () => {
  const stream = async (fields: object = {}) => {
    const response = await post({ stream: true, ...fields });
    expect([response.status, response.headers.get('content-type')]).toEqual([
      200,
      'text/event-stream; charset=utf-8',
    ]);
    const events = eventsOf(await response.text());
    for (const event of events)
      expect([event.type, conformanceErrors('responseEvent', event)]).toEqual([event.type, []]);
    expect(events.map(({ sequence_number }) => sequence_number)).toEqual(events.map((_, at) => at));
    return events;
  };
  const typesOf = (events: readonly { readonly type?: string }[]) =>
    events.map(({ type }) => type).filter((type, at, all) => type !== all[at - 1]);

  it('tells all steps, and each object conforms', async () => {
    const events = await stream();
    expect(typesOf(events)).toEqual([
      'response.created',
      'response.in_progress',
      'response.output_item.added',
      'response.content_part.added',
      'response.output_text.delta',
      'response.output_text.done',
      'response.content_part.done',
      'response.output_item.done',
      'response.completed',
    ]);
    expect(events.at(-1)).toMatchObject({ response: { status: 'completed', usage: { output_tokens: 5 } } });
  });

  it('ends as incomplete where the length ended it', async () => {
    const events = await stream({ max_output_tokens: 2 });
    expect(events.at(-1)).toMatchObject({ type: 'response.incomplete', response: { status: 'incomplete' } });
  });

  it('that breaks ends as failed, with what there was, after an error', async () => {
    api.engine.script = () => [...say('He'), new ButterflyError('WORKER_LOST', 'It is gone.')];
    const events = await stream();
    expect(events.slice(-2)).toMatchObject([
      { type: 'error', code: 'WORKER_LOST', message: 'It is gone.' },
      {
        type: 'response.failed',
        response: {
          status: 'failed',
          error: { code: 'server_error' },
          output: [{ content: [{ text: 'He' }] }],
        },
      },
    ]);
  });

  it('tells in its events that the input is too long, since agents look there', async () => {
    const events = await stream({ input: 'x'.repeat(300) });
    expect(typesOf(events)).toEqual(['response.created', 'response.in_progress', 'error', 'response.failed']);
    expect(events.at(-1)).toMatchObject({
      response: {
        error: {
          code: 'context_length_exceeded',
          message: expect.stringMatching('maximum context length') as string,
        },
      },
    });
  });

  it('that is refused for anything else has the status of that', async () => {
    expect(await refusal(await post({ stream: true, model: 'other' }))).toMatchObject([
      404,
      'NOT_FOUND',
      'model',
    ]);
  });

  it('is read by the helper of the client', async () => {
    const helper = api.client.responses.stream({ model: 'echo', input: 'Hi' });
    const deltas: string[] = [];
    helper.on('response.output_text.delta', ({ delta }) => deltas.push(delta));
    const { output_text, status } = await helper.finalResponse();
    expect([deltas.join(''), output_text, status]).toEqual(['Hello', 'Hello', 'completed']);
  });
});

describe('the helper of the client', () => {
  it('hears of a failure', async () => {
    const { client } = api;
    const helper = client.responses.stream({ model: 'echo', input: 'x'.repeat(300) });
    await expect(helper.finalResponse()).rejects.toMatchObject({ code: 'context_length_exceeded' });
  });
});

describe('what is kept', () => {
  it('is continued by its id, with instructions of its own', async () => {
    const first = await create({ instructions: 'Sing.' });
    const second = await create({ previous_response_id: first.id, input: 'And?' });
    expect(lastPrompt()).toBe('user=Hi|assistant=Hello|user=And?|');
    expect(second.previous_response_id).toBe(first.id);
    await create({ previous_response_id: second.id, input: 'So?', instructions: 'Hum.' });
    expect(lastPrompt()).toBe('system=Hum.|user=Hi|assistant=Hello|user=And?|assistant=Hello|user=So?|');
  });

  it('is found, listed and deleted', async () => {
    const input = [
      { role: 'user', content: [{ type: 'input_text', text: 'Hi' }] },
      { role: 'user', content: 'Ho' },
    ];
    const { id, output } = await create({ input });
    const found = await api.client.responses.retrieve(id);
    expect(
      conformanceErrors('response', await (await fetch(`${api.url}/v1/responses/${id}`)).json()),
    ).toEqual([]);
    expect(found.output).toEqual(output);
    const list = (await (await fetch(`${api.url}/v1/responses/${id}/input_items`)).json()) as {
      data: unknown[];
    };
    expect(conformanceErrors('responseItemList', list)).toEqual([]);
    expect(list).toMatchObject({
      data: [{ content: [{ text: 'Ho' }] }, { content: [{ text: 'Hi' }] }],
      has_more: false,
    });
    const pages: string[] = [];
    for await (const item of api.client.responses.inputItems.list(id, { limit: 1, order: 'asc' }))
      if (item.type === 'message') pages.push(JSON.stringify(item.content));
    expect(pages.join()).toMatch(/Hi.*Ho/);
    await api.client.responses.delete(id);
    await expect(api.client.responses.retrieve(id)).rejects.toMatchObject({ status: 404, code: 'NOT_FOUND' });
    await expect(create({ previous_response_id: id })).rejects.toMatchObject({
      status: 404,
      param: 'previous_response_id',
      message: expect.stringContaining('is not kept here') as string,
    });
  });

  it('can be named item by item', async () => {
    const { output } = await create();
    const references = output.map(({ id }) => ({ type: 'item_reference', id }));
    await create({
      input: [{ role: 'user', content: 'Hi' }, ...references, { role: 'user', content: 'And?' }],
    });
    expect(lastPrompt()).toBe('user=Hi|assistant=Hello|user=And?|');
    expect(await refusal(await post({ input: [{ type: 'item_reference', id: 'msg_x' }] }))).toMatchObject([
      404,
      'NOT_FOUND',
      'input.0.id',
    ]);
  });

  it('is nothing where it should not be', async () => {
    const { id } = await create({ store: false });
    await expect(api.client.responses.retrieve(id)).rejects.toMatchObject({ status: 404 });
  });

  it('says which of two routes has which methods', async () => {
    const response = await fetch(`${api.url}/v1/responses/x`, { method: 'PATCH' });
    expect([response.status, response.headers.get('allow')]).toEqual([405, 'GET, HEAD, DELETE']);
  });
});

describe('what runs', () => {
  it('is found and can be cancelled, and its stream says so', async () => {
    api.engine.script = () => [...say('He'), 'hang'];
    const events: ResponseStreamEvent[] = [];
    for await (const event of await api.client.responses.create({
      model: 'echo',
      input: 'Hi',
      stream: true,
    })) {
      events.push(event);
      if (event.type !== 'response.output_text.delta' || event.delta !== 'e') continue;
      const [created] = events;
      if (created?.type !== 'response.created') throw new Error('It did not begin with created.');
      const { id } = created.response;
      expect(await api.client.responses.retrieve(id)).toMatchObject({
        status: 'in_progress',
        output_text: 'He',
      });
      expect((await fetch(`${api.url}/v1/responses/${id}`, { method: 'DELETE' })).status).toBe(400);
      expect((await post({ previous_response_id: id })).status).toBe(400);
      expect(await api.client.responses.cancel(id)).toMatchObject({ id, status: 'cancelled' });
    }
    expect(events.slice(-2).map(({ type }) => type)).toEqual(['error', 'response.failed']);
    await api.engine.idle();
    const [created] = events;
    if (created?.type !== 'response.created') throw new Error('It did not begin with created.');
    expect(await api.client.responses.retrieve(created.response.id)).toMatchObject({ status: 'cancelled' });
    expect(await refusal(await post({ previous_response_id: created.response.id }))).toMatchObject([
      400,
      'REQUEST_INVALID',
      'previous_response_id',
    ]);
  });

  it('is nothing that nobody knows', async () => {
    const response = await fetch(`${api.url}/v1/responses/resp_x/cancel`, { method: 'POST' });
    expect(await refusal(response)).toMatchObject([404, 'NOT_FOUND', 'response_id']);
  });
});
