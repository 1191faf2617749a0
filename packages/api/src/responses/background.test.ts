import { setImmediate as nextTurn } from 'node:timers/promises';
import { ButterflyError } from '@butterfly/common';
import type { Response as ModelResponse } from 'openai/resources/responses/responses';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { say, startApi, type TestApi } from '../testing/api.js';
import { conformanceErrors } from '../testing/conformance/validate.js';

let api: TestApi;
beforeAll(async () => {
  api = await startApi();
});
afterAll(() => api[Symbol.asyncDispose]());

const begin = (fields: object = {}): Promise<ModelResponse> =>
  api.client.responses.create({ model: 'echo', input: 'Hi', background: true, stream: false, ...fields });

/** How it stands when nothing runs any more. */
async function ended(id: string): Promise<ModelResponse> {
  await api.engine.idle();
  let response = await api.client.responses.retrieve(id);
  for (let turn = 0; turn < 100 && response.status === 'in_progress'; turn++) {
    await nextTurn();
    response = await api.client.responses.retrieve(id);
  }
  return response;
}

describe('a response in the background', () => {
  it('is there at once, tells what there is of it, and is kept when it is over', async () => {
    let goOn: () => void = () => undefined;
    const half = new Promise<void>((resolve) => (goOn = resolve));
    api.engine.script = () => [...say('Hel'), half, ...say('lo')];
    const begun = await begin();
    expect(begun).toMatchObject({ status: 'in_progress', background: true });
    expect(conformanceErrors('response', begun)).toEqual([]);
    await expect(api.client.responses.delete(begun.id)).rejects.toMatchObject({ status: 400 });
    goOn();
    const whole = await ended(begun.id);
    expect(whole).toMatchObject({ id: begun.id, status: 'completed', background: true });
    expect(whole.output).toMatchObject([{ type: 'message', content: [{ text: 'Hello' }] }]);
    api.engine.script = () => say('Yes');
    const next = await begin({ previous_response_id: begun.id, background: false });
    expect(next).toMatchObject({ status: 'completed', background: false });
  });

  it('ends when it is cancelled, and stays so', async () => {
    api.engine.script = () => [...say('Hel'), 'hang'];
    const { id } = await begin();
    expect(await api.client.responses.cancel(id)).toMatchObject({ id, status: 'cancelled' });
    expect(await ended(id)).toMatchObject({ status: 'cancelled' });
  });

  it('tells of its failure', async () => {
    api.engine.script = () => [...say('a'), new ButterflyError('WORKER_LOST', 'It is gone.')];
    const { id } = await begin();
    expect(await ended(id)).toMatchObject({ status: 'failed', error: { code: 'server_error' } });
  });

  it('is refused at once where that is known', async () => {
    api.engine.refusal = new ButterflyError('QUEUE_FULL', 'Later.');
    await expect(begin()).rejects.toMatchObject({ status: 429 });
    api.engine.refusal = null;
    await expect(begin({ input: 'x'.repeat(300) })).rejects.toMatchObject({
      status: 400,
      code: 'context_length_exceeded',
    });
  });
});
