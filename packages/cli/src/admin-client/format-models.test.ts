import { describe, expect, it } from 'vitest';
import { formatModels } from './format-models.js';
import type { ModelDescription } from './models-schema.js';

const model = (changes: Partial<ModelDescription>): ModelDescription => ({
  ...{ id: 'qwen3', aliases: [], state: 'loaded', architecture: 'qwen3', quantisation: 'Q4_K' },
  ...{ fileBytes: 2e9, contextTokens: 4096, loadedBytes: 3e9, expiresAt: null, failure: null },
  ...changes,
});

describe('formatModels', () => {
  it('tells what is loaded until when, and why something is not', () => {
    const text = formatModels(
      [
        model({ aliases: ['fast'], expiresAt: '2026-01-01T00:01:30Z' }),
        model({ id: 'b', expiresAt: '2026-01-01T00:10:00Z' }),
        model({ id: 'c' }),
        model({
          ...{ id: 'd', state: 'failed', loadedBytes: 0 },
          failure: { code: 'MODEL_TOO_LARGE', message: 'It does not fit.' },
        }),
      ],
      Date.parse('2026-01-01T00:00:00Z'),
    );
    const lines = text.split('\n');
    expect(lines[1]).toMatch(/^qwen3, fast +loaded .* 4096 .*in 90 s$/);
    expect(lines[2]).toMatch(/in 10 min$/);
    expect(lines[3]).toMatch(/in use, or never$/);
    expect(lines[4]).toMatch(/^d +failed .* - +-$/);
    expect(lines[5]).toBe('d: MODEL_TOO_LARGE: It does not fit.');
  });
});
