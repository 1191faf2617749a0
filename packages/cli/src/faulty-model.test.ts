import { describeModel, openGguf } from '@butterfly/model';
import { readFileSync } from 'node:fs';
import { afterAll, expect, it } from 'vitest';
import { Folder, model } from './testing/models.js';
import { Server } from './testing/server.js';

const folder = new Folder();
afterAll(() => folder[Symbol.dispose]());

/** The model with the first number of a tensor, which is in F32, made NaN. */
async function faultyModel(name: string): Promise<string> {
  const tensor = describeModel(await openGguf(model)).tensors.find((each) => each.name === name);
  if (!tensor) throw new Error(`There is no ${name}.`);
  const bytes = readFileSync(model);
  bytes.writeFloatLE(NaN, tensor.offset);
  return folder.write(`${name}.gguf`, bytes);
}

const ask = { max_tokens: 8, temperature: 0 };
const failed = { error: { code: 'COMPUTE_FAILED' } };

it('answers with an error where the weights are NaN, in one piece and as a stream, and goes on', async () => {
  const path = await faultyModel('output_norm.weight');
  await using server = await new Server(['--stages', '2', '--workers', '2'], { path }).ready();
  for (const sampling of [{}, { temperature: 1 }, { temperature: 1, top_p: 0.5 }, { frequency_penalty: 1 }]) {
    const response = await server.post('/v1/completions', { ...ask, prompt: 'Once', ...sampling });
    expect(response.status).toBe(500);
    expect(await response.json()).toMatchObject(failed);
  }
  const stream = await server.post('/v1/completions', { ...ask, prompt: 'Once', stream: true });
  expect(await stream.text()).toContain('COMPUTE_FAILED');
  expect(server.records('A local worker starts.')).toHaveLength(2);
  expect(server.records('The plan is live.')).toHaveLength(1);
  const [found] = server.records(
    'Numbers of a request became NaN or infinite in this stage; check the model file.',
  );
  expect(found?.layers).toEqual([expect.any(Number), 3]);
  expect(await server.status()).toMatchObject({ ready: true, running: 0 });
});
