import { readFileSync, readdirSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { architectureFixtures, writeArchitectureModel, triedOf } from '@butterfly/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run } from './testing/butterfly.js';
import { Folder } from './testing/models.js';
import { Server, streamFrom } from './testing/server.js';

// The last one reads tokens in all stages, and its last layers attend to what earlier ones cache.
const names = ['qwen3moe', 'deepseek2', 'gemma3', 'gemma4'];
const hybrid = 'jamba';
const folder = new Folder();
const pathOf = (name: string): string => join(folder.path, `${name}.gguf`);
beforeAll(async () => {
  for (const fixture of architectureFixtures().filter(({ name }) => [...names, hybrid].includes(name)))
    await writeArchitectureModel(pathOf(fixture.name), fixture, 'Q8_0');
});
afterAll(() => folder[Symbol.dispose]());

describe.each(triedOf(names))('%s, whose graph llama.cpp builds', (name) => {
  it('answers from three stages as from one, and as if none of them had died', async () => {
    const tokens = 200;
    const start = (workers: number): Promise<Server> => {
      const sizes = ['--ctx', '1024', '--parallel', '2', '--window-cache', 'window'];
      const flags = ['--workers', String(workers), ...sizes, '--deterministic'];
      return new Server(flags, { path: pathOf(name) }).ready();
    };
    await using whole = await start(1);
    const expected = await streamFrom(whole, 'Once upon', tokens);
    whole.kill('SIGTERM');
    expect(expected.text.length).toBeGreaterThan(tokens / 2);

    await using server = await start(3);
    expect(server.stages.map(({ layers }) => layers)).toHaveLength(3);
    expect(await streamFrom(server, 'Once upon', tokens)).toEqual(expected);
    const victim = server.stages[1]?.pid ?? 0;
    let isHit = false;
    const outcome = await streamFrom(server, 'Once upon', tokens, (pieces) => {
      if (pieces >= 20 && !isHit) isHit = process.kill(victim, 'SIGKILL');
    });
    expect(isHit).toBe(true);
    expect(outcome).toEqual(expected);
    expect(server.records('The plan is live.').length).toBeGreaterThan(1);
  });
});

describe('what is told of a model whose graph llama.cpp builds', () => {
  it.each([
    ['qwen3moe', ['experts', '3 of 8 in each layer']],
    ['deepseek2', ['latent', '3 of 8 in each layer', '2 dense, 4 with experts']],
    [
      'gemma3',
      [
        'sliding window of 16',
        'with a window of 16 tokens',
        'seeing all',
        'of it in layers with a sliding window',
      ],
    ],
    ['gemma4', ['layers 4 to 7, which cannot be parted', '2 layers with no keys and values of their own']],
    [hybrid, ['with state', 'attending']],
  ])('inspect shows of %s: %s', async (name, words) => {
    const { code, stdout } = await run(['inspect', pathOf(name)]);
    expect(code).toBe(0);
    for (const word of words) expect(stdout.join('\n')).toContain(word);
  });

  it('plan counts states for as many sequences as are served', async () => {
    const workers = [{ name: 'desk', memory: '4G', weightBytesPerSecond: '10GB' }];
    const file = folder.write('workers.json', JSON.stringify({ workers }));
    const bytesOf = async (parallel: number): Promise<number> => {
      const slots = ['--ctx', String(4096 / parallel), '--parallel', String(parallel)];
      const { stdout } = await run(['plan', pathOf(hybrid), '--workers-file', file, ...slots, '--json']);
      const { plan } = JSON.parse(stdout.join('\n')) as { plan: { stages: { bytes: number }[] } };
      return plan.stages.reduce((sum, { bytes }) => sum + bytes, 0);
    };
    const [few, many] = await Promise.all([bytesOf(1), bytesOf(16)]);
    expect(many).toBeGreaterThan(few);
  });

  it('plan counts for layers with a window what they keep, and tells it', async () => {
    const workers = [{ name: 'desk', memory: '4G', weightBytesPerSecond: '10GB' }];
    const file = folder.write('workers.json', JSON.stringify({ workers }));
    const planned = (flags: readonly string[]): ReturnType<typeof run> =>
      run(['plan', pathOf('gemma3'), '--workers-file', file, '--ctx', '32768', ...flags]);
    const bytesOf = async (windowCache: string): Promise<number> => {
      const { stdout } = await planned(['--window-cache', windowCache, '--json']);
      const { plan } = JSON.parse(stdout.join('\n')) as { plan: { stages: { bytes: number }[] } };
      return plan.stages.reduce((sum, { bytes }) => sum + bytes, 0);
    };
    const [full, window] = [await bytesOf('full'), await bytesOf('window')];
    // Of its 8 layers 7 have a window, each 256 bytes a token: 20 rooms of 1,024 instead of 4 contexts.
    expect(full - window).toBe(7 * 256 * (4 * 32_768 - 20 * 1024));
    const told = await planned([]);
    expect(told.stdout.join('\n')).toContain('a sliding window of 16 keep 1024 tokens in each of 20 rooms');
  });

  it('plan shares its layers out', async () => {
    const { code, stdout, stderr } = await run([
      'plan',
      pathOf('qwen3moe'),
      '--workers',
      '3',
      '--ctx',
      '512',
    ]);
    expect([code, stderr]).toEqual([0, []]);
    expect(stdout.join('\n')).toContain('layers');
  });

  it('plan parts no layers of which one attends to what another caches', async () => {
    const flags = ['--workers', '3', '--ctx', '512', '--json'];
    const { code, stdout, stderr } = await run(['plan', pathOf('gemma4'), ...flags]);
    expect([code, stderr]).toEqual([0, []]);
    const { plan } = JSON.parse(stdout.join('\n')) as {
      plan: { stages: { layerStart: number; layerEnd: number }[] };
    };
    expect(plan.stages).toHaveLength(3);
    expect(plan.stages.at(-1)?.layerStart).toBeLessThanOrEqual(4);
    const told = await run(['plan', pathOf('gemma4'), ...flags.slice(0, -1)]);
    expect(told.stdout.join('\n')).toContain('layers 4 to 7 stay in one stage');
  });
});

describe('the survey of a model', () => {
  it('is made in a process of its own once, and again when what was kept is damaged', async () => {
    const started = folder.write('started.txt', '');
    const writeDown = `import { appendFileSync } from 'node:fs';
      appendFileSync(${JSON.stringify(started)}, process.argv[1] + '\\n');`;
    const hook = pathToFileURL(folder.write('write-down.mjs', writeDown)).href;
    const cache = join(folder.path, 'cache');
    const env = { XDG_CACHE_HOME: cache, NODE_OPTIONS: `--import=${hook}` };
    const surveys = (): number => readFileSync(started, 'utf8').split('survey-main.js').length - 1;
    const first = await run(['inspect', pathOf(hybrid)], env);
    expect([first.code, surveys()]).toEqual([0, 1]);
    expect(await run(['inspect', pathOf(hybrid)], env)).toEqual(first);
    // Whatever the command and the path, the header is the same.
    const planned = await run(['plan', join(folder.path, '.', `${hybrid}.gguf`), '--workers', '2'], env);
    expect([planned.code, surveys()]).toEqual([0, 1]);
    const [kept = ''] = readdirSync(join(cache, 'butterfly', 'surveys'));
    truncateSync(join(cache, 'butterfly', 'surveys', kept), 100);
    const mended = await run(['inspect', pathOf(hybrid)], env);
    expect([mended.code, mended.stdout, surveys()]).toEqual([0, first.stdout, 2]);
    expect(mended.stderr.join('\n')).toContain('damaged');
    expect([(await run(['inspect', pathOf(hybrid)], env)).stdout, surveys()]).toEqual([first.stdout, 2]);
  });
});
