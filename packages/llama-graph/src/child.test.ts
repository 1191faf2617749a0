import { describe, expect, it } from 'vitest';
import { surveyInChild } from './child.js';
import { surveyRequest } from './describe.js';
import { surveyModel } from './survey-model.js';
import { ggml, openFixture, useFixtures } from './testing/fixtures.js';

useFixtures();
const ggmlDirectory = undefined;
const failure = (code: string, words: string): Error =>
  expect.objectContaining({ code, message: expect.stringContaining(words) as unknown }) as Error;

describe('surveyInChild', () => {
  it('finds what a survey in this process finds', async () => {
    const request = surveyRequest(await openFixture('gpt-oss'));
    expect(await surveyInChild(request, { ggmlDirectory })).toEqual(surveyModel(ggml, request));
  });

  it('hands on why a model is refused', async () => {
    const request = surveyRequest(await openFixture('dream'));
    await expect(surveyInChild(request, { ggmlDirectory })).rejects.toThrow(
      failure('MODEL_UNSUPPORTED', 'makes no embedding but logits'),
    );
  });

  it('outlives llama.cpp, which ends its process on metadata that contradict themselves', async () => {
    const changes = { 'rope.dimension_count': { type: 'u32', value: 4096 } } as const;
    const request = surveyRequest(await openFixture('qwen3moe', changes));
    await expect(surveyInChild(request, { ggmlDirectory })).rejects.toThrow(
      failure('MODEL_CORRUPT', 'GGML_ASSERT'),
    );
  });

  it('says what is wrong with metadata by which a row of a weight would be no whole blocks', async () => {
    const changes = { expert_feed_forward_length: { type: 'u32', value: 33 } } as const;
    const request = surveyRequest(await openFixture('qwen3moe', changes));
    await expect(surveyInChild(request, { ggmlDirectory })).rejects.toThrow(
      failure('MODEL_CORRUPT', 'ffn_down_exps.weight cannot be [33, '),
    );
  });

  it('waits no longer than it may', async () => {
    const request = surveyRequest(await openFixture('qwen3moe'));
    await expect(surveyInChild(request, { ggmlDirectory, timeoutMs: 1 })).rejects.toThrow(
      failure('TIMEOUT', 'within 1 ms'),
    );
  });

  it('says when the libraries are elsewhere', async () => {
    const request = surveyRequest(await openFixture('qwen3moe'));
    await expect(surveyInChild(request, { ggmlDirectory: '/nowhere' })).rejects.toThrow(
      failure('LIBRARY_MISSING', '/nowhere'),
    );
  });
});
