import { describe, expect, it } from 'vitest';
import { parseOptions } from './options.js';

describe('the options of a benchmark', () => {
  it('have defaults', () => {
    expect(parseOptions(['serve'])).toEqual({
      name: 'serve',
      options: {
        repeats: 3,
        model: null,
        clients: [1, 2, 4, 8, 16],
        requests: null,
        ratePerSecond: null,
        threads: 2,
        profile: false,
        llamaBin: null,
        isQuick: false,
      },
    });
    expect(parseOptions(['single']).options.repeats).toBe(5);
  });

  it('take what is given', () => {
    const { options } = parseOptions(['serve', '--clients', '2,8', '--rate', '1.5', '--profile']);
    expect(options).toMatchObject({ clients: [2, 8], ratePerSecond: 1.5, profile: true });
  });

  it.each(['single', 'serve', 'servers', 'split'])('take the folder of llama.cpp for %s', (name) => {
    expect(parseOptions([name, '--llama-bin', '/llama/bin']).options.llamaBin).toBe('/llama/bin');
    expect(parseOptions([name]).options.llamaBin).toBeNull();
  });

  it.each([['depth'], ['serve', '--profile']])('refuse the folder of llama.cpp for %s %s', (...args) => {
    expect(() => parseOptions([...args, '--llama-bin', '/llama/bin'])).toThrow(
      '--llama-bin is for single, serve, servers, split, without --profile',
    );
  });

  it.each([['--repeats', '0'], ['--repeats', '1.5'], ['--clients', '1,x'], ['--rate', '-1'], ['--unknown']])(
    'refuse %s %s',
    (...args) => {
      expect(() => parseOptions(['serve', ...args])).toThrow();
    },
  );
});
