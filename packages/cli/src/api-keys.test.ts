import { join } from 'node:path';
import { readFileSync } from 'node:fs';
import { makeServerCertificate } from '@butterfly/identity/testing';
import { formatApiKey, KeyFiles, type KeyLimits, keysDirectory } from '@butterfly/identity';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run } from './testing/butterfly.js';
import { Folder } from './testing/models.js';
import { Server } from './testing/server.js';
import { trustingFetch } from './testing/trusting-fetch.js';

let folder: Folder;
let authority: string;
let server: Server;
let url: string;
const fetchSecurely = trustingFetch(() => authority);

beforeAll(async () => {
  folder = new Folder();
  const { certificate, privateKey } = await renewCertificate();
  await makeKey();
  const tls = ['--tls-cert', certificate, '--tls-key', privateKey];
  server = await new Server([
    '--host',
    '0.0.0.0',
    '--parallel',
    '1',
    '--data-dir',
    folder.path,
    ...tls,
  ]).ready();
  url = `https://127.0.0.1:${new URL(server.url).port}`;
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});

async function renewCertificate() {
  const made = await makeServerCertificate();
  ({ authority } = made);
  folder.write('authority.pem', authority);
  return {
    certificate: folder.write('cert.pem', made.certificate),
    privateKey: folder.write('key.pem', made.privateKey),
  };
}

/** What `butterfly key` prints. */
async function key(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await run(['key', ...args, '--data-dir', folder.path]);
  expect([code, stderr]).toEqual([0, []]);
  return stdout.join('\n');
}

/** The same without a process for it. */
async function makeKey(limits: Partial<KeyLimits> = {}): Promise<string> {
  const none = {
    requestsPerMinute: null,
    tokensPerMinute: null,
    concurrent: null,
    models: null,
    priorityMax: 0,
  };
  const wishes = { lifeMs: null, note: '', isAdmin: false, limits: { ...none, ...limits } };
  return formatApiKey(await new KeyFiles(keysDirectory(folder.path)).create(wishes));
}

function client(apiKey: string): OpenAI {
  return new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0, fetch: fetchSecurely });
}

function complete(apiKey: string, maxTokens = 4) {
  const asked = { model: server.modelName, prompt: 'Once', max_tokens: maxTokens, ...{ ignore_eos: true } };
  return client(apiKey).completions.create(asked);
}

/** Where a command of the command line finds the server and trusts it. */
function elsewhere(env: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  return { NODE_EXTRA_CA_CERTS: join(folder.path, 'authority.pem'), ...env };
}

describe('serve', () => {
  it('refuses to listen for others without a key, and says what to do', async () => {
    using empty = new Folder();
    const { code, stderr } = await run(['serve', '--host', '0.0.0.0', '--data-dir', empty.path]);
    expect([code, stderr]).toEqual([
      2,
      [
        expect.stringMatching(
          /^butterfly: CONFIG_INVALID: .*"butterfly key create".*"butterfly serve --no-require-key"/,
        ),
      ],
    ]);
    const half = await run(['serve', '--tls-cert', 'cert.pem', '--data-dir', empty.path]);
    expect([half.code, half.stderr.at(-1)]).toEqual([2, expect.stringMatching(/--tls-key.*both files/)]);
  });

  it('answers over TLS whoever has a key, also one that was made meanwhile, until it is revoked', async () => {
    const made = await key('create', '--note', 'for a while');
    expect((await complete(made)).usage).toMatchObject({ completion_tokens: 4 });
    await expect(complete('none')).rejects.toMatchObject({ status: 401, code: 'invalid_api_key' });
    const listed = JSON.parse(await key('list', '--json')) as { id: string; note: string }[];
    const { id } = listed.find(({ note }) => note === 'for a while') ?? { id: '' };
    expect(await key('list')).toContain('for a while');
    expect(await key('revoke', id)).toBe(`Nobody asks with ${id} any more.`);
    const status = () =>
      complete(made).then(
        () => 200,
        (error: unknown) => (error instanceof OpenAI.APIError ? (error.status as unknown) : error),
      );
    await expect.poll(status, { timeout: 30_000 }).toBe(401);
  });

  it('holds a key to its limits', async () => {
    const made = await key('create', '--requests-per-minute', '1', '--model', server.modelName);
    await complete(made);
    await expect(complete(made)).rejects.toMatchObject({ status: 429, code: 'rate_limit_exceeded' });
    const other = await makeKey({ models: ['another'] });
    await expect(complete(other)).rejects.toMatchObject({ status: 403 });
  });

  it('lets two that ask much at once get on side by side', async () => {
    const [flood, modest] = [await makeKey(), await makeKey()];
    let done = 0;
    const flooded = Array.from({ length: 32 }, () => complete(flood, 100).then(() => done++));
    const queued = async (): Promise<number> =>
      ((await (await fetchSecurely(`${url}/ready`)).json()) as { queued: number }).queued;
    await expect.poll(queued, { timeout: 60_000, interval: 20 }).toBeGreaterThan(20);
    await Promise.all([1, 2, 3].map(() => complete(modest, 10)));
    expect(done).toBeLessThan(20);
    await Promise.all(flooded);
  });

  it('shows a certificate that took the place of the first', async () => {
    const made = await makeKey();
    await renewCertificate();
    const status = () =>
      complete(made).then(
        () => 200,
        () => 0,
      );
    await expect.poll(status, { timeout: 30_000 }).toBe(200);
  });

  it('writes no key anywhere', async () => {
    const made = await makeKey();
    await complete(made);
    const secret = made.slice(13, -1);
    const said = [...server.stdout, ...server.stderr, readFileSync(`/proc/${server.pid}/cmdline`, 'utf8')];
    const listed = JSON.parse(await key('list', '--json')) as { id: string }[];
    const files = listed.map(({ id }) => readFileSync(join(folder.path, 'keys', `${id}.json`), 'utf8'));
    for (const text of [...said, ...files, await key('list')]) expect(text).not.toContain(secret);
  });
});

describe('the commands that ask a server', () => {
  it('show a key of the environment, or that they are given', async () => {
    const usual = await makeKey();
    const requests = folder.write(
      'requests.jsonl',
      JSON.stringify({
        custom_id: '1',
        method: 'POST',
        url: '/v1/completions',
        body: { prompt: 'Once', max_tokens: 3 },
      }),
    );
    const batch = ['batch', requests, '--url', url];
    const refused = await run(batch, elsewhere({}));
    expect(refused.stdout[0]).toMatch(/\(1 refused/);
    const answered = await run(
      [...batch, '--output', join(folder.path, 'answers.jsonl')],
      elsewhere({ BUTTERFLY_API_KEY: usual }),
    );
    expect(answered.stdout[0]).toMatch(/1 of 1 answered.*\(0 refused/);
    const status = await run(['status', '--url', url, '--key', usual], elsewhere({}));
    expect([status.code, status.stderr]).toEqual([0, []]);
    const wrong = await run(['status', '--url', url, '--key', 'bfk-guess'], elsewhere({}));
    expect([wrong.code, wrong.stderr.at(-1)]).toEqual([
      4,
      expect.stringMatching(/^butterfly: UNAUTHENTICATED: /),
    ]);
  });
});
