import { mkdtemp, readFile, readdir, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { StepTime } from '@butterfly/common';
import { type ModelSpec, layerKinds } from '@butterfly/model';
import { describeFile, ggml, smallModel } from '@butterfly/stage/testing';
import { architectureFixtures, cachedSyntheticModel, writeArchitectureModel } from '@butterfly/testkit';
import { cacheTypes, encodeControl } from '@butterfly/wire';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { measureAttention } from './measured-attention.js';
import type { MeasuredProfile } from './profile-cache.js';
import { profileModel } from './profile-model.js';

const plenty = 2 ** 31;
let spec: ModelSpec;
let directory = '';
beforeAll(async () => {
  spec = await describeFile(await cachedSyntheticModel(smallModel));
});
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'butterfly-profile-'));
});
afterEach(() => rm(directory, { recursive: true }));

const profile = (change: Partial<Parameters<typeof profileModel>[0]> = {}): Promise<MeasuredProfile> =>
  profileModel({
    ggml,
    spec,
    threads: 1,
    memoryBytes: plenty,
    directory,
    observe: () => undefined,
    ...change,
  });

async function fixturePath(name: string): Promise<string> {
  const fixture = architectureFixtures().find((each) => each.name === name);
  if (!fixture) throw new Error(`There is no fixture ${name}.`);
  const path = join(directory, `${name}.gguf`);
  await writeArchitectureModel(path, fixture, 'Q8_0');
  return path;
}

function expectTravels(measured: MeasuredProfile): void {
  const message = { kind: 'profile', ...measured, hasFiles: true, cachedBytes: 0, heldShards: [] } as const;
  expect(() => encodeControl(message)).not.toThrow();
}

/** What was measured; beside it lies the id of the machine. */
const kept = async (): Promise<string[]> =>
  (await readdir(directory)).filter((name) => name !== 'machine-id');

const rowsOf = (curve: readonly StepTime[]): number[] => curve.map(({ rows }) => rows);

describe('profileModel', () => {
  it.each([true, false])('measures what an orchestrator takes, deterministic %s', async (isDeterministic) => {
    const measured = await profile({ isDeterministic, directory: null });
    expectTravels(measured);
    expect(rowsOf(measured.layerCurve).slice(0, 8)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(measured.layerCurve.at(-1)?.rows).toBeLessThanOrEqual(256);
    expect(measured.outputCurve.at(-1)?.rows).toBeLessThanOrEqual(64);
    expect(await readdir(directory)).toEqual([]);
  });

  it.each(['F32', 'F16', 'Q8_0', 'Q6_K'] as const)('measures a model in %s', async (type) => {
    const path = await cachedSyntheticModel({
      ...smallModel,
      type,
      architecture: 'qwen2',
      tiedEmbeddings: false,
    });
    expectTravels(await profile({ spec: await describeFile(path), threads: 2, directory: null }));
  });

  it.each([
    ['deepseek2', 2],
    ['gemma3', 2],
    ['jamba', 3],
  ])('measures the kinds of layers of %s apart', async (name, count) => {
    const kindsSpec = await describeFile(await fixturePath(name));
    const kinds = layerKinds(kindsSpec);
    expect(kinds).toHaveLength(count);
    const measured = await profile({ spec: kindsSpec });
    expectTravels(measured);
    const { layerCurve, kindCurves = [] } = measured;
    expect(kindCurves.length).toBeGreaterThan(1);
    for (const { layer } of kindCurves) expect(kinds.some(({ layers }) => layers[0] === layer)).toBe(true);
    const times = kindCurves.map(({ curve }) => curve[0]?.micros ?? 0);
    expect(layerCurve[0]?.micros).toBeGreaterThan(0.9 * Math.min(...times));
    expect(layerCurve[0]?.micros).toBeLessThan(1.1 * Math.max(...times));
    expect(await profile({ spec: kindsSpec })).toEqual(measured);
  });

  it('has no kinds of layers in a model whose layers are alike', async () => {
    expect(await profile()).not.toHaveProperty('kindCurves');
  });

  it('keeps what it measured, for the same machine, threads and model alone', async () => {
    const first = await profile();
    expect(await profile()).toEqual(first);
    expect(await kept()).toHaveLength(1);
    await profile({ threads: 2 });
    await profile({ isDeterministic: true });
    await profile({ spec: await describeFile(await cachedSyntheticModel({ ...smallModel, type: 'Q8_0' })) });
    expect(await kept()).toHaveLength(4);
  });

  it('measures anew when the file is old, and was measured beside other work', async () => {
    await profile();
    const [name = ''] = await kept();
    const path = join(directory, name);
    const text = await readFile(path, 'utf8');
    const longAgo = new Date(Date.now() - 3_600_000);
    for (const isSteady of [true, false]) {
      await writeFile(path, text.replace(/"isSteady":(?:true|false)/u, `"isSteady":${isSteady}`));
      await utimes(path, longAgo, longAgo);
      await profile();
      const { mtimeMs } = await stat(path);
      expect(Math.round(mtimeMs) === longAgo.getTime()).toBe(isSteady);
    }
  });

  it.each([
    ['no JSON', () => '{'],
    ['null', () => 'null'],
    ['cut', (text: string) => text.slice(0, text.length / 2)],
    ['of another version', (text: string) => text.replace('{\\"version\\":6', '{\\"version\\":0')],
    ['out of bounds', (text: string) => text.replace('"rows":1,', '"rows":-1,')],
  ])('measures anew when the file is %s', async (_, damage) => {
    const first = await profile();
    const [name = ''] = await kept();
    const path = join(directory, name);
    const text = await readFile(path, 'utf8');
    const damaged = damage(text);
    expect(damaged).not.toBe(text);
    await writeFile(path, damaged);
    const second = await profile();
    expectTravels(second);
    expect(second).not.toEqual(first);
    expect(await profile()).toEqual(second);
    expect(await kept()).toEqual([name]);
  });

  it('measures all the same where nothing can be kept', async () => {
    const file = join(directory, 'file');
    await writeFile(file, '');
    expectTravels(await profile({ directory: join(file, 'within') }));
  });

  it('guesses from sizes what does not fit the memory', async () => {
    const measured = await profile({ memoryBytes: 1 });
    expectTravels(measured);
    const [layer] = measured.layerCurve;
    const [output] = measured.outputCurve;
    // The guess is for 10 GB/s.
    expect(layer?.micros).toBeGreaterThan(1);
    expect(output?.micros).toBeGreaterThan(1);
  });
});

describe('measureAttention', () => {
  it.each([1, 2])('finds a time for each type of cache, with threads %i', async (threads) => {
    const micros = await measureAttention({
      device: 'cpu',
      ggml,
      attention: spec.attention,
      threads,
      isDeterministic: threads === 2,
    });
    expect(Object.keys(micros)).toEqual([...cacheTypes]);
    for (const type of cacheTypes) {
      expect(micros[type]).toBeGreaterThan(1);
      expect(micros[type]).toBeLessThan(1e6);
    }
  });

  it('gives a type that the heads cannot have the time of F16', async () => {
    const attention = [{ heads: 4, kvHeads: 4, keySize: 16, valueSize: 16, window: null }];
    const micros = await measureAttention({
      device: 'cpu',
      ggml,
      attention,
      threads: 1,
      isDeterministic: false,
    });
    expect(micros.q8_0).toBe(micros.f16);
    expect(Number.isFinite(micros.bf16)).toBe(true);
  });
});
