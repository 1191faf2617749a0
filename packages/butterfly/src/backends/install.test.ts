import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { create } from 'tar';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { installBackend, installedFile, isInstalled, removeBackend } from './install.js';
import type { BackendPackage } from './packages.js';

let folder: string;
let directory: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'butterfly-backends-'));
  directory = join(folder, 'data');
});
afterEach(() => rmSync(folder, { recursive: true }));

/** What no compression makes small. */
const library = Buffer.concat(
  Array.from({ length: 4000 }, (_, index) => createHash('sha256').update(String(index)).digest()),
);
const entryPath = 'package/bins/place/libggml-cuda.so';

/** An archive as npm makes them, with more in it than is wanted, and some that would do harm. */
async function archiveOf(files: Readonly<Record<string, Buffer>>): Promise<Buffer> {
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), content);
  }
  const file = join(folder, 'archive.tgz');
  await create({ file, gzip: true, cwd: folder }, Object.keys(files));
  return readFileSync(file);
}

const usual = (): Promise<Buffer> =>
  archiveOf({
    'package/package.json': Buffer.from('{}'),
    [entryPath]: library,
    'package/bins/other/libggml-cuda.so': Buffer.from('another'),
  });

function described(archive: Buffer, changes: Partial<BackendPackage> = {}): BackendPackage {
  return {
    name: 'cuda',
    package: '@scope/backend',
    version: '1.2.3',
    bytes: archive.length,
    sha512: createHash('sha512').update(archive).digest('hex'),
    entry: { path: entryPath, bytes: library.length },
    needs: 'nothing',
    ...changes,
  };
}

/** A registry on a loopback port. */
class Registry implements AsyncDisposable {
  readonly ranges: (string | undefined)[] = [];
  /** Bytes after which the next answers are cut, in order. */
  readonly cuts: number[] = [];
  readonly #server = createServer((request, response) => {
    const { range } = request.headers;
    this.ranges.push(range);
    if (request.url !== '/mirror/@scope/backend/-/backend-1.2.3.tgz') {
      response.writeHead(404).end();
      return;
    }
    const start = this.knowsRanges ? Number(/^bytes=(\d+)-$/u.exec(range ?? '')?.[1] ?? 0) : 0;
    const rest = this.archive.subarray(start);
    const { length } = this.archive;
    response.writeHead(start > 0 ? 206 : 200, {
      'content-length': rest.length,
      ...(start > 0 ? { 'content-range': `bytes ${start}-${length - 1}/${length}` } : {}),
    });
    const cut = this.cuts.shift();
    if (cut === undefined) response.end(rest);
    else response.write(rest.subarray(0, cut), () => response.destroy());
  });

  constructor(
    readonly archive: Buffer,
    private readonly knowsRanges = true,
  ) {}

  async start(): Promise<this> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    return this;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/mirror/`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }
}

/** URL of a registry that has gone. */
async function nowhere(): Promise<string> {
  await using registry = await new Registry(Buffer.alloc(0)).start();
  return registry.url;
}

const install = (
  registry: string,
  backend: BackendPackage,
  signal = new AbortController().signal,
): Promise<boolean> =>
  installBackend({ backend, directory, registry, signal, onProgress: () => undefined, firstPauseMs: 1 });

const refusal = (code: string, message: RegExp): unknown =>
  expect.objectContaining({ code, message: expect.stringMatching(message) as string });

describe('installBackend', () => {
  it('keeps the library alone, brings it once, and removes it', async () => {
    const backend = described(await usual());
    await using registry = await new Registry(await usual()).start();
    const archived = described(registry.archive);
    expect(await isInstalled(directory, archived)).toBe(false);
    expect(await install(registry.url, archived)).toBe(true);
    expect(readFileSync(installedFile(directory, archived)).equals(library)).toBe(true);
    expect(readdirSync(directory, { recursive: true }).sort()).toEqual([
      'cuda',
      join('cuda', 'libggml-cuda.so'),
    ]);
    expect(await install(registry.url, archived)).toBe(false);
    expect(registry.ranges).toHaveLength(1);
    expect(await removeBackend(directory, backend)).toBe(true);
    expect(await removeBackend(directory, backend)).toBe(false);
    expect(readdirSync(directory)).toEqual([]);
  });

  it.each([
    ['goes on from where it was cut', true],
    ['reads again what a registry sends again', false],
  ])('%s', async (_, knowsRanges) => {
    await using registry = await new Registry(await usual(), knowsRanges).start();
    registry.cuts.push(1000, 60_000);
    expect(await install(registry.url, described(registry.archive))).toBe(true);
    expect(registry.ranges.map((range) => range !== undefined)).toEqual([false, true, true]);
    expect(readFileSync(installedFile(directory, described(registry.archive))).equals(library)).toBe(true);
  });

  it('says how much is there when a registry cuts it again and again, and goes on from there', async () => {
    await using registry = await new Registry(await usual()).start();
    const backend = described(registry.archive);
    registry.cuts.push(1000, 0, 0, 0, 0);
    await expect(install(registry.url, backend)).rejects.toThrow(
      refusal('CONNECTION_CLOSED', /1000 B of .* are here: running the same again goes on/u),
    );
    expect(await isInstalled(directory, backend)).toBe(false);
    expect(await removeBackend(directory, described(Buffer.from('another'), { version: '1.2.4' }))).toBe(
      false,
    );
    registry.cuts.length = 0;
    expect(await install(registry.url, backend)).toBe(true);
    expect(registry.ranges.at(-1)).toBe('bytes=1000-');
    await removeBackend(directory, backend);
    registry.cuts.push(1000, 0, 0, 0, 0);
    await expect(install(registry.url, backend)).rejects.toThrow('are here');
    await removeBackend(directory, backend);
    expect(readdirSync(directory)).toEqual([]);
  });

  it('leaves nothing of an archive with another content', async () => {
    await using registry = await new Registry(await usual()).start();
    const backend = described(registry.archive, { sha512: 'ab'.repeat(64) });
    await expect(install(registry.url, backend)).rejects.toThrow(
      refusal('LIBRARY_MISMATCH', /@scope\/backend@1\.2\.3 arrived with another content .*wrong sha512/u),
    );
    expect(readdirSync(directory)).toEqual([]);
  });

  it.each([
    ['has no such file', { path: 'package/bins/nowhere/libggml-cuda.so', bytes: library.length }],
    ['has another one', { path: entryPath, bytes: library.length + 1 }],
  ])('refuses an archive that %s, and what was there stays', async (_, entry) => {
    await using registry = await new Registry(await usual()).start();
    mkdirSync(join(directory, 'cuda'), { recursive: true });
    writeFileSync(join(directory, 'cuda', 'libggml-cuda.so'), 'of old');
    await expect(install(registry.url, described(registry.archive, { entry }))).rejects.toThrow(
      refusal('LIBRARY_MISMATCH', /this is a defect of Butterfly/u),
    );
    expect(readFileSync(join(directory, 'cuda', 'libggml-cuda.so'), 'utf8')).toBe('of old');
    expect(readdirSync(directory).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  });

  it('says before it begins that a disk has no room', async () => {
    const backend = described(await usual(), { bytes: 2 ** 52 });
    await expect(install('http://127.0.0.1:1', backend)).rejects.toThrow(
      refusal('DISK_FULL', /choose another disk with XDG_DATA_HOME/u),
    );
  });

  it('says what is wrong with a registry, or with the place', async () => {
    await using registry = await new Registry(await usual()).start();
    const backend = described(registry.archive);
    await expect(install(registry.url, { ...backend, version: '9.9.9' })).rejects.toThrow(
      refusal('NOT_FOUND', /There is no http.*backend-9\.9\.9\.tgz; use another --registry/u),
    );
    await expect(install(await nowhere(), backend)).rejects.toThrow(
      refusal('PEER_UNREACHABLE', /cannot be reached \(ECONNREFUSED\)/u),
    );
    rmSync(directory, { recursive: true });
    writeFileSync(directory, '');
    await expect(install(registry.url, backend)).rejects.toThrow(
      refusal('CONFIG_INVALID', /cannot be written .*XDG_DATA_HOME/u),
    );
  });

  it('ends when it is asked to', async () => {
    await using registry = await new Registry(await usual()).start();
    const stopping = new AbortController();
    stopping.abort(new Error('asked to'));
    await expect(install(registry.url, described(registry.archive), stopping.signal)).rejects.toThrow(
      'asked to',
    );
    expect(await isInstalled(directory, described(registry.archive))).toBe(false);
  });
});
