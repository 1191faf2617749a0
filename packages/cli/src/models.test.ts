import { readFileSync } from 'node:fs';
import { ownModel } from 'butterfly/command';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { architectureFixtures, cachedArchitectureModel } from '@butterfly/testkit';
import { type Butterfly, run } from './testing/butterfly.js';
import { Folder, model as trained } from './testing/models.js';
import { Server, startWorker } from './testing/server.js';

const trainedId = 'aidreams-260k';
const ownId = 'butterfly-stories';

let server: Server;
let workers: Map<string, Butterfly>;
let embedderId = '';

interface ListedModel {
  readonly id: string;
  readonly state: string;
  readonly loadedBytes: number;
}

beforeAll(async () => {
  const embedder = architectureFixtures().find(({ name }) => name === 'bert');
  if (!embedder) throw new Error('There is no such fixture.');
  const path = await cachedArchitectureModel(embedder, 'Q8_0');
  embedderId = path.replace(/^.*\//, '').replace(/\.gguf$/, '');
  // Three workers, so that each model has some of which it can lose one.
  server = new Server([
    ownModel,
    path,
    '--workers',
    '0',
    '--wait-for',
    '3',
    '--stages',
    '2',
    '--deterministic',
    '--alias',
    `tales=${ownId}`,
    '--ctx',
    '128',
  ]);
  await server.line(/^Join with/);
  workers = new Map();
  for (const name of ['a', 'b', 'c']) workers.set(name, startWorker(server, ['--name', name]));
  await server.ready();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  for (const worker of workers.values()) await worker[Symbol.asyncDispose]();
});

async function listed(): Promise<Map<string, ListedModel>> {
  const { models } = (await (await fetch(`${server.url}/models`)).json()) as { models: ListedModel[] };
  return new Map(models.map((each) => [each.id, each]));
}

const tell = async (model: string, maxTokens = 40): Promise<string> => {
  const { choices } = await server.openai.completions.create({
    ...{ model, prompt: 'Once upon a time', max_tokens: maxTokens, temperature: 0 },
  });
  return choices[0]?.text ?? '';
};

const embed = async (): Promise<number[]> => {
  const { data } = await server.openai.embeddings.create({
    ...{ model: embedderId, input: 'a small moth', encoding_format: 'float' },
  });
  return data[0]?.embedding ?? [];
};

/** A butterfly command against the server. */
async function command(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await run([...args, '--url', server.url]);
  return `${code} ${[...stdout, ...stderr].join('\n')}`;
}

describe('several models of a server', () => {
  it('are all there, by their names and aliases', async () => {
    const { data } = await server.openai.models.list();
    expect(data.map(({ id }) => id)).toEqual([trainedId, ownId, 'tales', embedderId]);
    expect([...(await listed()).values()].map(({ state }) => state)).toEqual(['loaded', 'loaded', 'loaded']);
    const [one, other] = [await tell(trainedId), await tell(ownId)];
    expect(one).not.toBe(other);
    expect(await tell('tales')).toBe(other);
    expect((await embed()).length).toBeGreaterThan(0);
    await expect(tell('nothing')).rejects.toMatchObject({ status: 404 });
  });

  it('are unloaded and loaded again, by command and by whoever asks', async () => {
    const [told, vector] = [await tell(ownId), await embed()];
    expect(await command('unload', 'tales')).toMatch(/^0 butterfly-stories is unloaded\.$/);
    expect((await listed()).get(ownId)).toMatchObject({ state: 'unloaded', loadedBytes: 0 });
    expect(await command('ps')).toMatch(/butterfly-stories, tales +unloaded/);
    expect(await command('load', ownId)).toMatch(/^0 butterfly-stories is loaded and takes/);
    await command('unload', embedderId);
    expect([await tell(ownId), await embed()]).toEqual([told, vector]);
    expect(await command('unload', 'nothing')).toMatch(/^2 .*NOT_FOUND/);
  });

  it('lose nothing when a worker is killed while others load and unload', async () => {
    const expected = new Map<string, string>();
    for (const id of [trainedId, ownId]) expected.set(id, await tell(id));
    const vector = await embed();
    const streams = [trainedId, ownId, trainedId, ownId].map(async (id) => [id, await tell(id)] as const);
    const vectors = [embed(), embed()];
    const loading = (async () => {
      for (let round = 0; round < 3; round += 1) {
        expect((await server.post('/models/unload', { model: embedderId })).status).toBe(200);
        expect((await server.post('/models/load', { model: embedderId })).status).toBe(200);
      }
    })();
    workers.get('b')?.kill('SIGKILL');
    const back = startWorker(server, ['--name', 'b']);
    workers.set('b2', back);
    for (const [id, text] of await Promise.all(streams)) expect(text).toBe(expected.get(id));
    for (const each of await Promise.all(vectors)) expect(each).toEqual(vector);
    await loading;
    expect([...(await listed()).values()].map(({ state }) => state)).not.toContain('failed');
    expect(await embed()).toEqual(vector);
  });

  it('answers by the path of the first where none is named, and has a description for each', async () => {
    const response = await server.post('/v1/completions', { prompt: 'A', max_tokens: 1 });
    expect(((await response.json()) as { model: string }).model).toBe(trainedId);
    const of = async (query: string): Promise<unknown> =>
      ((await (await fetch(`${server.url}/cluster${query}`)).json()) as { model: { id: string } }).model.id;
    expect([await of(`?model=${trainedId}`), await of('?model=tales')]).toEqual([trainedId, ownId]);
    expect(trained).toContain(trainedId);
  });
});

describe('models that do not fit together', () => {
  it('take turns: who is asked for is loaded in the place of what nobody uses', async () => {
    // What either takes on two workers is enough for it on one, and not for both.
    const took = [...(await listed()).values()].filter(({ id }) => id !== embedderId);
    const memory = String(Math.max(...took.map(({ loadedBytes }) => loadedBytes)));
    const crowdedArgs = [ownModel, '--workers', '0', '--wait-for', '1', '--deterministic', '--ctx', '128'];
    await using crowded = new Server(crowdedArgs);
    await crowded.line(/^Join with/);
    await using _worker = startWorker(crowded, ['--memory', memory]);
    await crowded.ready();
    const states = async (): Promise<string> => {
      const { models } = (await (await fetch(`${crowded.url}/models`)).json()) as { models: ListedModel[] };
      return models.map(({ id, state, loadedBytes }) => `${id} ${state} ${loadedBytes > 0}`).join();
    };
    const ask = async (model: string): Promise<number> =>
      (await crowded.post('/v1/completions', { model, prompt: 'A', max_tokens: 2, temperature: 0 })).status;
    expect(await states()).toMatch(/loaded true.*failed false|failed false.*loaded true/);
    for (const id of [ownId, trainedId, ownId]) {
      expect(await ask(id)).toBe(200);
      const other = id === ownId ? trainedId : ownId;
      expect(await states()).toMatch(new RegExp(`${id} loaded true`));
      expect(await states()).toMatch(new RegExp(`${other} (unloaded|failed) false`));
    }
    // While one is in use, the other is refused, and the first goes on.
    const request = { model: ownId, prompt: 'Once', max_tokens: 110, temperature: 0 };
    const answers = Array.from({ length: 40 }, () => crowded.post('/v1/completions', request));
    while ((await crowded.status()).running === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    const refused = await ask(trainedId);
    expect([refused, (await crowded.status()).running > 0]).toEqual([503, true]);
    for (const answer of await Promise.all(answers)) expect(answer.status).toBe(200);
    expect(await ask(trainedId)).toBe(200);
  });

  it('are unloaded when nobody asked for a while, and loaded again for who does', async () => {
    await using idle = new Server(['--keep-alive', '1s', '--ctx', '128']);
    await idle.ready();
    const state = async (): Promise<string | undefined> =>
      ((await (await fetch(`${idle.url}/models`)).json()) as { models: ListedModel[] }).models[0]?.state;
    const ask = async (): Promise<string> => {
      const response = await idle.post('/v1/completions', { prompt: 'Once', max_tokens: 8, temperature: 0 });
      return ((await response.json()) as { choices: { text: string }[] }).choices[0]?.text ?? '';
    };
    const told = await ask();
    while ((await state()) !== 'unloaded') await new Promise((resolve) => setTimeout(resolve, 50));
    expect((await idle.status()).ready).toBe(true);
    expect(await ask()).toBe(told);
    expect(await state()).toBe('loaded');
  });
});

describe('a draft model', () => {
  it('guesses for the first one, whose answers stay what they are, and stays loaded as long as that', async () => {
    using folder = new Folder();
    // The same model under another name guesses what the first one says.
    const draft = folder.write('guesser.gguf', readFileSync(ownModel));
    const args = ['--deterministic', '--ctx', '128'];
    const request = { prompt: 'Once upon a time', max_tokens: 60, temperature: 0 };
    const told = async (server_: Server): Promise<unknown> =>
      ((await (await server_.post('/v1/completions', request)).json()) as { choices: unknown }).choices;
    await using plain = new Server(args, { path: ownModel });
    await plain.ready();
    await using guessed = new Server([...args, '--draft', draft], { path: ownModel });
    await guessed.ready();
    expect(await told(guessed)).toEqual(await told(plain));
    const describe_ = async (): Promise<{ measured: object | null }> =>
      (await (await fetch(`${guessed.url}/cluster?model=guesser`)).json()) as { measured: object | null };
    expect((await describe_()).measured).not.toBeNull();
    const states = async (): Promise<string> => {
      const { models } = (await (await fetch(`${guessed.url}/models`)).json()) as { models: ListedModel[] };
      return models.map(({ id, state }) => `${id} ${state}`).join();
    };
    await guessed.post('/models/unload', { model: ownId });
    expect(await states()).toBe(`${ownId} unloaded,guesser loaded`);
    await guessed.post('/models/unload', { model: 'guesser' });
    expect(await states()).toBe(`${ownId} unloaded,guesser unloaded`);
    // Whoever is guessed for brings its draft back.
    expect(await told(guessed)).toEqual(await told(plain));
    expect(await states()).toBe(`${ownId} loaded,guesser loaded`);
  });
});
