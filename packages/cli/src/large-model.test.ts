import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { run } from './testing/butterfly.js';
import { writeLargeModel } from './testing/large-model.js';
import { Folder } from './testing/models.js';

const folder = new Folder();
const path = join(folder.path, 'large.gguf');
beforeAll(async () => {
  expect(await writeLargeModel(path)).toBeGreaterThan(600e9);
});
afterAll(() => folder[Symbol.dispose]());

interface PlannedStage {
  readonly layerStart: number;
  readonly layerEnd: number;
  readonly bytes: number;
}

function machines(count: number, memory: string): string {
  const workers = Array.from({ length: count }, (_, index) => ({
    name: `box-${index}`,
    memory,
    weightBytesPerSecond: '400GB',
  }));
  const network = { latencyMs: 0.05, bandwidth: '10Gbit' };
  return folder.write('workers.json', JSON.stringify({ workers, network }));
}

it('inspect tells of a model of hundreds of gigabytes from its header alone', async () => {
  const { code, stdout, stderr } = await run(['inspect', path]);
  expect([code, stderr]).toEqual([0, []]);
  const text = stdout.join('\n');
  expect(text).toMatch(/^kinds of layers +3 dense, 58 with experts$/mu);
  expect(text).toMatch(/^experts +8 of 256 in each layer that has such$/mu);
  // Of 671 thousand million parameters 37, without those of the vocabulary.
  expect(text).toMatch(/^parameters +669,/mu);
  expect(text).toMatch(/^active +35,[\d,]+ parameters for each token \(5%\)$/mu);
});

it('plan says what each machine would hold of it, and how fast that would be', async () => {
  const args = [
    'plan',
    path,
    '--workers-file',
    machines(8, '128G'),
    '--objective',
    'latency',
    '--parallel',
    '1',
  ];
  const [picture, json] = await Promise.all([run(args), run([...args, '--json'])]);
  expect([picture.code, picture.stderr]).toEqual([0, []]);
  const text = picture.stdout.join('\n');
  expect(text).toMatch(/^│ +[\d.]+ GiB of weights; [\d.]+ MiB of cache; 3 dense, \d+ with experts$/mu);
  const { plan } = JSON.parse(json.stdout.join('\n')) as {
    plan: { stages: PlannedStage[]; predicted: { latencyMicros: number } };
  };
  const largest = Math.max(...plan.stages.map(({ bytes }) => bytes));
  expect(largest).toBeLessThanOrEqual(128 * 2 ** 30);
  expect(plan.stages.reduce((sum, { bytes }) => sum + bytes, 0)).toBeGreaterThan(650 * 2 ** 30);
  // All of its weights would take nearly two seconds to read; those that compute a token take a tenth.
  expect(plan.predicted.latencyMicros).toBeGreaterThan(35e9 / 400e3);
  expect(plan.predicted.latencyMicros).toBeLessThan(60e9 / 400e3);
});

it('plan says what is missing where the machines do not hold it', async () => {
  const { code, stderr } = await run(['plan', path, '--workers-file', machines(4, '128G')]);
  expect([code, stderr]).toEqual([3, [expect.stringMatching(/^butterfly: MODEL_TOO_LARGE: .* GiB/u)]]);
});
