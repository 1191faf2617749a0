import { silentLogger } from '@butterfly/common';
import { loadGgml, loadVocabulary } from '@butterfly/ggml';
import { describeFamilyModel, openGguf } from '@butterfly/model';
import { readFileSync } from 'node:fs';
import { afterAll, expect, it } from 'vitest';
import { Folder, model } from './testing/models.js';
import { Server } from './testing/server.js';

const folder = new Folder();
afterAll(() => folder[Symbol.dispose]());

/** The model with the first number of a row of a tensor, which is in F32, made NaN. */
async function faultyModel(name: string, row = 0): Promise<string> {
  const tensor = describeFamilyModel(await openGguf(model)).tensors.find((each) => each.name === name);
  if (!tensor) throw new Error(`There is no ${name}.`);
  const bytes = readFileSync(model);
  bytes.writeFloatLE(NaN, tensor.offset + 4 * row * (tensor.shape[0] ?? 0));
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

it('fails the requests with a token whose embedding is NaN, and none beside them', async () => {
  await using sound = await new Server([]).ready();
  using vocabulary = loadVocabulary(loadGgml({ log: silentLogger }), model);
  const options = { addSpecial: false, parseSpecial: false };
  const bad = vocabulary.tokenize('Z', options).at(-1) ?? 0;
  const path = await faultyModel('token_embd.weight', bad);
  await using server = await new Server(['--stages', '2', '--workers', '2'], { path }).ready();
  const text = async (of: Server, prompt: string): Promise<unknown> =>
    (await of.post('/v1/completions', { ...ask, prompt, max_tokens: 5 })).json();
  const prompts = ['Once', 'Once upon a time there was a Z and', 'The', 'Z'];
  const answers = await Promise.all(prompts.map((prompt) => text(server, prompt)));
  expect(answers[1]).toMatchObject(failed);
  expect(answers[3]).toMatchObject(failed);
  for (const index of [0, 2]) {
    const expected = (await text(sound, prompts[index] ?? '')) as { choices: { text: string }[] };
    expect(answers[index]).toMatchObject({ choices: [{ text: expected.choices[0]?.text }] });
  }
});
