import { limits } from '@butterfly/common';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { say, startApi, type TestApi } from '../testing/api.js';

let api: TestApi;
beforeAll(async () => {
  api = await startApi();
});
afterAll(() => api[Symbol.asyncDispose]());

const post = async (path: string, body: unknown): Promise<unknown> => (await api.post(path, body)).json();
const bos = 256;

describe('/tokenize and /detokenize', () => {
  it("cut as llama-server's do, and back", async () => {
    expect(await post('/tokenize', { content: 'Hé' })).toMatchObject({ tokens: say('Hé') });
    expect(await post('/tokenize', { content: 'Hi', add_special: true })).toMatchObject({
      tokens: [bos, ...say('Hi')],
    });
    expect(await post('/tokenize', { content: 'é', with_pieces: true })).toMatchObject({
      tokens: [
        { id: 0xc3, piece: [0xc3] },
        { id: 0xa9, piece: [0xa9] },
      ],
    });
    expect(await post('/detokenize', { tokens: say('Hé') })).toMatchObject({ content: 'Hé' });
  });

  it("cut as vLLM's do, chats too", async () => {
    expect(await post('/tokenize', { model: 'echo', prompt: 'Hi' })).toMatchObject({
      tokens: [bos, ...say('Hi')],
      count: 3,
      max_model_len: 256,
    });
    const messages = [{ role: 'user', content: 'Hi' }];
    expect(await post('/tokenize', { messages })).toMatchObject({ tokens: [bos, ...say('user=Hi|')] });
  });

  it.each([
    ['/tokenize', {}, 'content'],
    ['/tokenize', { content: 'a', prompt: 'b' }, 'content'],
    ['/tokenize', { content: 'x'.repeat(limits.tokenizedCharactersMax + 1) }, 'content'],
    ['/detokenize', { tokens: [1000] }, 'tokens'],
    ['/detokenize', { tokens: [-1] }, 'tokens.0'],
    ['/tokenize', { content: 'a', model: 'other' }, 'model'],
  ])('refuse at %s what they cannot do: %#', async (path, body, param) => {
    expect(await post(path, body)).toMatchObject({ error: { param } });
  });
});

describe('/apply-template and /props', () => {
  it('show what the model reads', async () => {
    const messages = [{ role: 'user', content: 'Hi' }];
    expect(await post('/apply-template', { messages })).toEqual({ prompt: '<s>user=Hi|' });
    expect(await (await fetch(`${api.url}/props`)).json()).toMatchObject({
      model_alias: 'echo',
      default_generation_settings: { n_ctx: 256 },
      bos_token: '<s>',
    });
  });
});
