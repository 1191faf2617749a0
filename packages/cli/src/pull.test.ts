import { spawnSync } from 'node:child_process';
import { appendFileSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { ButterflyError } from '@butterfly/common';
import { Hub, type Pulled, findPulled, parseHubReference, pull } from 'butterfly/command';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { HubServer } from './testing/hub-server.js';
import { Folder } from './testing/models.js';

/** Bytes of which no two ranges are alike. */
function content(length: number, seed: number): Buffer {
  return Buffer.from(
    Uint32Array.from({ length: length / 4 }, (_, i) => Math.imul(i + seed, 2654435761)).buffer,
  );
}

const model = content(1_000_000, 1);
let server: HubServer;
let folder: Folder;

beforeEach(async () => {
  folder = new Folder();
  server = await HubServer.start({
    'README.md': Buffer.from('A model.'),
    'config.json': Buffer.from('{}'),
    'model.gguf': model,
  });
});
afterEach(async () => {
  folder[Symbol.dispose]();
  await server[Symbol.asyncDispose]();
});

interface Pull {
  readonly token?: string;
  readonly signal?: AbortSignal;
  readonly onBytes?: (bytes: number) => void;
}

function pullFrom(name: string, { token, signal, onBytes }: Pull = {}): Promise<Pulled> {
  return pull({
    hub: new Hub({ url: server.url, token: token ?? null }),
    reference: parseHubReference(name),
    directory: folder.path,
    signal: signal ?? new AbortController().signal,
    onFile: () => onBytes ?? (() => undefined),
    firstPauseMs: 1,
  });
}

async function failure(pulling: Promise<unknown>): Promise<ButterflyError> {
  const thrown: unknown = await pulling.then(
    () => null,
    (error: unknown) => error,
  );
  if (!(thrown instanceof ButterflyError)) throw new Error(`It gave ${String(thrown)}.`);
  return thrown;
}

const here = (): string[] =>
  readdirSync(folder.path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ name }) => name)
    .sort();

describe('pull', () => {
  it('takes the only model of a repository, whole and checked', async () => {
    const heard: number[] = [];
    const pulled = await pullFrom('hf:org/repo', { onBytes: (bytes) => heard.push(bytes) });
    expect(pulled).toEqual({
      path: join(folder.path, 'org', 'repo', 'model.gguf'),
      repo: 'org/repo',
      file: 'model.gguf',
      bytes: model.length,
      downloaded: 1,
    });
    expect(readFileSync(pulled.path).equals(model)).toBe(true);
    expect(heard.at(-1)).toBe(model.length);
    expect(here()).toEqual(['model.gguf']);
    expect(await findPulled(parseHubReference('hf:org/repo'), folder.path)).toBe(pulled.path);
  });

  it('does not fetch again what is there, and replaces what is there but wrong', async () => {
    const { path } = await pullFrom('hf:org/repo');
    const asked = server.storeRanges.length;
    expect(await pullFrom('hf:org/repo')).toMatchObject({ downloaded: 0 });
    expect(server.storeRanges).toHaveLength(asked);
    writeFileSync(path, Buffer.alloc(model.length));
    expect(await pullFrom('hf:org/repo')).toMatchObject({ downloaded: 1 });
    expect(readFileSync(path).equals(model)).toBe(true);
  });

  it('goes on by itself where the connection was cut', async () => {
    server.cuts.push(300_000, 0, 200_000);
    const { path } = await pullFrom('hf:org/repo');
    expect(readFileSync(path).equals(model)).toBe(true);
    const starts = server.storeRanges
      .filter((range) => range?.endsWith('-'))
      .map((range) => Number(/\d+/.exec(range ?? '')?.[0]));
    expect(starts).toHaveLength(4);
    expect(starts[0]).toBe(0);
    expect(starts[1]).toBeGreaterThan(0);
    expect(starts[2]).toBe(starts[1]);
    expect(starts[3]).toBeGreaterThan(starts[2] ?? 0);
  });

  it('gives up after cuts without end, keeps what came, and goes on in the next run', async () => {
    server.cuts.push(400_000, 0, 0, 0, 0);
    const error = await failure(pullFrom('hf:org/repo'));
    expect(error.code).toBe('CONNECTION_CLOSED');
    expect(error.message).toMatch(/model\.gguf are here: running the same again goes on from there\.$/);
    expect(here()).toEqual([expect.stringMatching(/^model\.gguf\.[0-9a-f]{12}\.part$/)]);
    expect((await failure(findPulled(parseHubReference('hf:org/repo'), folder.path))).message).toContain(
      'butterfly pull hf:org/repo',
    );
    server.cuts.length = 0;
    server.seen.length = 0;
    const { path } = await pullFrom('hf:org/repo');
    expect(readFileSync(path).equals(model)).toBe(true);
    expect(here()).toEqual(['model.gguf']);
    expect(
      server.storeRanges.filter((range) => range?.startsWith('bytes=0-') && range !== 'bytes=0-0'),
    ).toEqual([]);
  });

  it('stops when it is told to, and goes on in the next run', async () => {
    const stopping = new AbortController();
    const onBytes = (bytes: number) => {
      if (bytes > 0) stopping.abort(new ButterflyError('CANCELLED', 'Stopped.'));
    };
    expect((await failure(pullFrom('hf:org/repo', { signal: stopping.signal, onBytes }))).code).toBe(
      'CANCELLED',
    );
    expect(here()).toEqual([expect.stringMatching(/\.part$/)]);
    expect(readFileSync((await pullFrom('hf:org/repo')).path).equals(model)).toBe(true);
  });

  it('begins anew when the file was replaced on the hub', async () => {
    server.cuts.push(400_000, 0, 0, 0, 0);
    await failure(pullFrom('hf:org/repo'));
    server.cuts.length = 0;
    const other = content(1_000_000, 7);
    server.files.set('model.gguf', other);
    expect(readFileSync((await pullFrom('hf:org/repo')).path).equals(other)).toBe(true);
  });

  it('leaves a file to the process that downloads it already', async () => {
    const others: Promise<ButterflyError>[] = [];
    const onBytes = (bytes: number) => {
      if (bytes > 0 && others.length === 0) others.push(failure(pullFrom('hf:org/repo')));
    };
    const { path } = await pullFrom('hf:org/repo', { onBytes });
    expect(readFileSync(path).equals(model)).toBe(true);
    expect(await Promise.all(others)).toEqual([
      expect.objectContaining({
        code: 'CONFIG_INVALID',
        message: expect.stringContaining(`Process ${process.pid} downloads`) as string,
      }),
    ]);
    expect(here()).toEqual(['model.gguf']);
  });

  it('takes over from a process that died', async () => {
    server.cuts.push(400_000, 0, 0, 0, 0);
    await failure(pullFrom('hf:org/repo'));
    server.cuts.length = 0;
    const { pid } = spawnSync(process.execPath, ['--version']);
    writeFileSync(join(folder.path, 'org', 'repo', `${here()[0] ?? ''}.lock`), String(pid));
    expect(readFileSync((await pullFrom('hf:org/repo')).path).equals(model)).toBe(true);
    expect(here()).toEqual(['model.gguf']);
  });

  it('finds by the whole file what another one wrote to it meanwhile', async () => {
    const onBytes = (bytes: number) => {
      const [part] = here().filter((name) => name.endsWith('.part'));
      if (bytes > 0 && bytes < model.length)
        appendFileSync(join(folder.path, 'org', 'repo', part ?? ''), 'x');
    };
    expect((await failure(pullFrom('hf:org/repo', { onBytes }))).code).toBe('MODEL_CORRUPT');
    expect(here()).toEqual([]);
  });

  it('removes what has a wrong hash', async () => {
    server.listedSha256.set('model.gguf', 'a'.repeat(64));
    const error = await failure(pullFrom('hf:org/repo'));
    expect([error.code, error.message]).toEqual(['MODEL_CORRUPT', expect.stringContaining('sha256')]);
    expect(here()).toEqual([]);
  });

  it('checks small files by the id that git gives them', async () => {
    server.files.delete('model.gguf');
    server.files.set('small.gguf', content(4000, 3));
    const { path } = await pullFrom('hf:org/repo');
    expect(readFileSync(path).equals(content(4000, 3))).toBe(true);
  });

  it('refuses a hub that cannot send parts, before it spoils what is there', async () => {
    server.cuts.push(400_000, 0, 0, 0, 0);
    await failure(pullFrom('hf:org/repo'));
    server.cuts.length = 0;
    server.knowsRanges = false;
    expect((await failure(pullFrom('hf:org/repo'))).code).toBe('PROTOCOL_INVALID');
    server.knowsRanges = true;
    expect(readFileSync((await pullFrom('hf:org/repo')).path).equals(model)).toBe(true);
  });
});

describe('a split model', () => {
  const parts = [1, 2, 3].map((part) => content(40_000, part));
  const name = (part: number) => `folder/split-0000${part}-of-00003.gguf`;

  beforeEach(() => parts.forEach((part, index) => server.files.set(name(index + 1), part)));

  it.each([1, 3])('comes whole, whichever part is named: %d', async (part) => {
    const pulled = await pullFrom(`hf:org/repo:${name(part)}`);
    expect(pulled).toMatchObject({ file: name(1), downloaded: 3, bytes: 120_000 });
    parts.forEach((content, index) =>
      expect(readFileSync(join(folder.path, 'org', 'repo', name(index + 1))).equals(content)).toBe(true),
    );
    expect(await findPulled(parseHubReference(`hf:org/repo:${name(2)}`), folder.path)).toBe(
      join(folder.path, 'org', 'repo', name(2)),
    );
  });

  it('is one of several models, which must be named', async () => {
    const error = await failure(pullFrom('hf:org/repo'));
    expect([error.code, error.message]).toEqual([
      'CONFIG_INVALID',
      `org/repo has 2 models; name one: hf:org/repo:${name(1)}, hf:org/repo:model.gguf.`,
    ]);
  });

  it('is refused when a part is missing', async () => {
    server.files.delete(name(2));
    const error = await failure(pullFrom(`hf:org/repo:${name(1)}`));
    expect([error.code, error.message]).toEqual(['NOT_FOUND', expect.stringContaining(name(2))]);
    expect(here()).toEqual([]);
  });
});

describe('a private repository', () => {
  const token = 'hf_a-secret-of-the-user';

  it('needs a token, says so, and never shows it', async () => {
    server.token = token;
    const without = await failure(pullFrom('hf:org/repo'));
    expect([without.code, without.message]).toEqual([
      'ACCESS_DENIED',
      expect.stringContaining('set HF_TOKEN'),
    ]);
    const wrong = await failure(pullFrom('hf:org/repo', { token: 'hf_wrong' }));
    expect([wrong.code, wrong.message]).toEqual(['ACCESS_DENIED', expect.stringContaining('another token')]);
    expect(JSON.stringify([wrong, wrong.message, wrong.cause])).not.toContain('hf_wrong');
  });

  it('is pulled with it, and only the hub gets to see it', async () => {
    server.token = token;
    const { path } = await pullFrom('hf:org/repo', { token });
    expect(readFileSync(path).equals(model)).toBe(true);
    const shown = (from: string) =>
      new Set(server.seen.filter((each) => each.from === from).map(({ authorization }) => authorization));
    expect(shown('hub')).toEqual(new Set([`Bearer ${token}`]));
    expect(shown('store')).toEqual(new Set([null]));
  });
});

describe('what is not there', () => {
  it.each([
    ['hf:org/other', 'NOT_FOUND', /org\/other/],
    ['hf:org/repo:none.gguf', 'NOT_FOUND', /there are hf:org\/repo:model\.gguf/],
  ])('%s', async (name, code, message) => {
    const error = await failure(pullFrom(name));
    expect([error.code, error.message]).toEqual([code, expect.stringMatching(message)]);
  });

  it('a model in the repository', async () => {
    server.files.delete('model.gguf');
    expect(await failure(pullFrom('hf:org/repo'))).toMatchObject({
      code: 'NOT_FOUND',
      message: expect.stringContaining('no GGUF') as string,
    });
  });

  it('a hub', async () => {
    const hub = new Hub({ url: 'http://127.0.0.1:9', token: null });
    expect((await failure(hub.files('org/repo', new AbortController().signal))).code).toBe(
      'PEER_UNREACHABLE',
    );
  });

  it('a place on the disk', async () => {
    server.files.set('model.gguf', content(4000, 1));
    writeFileSync(join(folder.path, 'org'), 'a file where a folder should be');
    expect(await failure(pullFrom('hf:org/repo'))).toMatchObject({ code: 'CONFIG_INVALID' });
  });
});

it('several pulled models must be named', async () => {
  const repo = join(folder.path, 'org', 'repo');
  await mkdir(repo, { recursive: true });
  for (const name of ['a.gguf', 'b.gguf', 'c.gguf.0123456789ab.part']) writeFileSync(join(repo, name), '');
  const error = await failure(findPulled(parseHubReference('hf:org/repo'), folder.path));
  expect([error.code, error.message]).toEqual([
    'CONFIG_INVALID',
    'Several models of org/repo were pulled; name one: hf:org/repo:a.gguf, hf:org/repo:b.gguf.',
  ]);
});
