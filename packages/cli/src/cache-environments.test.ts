import { triedOf } from '@butterfly/testkit';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { Butterfly, run, type LogRecord } from './testing/butterfly.js';
import { Folder, model } from './testing/models.js';
import { shellCommand } from './testing/pseudo-terminal.js';

const folder = new Folder();
afterAll(() => folder[Symbol.dispose]());

const generate = ['generate', model, 'The', '--max-tokens', '2', '--threads', '1', '--temperature', '0'];
/** Warnings of anything that is kept; a busy machine may be warned of otherwise. */
const warnings = (stderr: readonly string[]): string[] =>
  stderr
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as LogRecord & { readonly level: number })
    .filter(({ level }) => level >= 40)
    .map(({ msg }) => msg)
    .filter((msg) => /kept|cache|measurements/iu.test(msg));
const noCache = /^Nothing is kept for the next start, since /;

/** As containers run programs: a user whom the system does not know, without a home. */
function runAsNobody(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const inherited = Object.entries(process.env).filter(
    ([name]) => !name.startsWith('BUTTERFLY_') && name !== 'HOME' && name !== 'XDG_CACHE_HOME',
  );
  const user = ['--reuid=54321', '--regid=54321', '--clear-groups'];
  return spawnSync('setpriv', [...user, 'sh', '-c', shellCommand(args)], {
    encoding: 'utf8',
    env: { ...Object.fromEntries(inherited), ...env },
  });
}

/** Needs root, setpriv (util-linux), and a checkout that others may read. */
const canBeNobody = runAsNobody(['--version']).status === 0;

describe.runIf(canBeNobody)('a user without a home', () => {
  it.each(triedOf([[[]], [['--workers', '2']]] as string[][][], 5))(
    'goes on without a cache, with one warning, %j',
    (args) => {
      const { status, stdout, stderr } = runAsNobody([...generate, ...args]);
      expect(status).toBe(0);
      expect(stdout).not.toBe('');
      expect(warnings(stderr.split('\n'))).toEqual([expect.stringMatching(noCache)]);
    },
  );

  it.each([
    ['XDG_CACHE_HOME', [], 'butterfly/weights'],
    ['--cache-dir', ['--cache-dir'], ''],
  ])('has a cache by %s alone', (name, option, inside) => {
    const path = join(folder.path, name);
    mkdirSync(path, { mode: 0o777 });
    spawnSync('chmod', ['777', path, folder.path]);
    const args = option.length > 0 ? [...option, path] : [];
    const { status, stderr } = runAsNobody([...generate, ...args], args.length > 0 ? {} : { [name]: path });
    expect({ status, warnings: warnings(stderr.split('\n')) }).toEqual({ status: 0, warnings: [] });
    expect(readdirSync(join(path, inside))).toEqual(expect.arrayContaining(['machine-id']));
  });

  it('can look at models, plan and read help', () => {
    for (const args of [
      ['--help'],
      ['inspect', model],
      ['plan', model, '--threads', '1'],
      ['worker', '--help'],
    ])
      expect(runAsNobody(args).status).toBe(0);
  });

  it('is told where pulled models could be', () => {
    const pulled = runAsNobody(['pull', 'hf:a/b']);
    expect([pulled.status, pulled.stderr]).toEqual([2, expect.stringMatching(/--directory.*XDG_CACHE_HOME/)]);
    const served = runAsNobody(['inspect', 'hf:a/b']);
    expect([served.status, served.stderr]).toEqual([
      3,
      expect.stringMatching(/MODEL_NOT_FOUND.*--cache-dir/),
    ]);
  });
});

describe('a cache that cannot be written to', () => {
  const file = folder.write('a file', '');

  const commands: [string, string[]][] = [
    ['generate', generate],
    ['generate with two workers', [...generate, '--workers', '2']],
    ['plan', ['plan', model, '--threads', '1']],
  ];
  it.each(triedOf(commands, 5))('costs %s one warning', async (_, args) => {
    for (const place of [file, '/proc/nowhere']) {
      const { code, stderr } = await run([...args, '--cache-dir', place]);
      expect(code).toBe(0);
      expect(warnings(stderr)).toEqual([expect.stringMatching(noCache)]);
    }
  });

  it('costs serve one warning, whatever its workers do', async () => {
    const ports = ['--port', '0', '--cluster-port', '0'];
    const args = ['serve', model, '--workers', '2', '--threads', '1', ...ports, '--cache-dir', file];
    await using server = new Butterfly(args);
    await server.line(/^Ready\.$/);
    server.kill('SIGTERM');
    expect(await server.ended()).toEqual({ code: 0, signal: null });
    expect(warnings(server.stderr)).toEqual([expect.stringMatching(noCache)]);
  });
});

describe('--cache-dir', () => {
  it.each([
    ['generate', generate],
    ['plan', ['plan', model, '--threads', '1']],
  ])('is where %s keeps what it measures', async (name, args) => {
    const directory = join(folder.path, `cache of ${name}`);
    const { code } = await run([...args, '--cache-dir', directory]);
    expect(code).toBe(0);
    expect(readdirSync(directory).filter((each) => each.startsWith('profile-'))).toHaveLength(1);
  });

  it('is where models are looked for that were pulled with it', async () => {
    const repository = join(folder.path, 'hub', 'pulled', 'org', 'repo');
    mkdirSync(repository, { recursive: true });
    spawnSync('cp', [model, join(repository, 'm.gguf')]);
    expect(existsSync(join(repository, 'm.gguf'))).toBe(true);
    const { code, stdout } = await run(['inspect', 'hf:org/repo', '--cache-dir', join(folder.path, 'hub')]);
    expect([code, stdout.join('\n')]).toEqual([0, expect.stringContaining('aidreams')]);
  });
});
