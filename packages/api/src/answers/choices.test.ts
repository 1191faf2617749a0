import { ButterflyError } from '@butterfly/common';
import type { ChatCompletionChunk } from 'openai/resources/chat/completions';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { say, startApi, type TestApi } from '../testing/api.js';

const messages = [{ role: 'user' as const, content: 'Hi' }];

/** OpenAI's types call the field deprecated. */
const seeded = (seed: number): object => ({ seed });

describe('several answers to one request', () => {
  let api: TestApi;
  beforeAll(async () => {
    api = await startApi();
  });
  afterAll(() => api[Symbol.asyncDispose]());

  it('come together, each drawn with its own seed, and the prompt is computed once', async () => {
    api.engine.requests.length = 0;
    api.engine.script = ({ sampling: { seed } }) => say(`seed ${seed}`);
    const { choices, usage } = await api.client.chat.completions.create({
      model: 'echo',
      messages,
      n: 3,
      ...seeded(2 ** 32 - 1),
    });
    expect(choices.map(({ index, message }) => [index, message.content])).toEqual([
      [0, `seed ${2 ** 32 - 1}`],
      [1, 'seed 0'],
      [2, 'seed 1'],
    ]);
    expect(usage).toMatchObject({ prompt_tokens: 9, completion_tokens: 15 + 6 + 6 });
    expect(api.engine.requests).toHaveLength(3);
  });

  it('wait for the first one to have computed the prompt', async () => {
    let goOn: () => void = () => undefined;
    const first = new Promise<void>((resolve) => (goOn = resolve));
    api.engine.requests.length = 0;
    api.engine.script = ({ sampling: { seed } }) => (seed === 5 ? [first, ...say('a')] : say('b'));
    const answers = api.client.completions.create({ model: 'echo', prompt: 'x', n: 2, ...seeded(5) });
    await api.engine.submitted();
    expect(api.engine.requests).toHaveLength(1);
    goOn();
    expect((await answers).choices.map(({ text }) => text)).toEqual(['a', 'b']);
  });

  it('are streamed side by side, each with its role first and its end last', async () => {
    api.engine.script = ({ sampling: { seed } }) => say(seed === 1 ? 'one' : 'two');
    const stream = await api.client.chat.completions.create({
      model: 'echo',
      messages,
      n: 2,
      ...seeded(1),
      stream: true,
      stream_options: { include_usage: true },
    });
    const chunks: ChatCompletionChunk[] = [];
    for await (const chunk of stream) chunks.push(chunk);
    for (const [index, text] of ['one', 'two'].entries()) {
      const own = chunks.flatMap(({ choices }) => choices).filter((choice) => choice.index === index);
      expect(own[0]?.delta).toEqual({ role: 'assistant', content: '' });
      expect(own.map(({ delta }) => delta.content ?? '').join('')).toBe(text);
      expect(own.map(({ finish_reason }) => finish_reason).filter((reason) => reason)).toEqual(['stop']);
    }
    expect(chunks.at(-1)?.usage).toMatchObject({ completion_tokens: 6 });
  });

  it('fail together, and free what the others hold', async () => {
    api.engine.cancellations = 0;
    api.engine.script = ({ sampling: { seed } }) =>
      seed === 1 ? [...say('a'), 'hang'] : [new ButterflyError('WORKER_LOST', 'It is gone.')];
    const response = await api.post('/v1/chat/completions', { messages, n: 2, seed: 1 });
    expect([response.status, response.headers.get('x-butterfly-code')]).toEqual([503, 'WORKER_LOST']);
    await api.engine.idle();
  });

  it('come for each of several prompts, with these before them where that is asked for', async () => {
    api.engine.script = ({ promptTokens, sampling: { seed } }) => say(`${promptTokens.length}/${seed}`);
    const asked = { model: 'echo', prompt: ['a', 'bcd'], n: 2, echo: true, ...seeded(8) };
    const { choices, usage } = await api.client.completions.create(asked);
    const expected = ['a2/8', 'a2/9', 'bcd4/8', 'bcd4/9'];
    expect(choices.map(({ index, text }) => [index, text])).toEqual([...expected.entries()]);
    expect(usage).toMatchObject({ prompt_tokens: 6, completion_tokens: 12 });
    const texts = ['', '', '', ''];
    for await (const { choices: parts } of await api.client.completions.create({ ...asked, stream: true }))
      for (const { index, text } of parts) texts[index] = (texts[index] ?? '') + text;
    expect(texts).toEqual(expected);
  });
});

describe('the best of several answers', () => {
  let api: TestApi;
  beforeAll(async () => {
    api = await startApi();
  });
  afterAll(() => api[Symbol.asyncDispose]());

  /** By seed: a long one that is likely by token, two alike, a short one that is not, and one without a token. */
  const said: Readonly<Record<number, readonly [text: string, logprob: number]>> = {
    1: ['unlikely', -3],
    2: ['a long and likely one', -0.5],
    3: ['one', -1],
    4: ['two', -1],
    5: ['', 0],
    6: ['ruled out', -Infinity],
  };
  const ask = async (fields: object): Promise<unknown> => {
    api.engine.script = ({ sampling: { seed } }) => {
      const [text, logprob] = said[seed] ?? ['', 0];
      return say(text).map((token) => ({ token, logprob }));
    };
    return (await api.post('/v1/completions', { prompt: 'x', seed: 1, ...fields })).json();
  };

  it('are those whose tokens are likeliest on average, the best first', async () => {
    api.engine.requests.length = 0;
    const answer = await ask({ best_of: 6, n: 6 - 1, max_tokens: 50 });
    const texts = ['a long and likely one', 'one', 'two', 'unlikely', ''];
    expect(answer).toMatchObject({
      choices: texts.map((text, index) => ({ index, text, logprobs: null, finish_reason: 'stop' })),
      usage: { completion_tokens: texts.join('').length + 'ruled out'.length },
    });
    expect(api.engine.requests.map(({ sampling: { seed } }) => seed)).toEqual([1, 2, 3, 4, 5, 6]);
  });

  it('tell of their tokens where that is asked for, and of each prompt its own', async () => {
    const answer = await ask({ prompt: ['x', 'y'], best_of: 4, logprobs: 0, max_tokens: 3 });
    const best = { text: 'a l', logprobs: { token_logprobs: [-0.5, -0.5, -0.5] } };
    expect(answer).toMatchObject({
      choices: [
        { index: 0, ...best },
        { index: 1, ...best },
      ],
    });
  });

  it('are as many as are made where no more are asked for', async () => {
    api.engine.requests.length = 0;
    expect(await ask({ best_of: 2, n: 2, stream: false })).toMatchObject({
      choices: [{ text: 'unlikely' }, { text: 'a long and likel' }],
    });
    expect(api.engine.requests.map(({ logprobs }) => logprobs)).toEqual([null, null]);
  });

  it('are no fewer than are told of, and come in one piece', async () => {
    expect(await ask({ best_of: 1, n: 2 })).toMatchObject({
      error: { code: 'REQUEST_INVALID', param: 'best_of' },
    });
    expect(await ask({ best_of: 2, stream: true })).toMatchObject({
      error: { code: 'REQUEST_UNSUPPORTED', param: 'best_of' },
    });
  });

  it('fail together, and free what the others hold', async () => {
    api.engine.script = ({ sampling: { seed } }) =>
      seed === 1 ? [...say('a'), 'hang'] : [new ButterflyError('WORKER_LOST', 'It is gone.')];
    const response = await api.post('/v1/completions', { prompt: 'x', best_of: 3, seed: 1 });
    expect([response.status, response.headers.get('x-butterfly-code')]).toEqual([503, 'WORKER_LOST']);
    await api.engine.idle();
  });
});
