import { limits } from '@butterfly/common';
import { markerVocabulary } from '@butterfly/text/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { say, startApi, type TestApi } from '../testing/api.js';
import { documentedRows, rowsOfFields } from '../testing/documentation.js';
import { eventsOf } from '../testing/server-events.js';
import { infillFields } from './fields.js';

const markers = ['<|fim_prefix|>', '<|fim_suffix|>', '<|fim_middle|>'];
const vocabulary = markerVocabulary(markers);
const [prefix, suffix, middle] = [258, 259, 260];

let api: TestApi;
let plain: TestApi;
beforeAll(async () => {
  api = await startApi(undefined, {}, { vocabulary, chatTemplate: '{{ messages }}' });
  api.engine.script = () => say('x = 1');
  plain = await startApi();
});
afterAll(async () => {
  await api[Symbol.asyncDispose]();
  await plain[Symbol.asyncDispose]();
});

const json = async (path: string, body: object, server = api): Promise<unknown> =>
  (await server.post(path, body)).json();
const asked = () => [...(api.engine.requests.at(-1)?.promptTokens ?? [])];
const gap = (before: string, behind: string) => [prefix, ...say(before), suffix, ...say(behind), middle];

describe('/infill', () => {
  const body = { input_prefix: 'def f():\n', input_suffix: '\nreturn x' };

  it('answers as llama-server does', async () => {
    api.engine.cachedPromptTokens = 3;
    expect(await json('/infill', { ...body, prompt: '  ', stop: ['1'], n_predict: 9 })).toMatchObject({
      content: 'x = ',
      stop: true,
      stop_type: 'word',
      stopping_word: '1',
      model: 'echo',
      tokens_predicted: 5,
      tokens_evaluated: 3 + 20,
      timings: { predicted_n: 5, prompt_n: 23 },
    });
    expect(asked()).toEqual(gap('def f():\n  ', '\nreturn x'));
    expect(api.engine.requests.at(-1)).toMatchObject({
      outputTokensMax: 9,
      sampling: { temperature: 0.8, topK: 40, topP: 0.95, minP: 0.05 },
    });
    expect(await json('/infill', { ...body, n_predict: 2 })).toMatchObject({
      content: 'x ',
      stop_type: 'limit',
      tokens_cached: 3,
    });
    expect(await json('/infill', { ...body, n_predict: 0 })).toMatchObject({ content: '', stop: true });
    api.engine.cachedPromptTokens = 0;
  });

  it('streams', async () => {
    const response = await api.post('/infill', { ...body, stream: true });
    const events = eventsOf(await response.text()) as { content: string; stop: boolean }[];
    expect(events.map(({ content }) => content).join('')).toBe('x = 1');
    expect(events.map(({ stop }) => stop)).toEqual([false, false, false, false, false, true]);
    expect(events.at(-1)).toMatchObject({ stop_type: 'eos', tokens_predicted: 5 });
  });

  it('shows the files around, and names what editors send that changes nothing here', async () => {
    const response = await api.post('/infill', {
      ...body,
      input_extra: [{ filename: 'a.py', text: 'a = 1', time: 5 }],
      samplers: ['top_k', 'infill'],
      n_indent: 2,
    });
    expect(response.status).toBe(200);
    expect(response.headers.get('x-butterfly-no-effect')).toBe('n_indent, samplers');
    expect(asked()).toEqual([
      ...say('\n\n--- snippet ---\n\na = 1'),
      ...gap(body.input_prefix, body.input_suffix),
    ]);
  });

  it.each([
    [{ input_prefix: 'a' }, 'input_suffix', 'REQUEST_INVALID'],
    [{ input_suffix: 'a' }, 'input_prefix', 'REQUEST_INVALID'],
    [{ ...body, input_extra: [{ filename: 'a' }] }, 'input_extra.0.text', 'REQUEST_INVALID'],
    [{ ...body, grammar: 'root ::= "a"' }, 'grammar', 'REQUEST_UNSUPPORTED'],
    [{ ...body, input_suffix: 'x'.repeat(300) }, 'input_prefix', 'context_length_exceeded'],
    [
      { ...body, input_extra: Array(limits.infillFilesMax + 1).fill({ text: '' }) as object[] },
      'input_extra',
      'REQUEST_INVALID',
    ],
  ])('refuses what is wrong by its name: %#', async (given, param, code) => {
    expect(await json('/infill', given)).toMatchObject({ error: { code, param } });
  });

  it('is refused where the model fills no gaps', async () => {
    expect(await json('/infill', body, plain)).toMatchObject({
      error: { code: 'REQUEST_UNSUPPORTED', param: 'input_suffix' },
    });
  });

  it('has its fields in the page of the API', () => {
    expect(documentedRows('`/infill`')).toEqual(rowsOfFields(infillFields));
  });
});

describe('suffix', () => {
  it('of /v1/completions leaves a gap behind each prompt', async () => {
    const { choices } = await api.client.completions.create({
      model: 'echo',
      prompt: ['a', 'b'],
      suffix: '\n',
    });
    expect(choices.map(({ text }) => text)).toEqual(['x = 1', 'x = 1']);
    expect(api.engine.requests.slice(-2).map(({ promptTokens }) => [...promptTokens])).toEqual([
      gap('a', '\n'),
      gap('b', '\n'),
    ]);
  });

  it("of Ollama's /api/generate does so without a template", async () => {
    expect(await json('/api/generate', { prompt: 'a', suffix: 'b', stream: false })).toMatchObject({
      response: 'x = 1',
    });
    expect(asked()).toEqual(gap('a', 'b'));
    expect(await json('/api/generate', { prompt: 'a', suffix: 'b', system: 'c' })).toMatchObject({
      error: expect.stringContaining('system') as string,
    });
  });

  it.each([
    [{ prompt: [1, 2], suffix: 'b' }, 'suffix'],
    [{ prompt: 'a', suffix: 'b', echo: true }, 'echo'],
  ])('is refused beside what it cannot go with: %j', async (body, param) => {
    expect(await json('/v1/completions', body)).toMatchObject({
      error: { code: 'REQUEST_UNSUPPORTED', param },
    });
  });

  it('is refused where the model fills no gaps, and a blank one is none', async () => {
    for (const path of ['/v1/completions', '/api/generate'])
      expect((await plain.post(path, { prompt: 'a', suffix: 'b' })).status).toBe(400);
    expect((await plain.post('/v1/completions', { prompt: 'a', suffix: '' })).status).toBe(200);
  });
});
