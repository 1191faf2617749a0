import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { median } from './statistics.js';
import { chatLengths, trafficOf } from './traffic.js';

const options = (key: string, requests: number) =>
  ({ key, requests, tokens: [300, 32_000], ...chatLengths }) as const;

describe('the requests', () => {
  it('are the same for the same key and others for another', () => {
    expect(trafficOf(options('a', 5))).toEqual(trafficOf(options('a', 5)));
    expect(trafficOf(options('a', 5))).not.toEqual(trafficOf(options('b', 5)));
  });

  it('begin alike however many are asked for', () => {
    expect(trafficOf(options('a', 8)).slice(0, 5)).toEqual(trafficOf(options('a', 5)));
  });

  it('keep to their bounds', () => {
    fc.assert(
      fc.property(fc.string(), (key) => {
        for (const { prompt, outputTokens } of trafficOf(options(key, 20))) {
          for (const length of [prompt.length, outputTokens]) {
            expect(length).toBeGreaterThanOrEqual(16);
            expect(length).toBeLessThanOrEqual(400);
          }
          expect(prompt.every((token) => token >= 300 && token < 32_000)).toBe(true);
        }
      }),
    );
  });

  it('have lengths around their medians, some of them long', () => {
    const requests = trafficOf(options('lengths', 2_000));
    const prompts = requests.map(({ prompt }) => prompt.length);
    expect(Math.abs(median(prompts) - 100)).toBeLessThan(10);
    expect(Math.abs(median(requests.map(({ outputTokens }) => outputTokens)) - 80)).toBeLessThan(8);
    const long = prompts.filter((length) => length > 100 * Math.exp(0.8)).length / prompts.length;
    expect(Math.abs(long - 0.159)).toBeLessThan(0.03);
  });
});
