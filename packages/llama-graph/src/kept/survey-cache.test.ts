import { createHash } from 'node:crypto';
import { mkdtemp, readFile, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { limits, silentLogger } from '@butterfly/common';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { surveyRequest } from '../describe.js';
import { SurveyCache, surveyVersion } from './survey-cache.js';
import { surveyModel, type SurveyRequest } from '../survey-model.js';
import type { GraphSurvey } from '../survey.js';
import { ggml, openFixture, useFixtures } from '../testing/fixtures.js';

useFixtures();
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'butterfly-surveys-'));
});
afterEach(() => rm(folder, { recursive: true }));

/** As two processes one after the other have it. */
const cacheOf = (ggmlDirectory?: string): SurveyCache =>
  new SurveyCache(join(folder, 'surveys'), ggmlDirectory, silentLogger);
const survey = (request: SurveyRequest): Promise<GraphSurvey> =>
  Promise.resolve().then(() => surveyModel(ggml, request));
const never = (): Promise<GraphSurvey> => Promise.reject(new Error('a survey was made'));
const pathsIn = async (): Promise<string[]> =>
  (await readdir(join(folder, 'surveys'))).map((name) => join(folder, 'surveys', name));

describe('SurveyCache', () => {
  it('keeps what was found of a header', async () => {
    const request = surveyRequest(await openFixture('qwen35'));
    const found = await cacheOf().find(request, survey);
    expect(found).toEqual(surveyModel(ggml, request));
    expect(await cacheOf().find(request, never)).toEqual(found);
    expect(await pathsIn()).toHaveLength(1);
  });

  it('knows another header, another kind of windows, scores and other libraries', async () => {
    const request = surveyRequest(await openFixture('qwen3moe'));
    await cacheOf().find(request, survey);
    const changes = { 'rope.freq_base': { type: 'f32', value: 12 } } as const;
    const others = [
      surveyRequest(await openFixture('qwen3moe', changes)),
      { ...request, isChunked: true },
      { ...request, isRanking: true },
    ];
    for (const other of others) await expect(cacheOf().find(other, never)).rejects.toThrow('was made');
    await expect(cacheOf('/opt/own').find(request, never)).rejects.toThrow('was made');
    expect(await cacheOf().find(request, never)).toBeDefined();
  });

  it('keeps no refusal', async () => {
    const request = surveyRequest(await openFixture('t5'));
    await expect(cacheOf().find(request, survey)).rejects.toThrow('pos_bucket_dec');
    await expect(cacheOf().find(request, never)).rejects.toThrow('was made');
  });

  it('makes a survey again whose file is damaged at any place, cut short or far too long', async () => {
    const request = surveyRequest(await openFixture('qwen3moe'));
    const found = await cacheOf().find(request, survey);
    const [path = ''] = await pathsIn();
    const sound = await readFile(path);
    const flipped = [0, 63, 64, sound.length >> 1, sound.length - 1].map((at) => {
      const bytes = Buffer.from(sound);
      bytes[at] = (bytes[at] ?? 0) ^ 1;
      return bytes;
    });
    const long = Buffer.alloc(limits.surveyBytesMax + 1, ' ');
    for (const damaged of [...flipped, Buffer.alloc(0), sound.subarray(0, 64), sound.subarray(0, -1), long]) {
      await writeFile(path, damaged);
      await expect(cacheOf().find(request, never)).rejects.toThrow('was made');
      expect(await cacheOf().find(request, survey)).toEqual(found);
      expect(await readFile(path)).toEqual(sound);
    }
  });

  it('finds a model all the same where nothing can be kept', async () => {
    const request = surveyRequest(await openFixture('qwen3moe'));
    await writeFile(join(folder, 'surveys'), '');
    expect(await cacheOf().find(request, survey)).toEqual(surveyModel(ggml, request));
  });

  it('leaves as many as it may, those that were used last, and nothing half-written', async () => {
    const request = surveyRequest(await openFixture('qwen3moe'));
    await cacheOf().find(request, survey);
    const [used = ''] = await pathsIn();
    const old = Array.from({ length: limits.surveysKeptMax }, (_, i) =>
      join(folder, 'surveys', `survey-${i}.json${i % 2 === 0 ? '' : '.tmp'}`),
    );
    for (const [i, path] of old.entries()) {
      await writeFile(path, '');
      await utimes(path, 1000 + i, 1000 + i);
    }
    await utimes(used, 1, 1);
    // Used again, the oldest is the newest.
    await cacheOf().find(request, never);
    const other = surveyRequest(await openFixture('gemma3'));
    await cacheOf().find(other, survey);
    const left = await pathsIn();
    expect(left).toHaveLength(limits.surveysKeptMax);
    expect(left).toContain(used);
    expect(old.filter((path) => !left.includes(path))).toEqual(old.slice(0, 2));
    expect(await cacheOf().find(other, never)).toBeDefined();
  });

  it('has another version where surveys say other things', async () => {
    const hash = createHash('sha256');
    for (const name of [
      'qwen3moe',
      'deepseek2',
      'gemma3',
      'gemma4',
      'llama4',
      'qwen35',
      'mamba2',
      'bert',
      'gemma-embedding',
    ])
      hash.update(JSON.stringify(surveyModel(ggml, surveyRequest(await openFixture(name)))));
    // Raise the version with the hash, so that what older ones kept is made again.
    expect([surveyVersion, hash.digest('hex').slice(0, 16)]).toEqual([3, '1c0e596ba42f3d2a']);
  });
});
