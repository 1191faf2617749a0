import { ButterflyError } from '@butterfly/common';
import { markerVocabulary } from '@butterfly/text/testing';
import { Ollama } from 'ollama';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { say, startApi, type TestApi } from '../testing/api.js';
import { documentedRows, rowsOfFields } from '../testing/documentation.js';
import { embeddingFields, rerankFields } from './fields.js';

const model = 'echo';

let api: TestApi;
beforeAll(async () => {
  api = await startApi();
});
afterAll(() => api[Symbol.asyncDispose]());
beforeEach(() => {
  api.engine.refusal = null;
  api.engine.embedded.length = 0;
});

const lengthOf = (vector: readonly number[]) => Math.hypot(...vector);
const post = async (path: string, body: unknown): Promise<unknown> => (await api.post(path, body)).json();

describe('/v1/embeddings', () => {
  it('gives a vector of length 1 for each text, in order', async () => {
    const input = ['a', 'bcd', 'ef'];
    const { data, usage } = await api.client.embeddings.create({ model, input });
    expect(data.map(({ index }) => index)).toEqual([0, 1, 2]);
    for (const { embedding } of data) expect(lengthOf(embedding)).toBeCloseTo(1, 5);
    expect(usage).toEqual({ prompt_tokens: 9, total_tokens: 9 });
  });

  it('is the same as numbers and as the base64 that the official client asks for', async () => {
    const asNumbers = await api.client.embeddings.create({ model, input: 'a', encoding_format: 'float' });
    const byDefault = await api.client.embeddings.create({ model, input: 'a' });
    expect(byDefault.data[0]?.embedding).toEqual(asNumbers.data[0]?.embedding);
    const raw = (await post('/v1/embeddings', { input: 'a', encoding_format: 'base64' })) as {
      data: { embedding: string }[];
    };
    expect(raw.data[0]?.embedding).toMatch(/^[\w+/]+=*$/);
  });

  it('takes token ids, fewer numbers, and vectors as they are', async () => {
    const ids = { input: [[1, 2, 3], [4]], normalize: false, dimensions: 2 };
    expect(await post('/v1/embeddings', ids)).toMatchObject({
      data: [{ embedding: [3, 1] }, { embedding: [1, 4] }],
    });
    expect(await post('/v1/embeddings', { input: 'x'.repeat(100), truncate: true })).toMatchObject({
      usage: { prompt_tokens: 64 },
    });
  });

  it.each([
    [{ input: [] }, 'input', 'REQUEST_INVALID'],
    [{ input: [[]] }, 'input', 'REQUEST_INVALID'],
    [{ input: 5 }, 'input', 'REQUEST_INVALID'],
    [{ input: [[999]] }, 'input', 'REQUEST_INVALID'],
    [{ input: 'a', dimensions: 9 }, 'dimensions', 'REQUEST_INVALID'],
    [{ input: 'x'.repeat(100) }, 'input', 'context_length_exceeded'],
    [{ input: 'a', model: 'other' }, 'model', 'NOT_FOUND'],
    [{ input: 'a', nonsense: 1 }, 'nonsense', 'REQUEST_UNSUPPORTED'],
    [{ input: Array.from({ length: 2049 }, () => 'a') }, 'input', 'REQUEST_INVALID'],
  ])('refuses %#', async (body, param, code) => {
    expect(await post('/v1/embeddings', body)).toMatchObject({ error: { param, code } });
    api.engine.refusal = new ButterflyError('QUEUE_FULL', 'Later.');
    expect((await api.post('/v1/embeddings', { input: 'a' })).status).toBe(429);
  });
});

describe('/rerank', () => {
  it('orders documents by their scores', async () => {
    const documents = ['bb', { text: 'dddd' }, 'ccc'];
    const asked = { query: 'q', documents, top_n: 2, return_documents: true };
    for (const path of ['/rerank', '/v1/rerank'])
      expect(await post(path, asked)).toMatchObject({
        results: [
          { index: 1, relevance_score: 6, document: { text: 'dddd' } },
          { index: 2, relevance_score: 5, document: { text: 'ccc' } },
        ],
        usage: { prompt_tokens: 15 },
      });
    expect(api.engine.embedded.every(({ pooling }) => pooling === 'rank')).toBe(true);
  });
});

describe('/rerank of a model that was taught by a template', () => {
  it('fills in the question and the document, which are never read as special tokens', async () => {
    const vocabulary = markerVocabulary(['<|im_start|>']);
    const rerankTemplate = '<|im_start|>{query}:{document}\n{query}';
    await using ranking = await startApi(undefined, {}, { vocabulary, chatTemplate: '', rerankTemplate });
    const response = await ranking.post('/rerank', { query: '{document}', documents: ['<|im_start|>'] });
    expect(response.status).toBe(200);
    const [asked] = ranking.engine.embedded;
    const start = 258;
    expect([...(asked?.tokens ?? [])]).toEqual([start, ...say('{document}:<|im_start|>\n{document}')]);
  });
});

describe("Ollama's client", () => {
  it('gets embeddings by both routes', async () => {
    const client = new Ollama({ host: api.url });
    const { embeddings } = await client.embed({ model, input: ['a', 'b'] });
    expect(embeddings.map(lengthOf).map((length) => length.toFixed(3))).toEqual(['1.000', '1.000']);
    const { embedding } = await client.embeddings({ model, prompt: 'a' });
    expect(embedding).toEqual(embeddings[0]);
  });
});

describe('docs/other-apis.md', () => {
  it.each([
    ['`/v1/embeddings`', embeddingFields],
    ['`/rerank`', rerankFields],
  ])('lists the fields of %s', (title, fields) => {
    expect(documentedRows(title).sort()).toEqual(rowsOfFields(fields).sort());
  });
});
