import { describe, expect, it } from 'vitest';
import { parseCatalogue, readCatalogue } from './catalogue.js';

const model = {
  ...{ name: 'a-1b', title: 'A 1B', model: 'hf:org/repo:a.gguf', bytes: 1000, contextTokens: 4096 },
  ...{ cacheBytesPerToken: 1000, goodFor: 'tests', licence: 'MIT' },
};
const catalogueOf = (...models: readonly object[]) => ({ updated: '2026-12-02', models });

describe('the catalogue that ships', () => {
  it('has models of all sizes, the small ones first, each once', async () => {
    const { models } = await readCatalogue();
    const sizes = models.map(({ bytes }) => bytes);
    expect(sizes).toEqual([...sizes].sort((a, b) => a - b));
    expect(sizes[0]).toBeLessThan(1e9);
    expect(sizes.at(-1)).toBeGreaterThan(60e9);
    expect(new Set(models.map((each) => each.model)).size).toBe(models.length);
    expect(sizes.filter((bytes) => bytes % 10_000_000 !== 0)).toEqual([]);
  });
});

describe('a catalogue', () => {
  it('is taken as it is', () => {
    expect(parseCatalogue(catalogueOf(model))).toEqual(catalogueOf(model));
  });

  it.each([
    ['a name with blanks', { name: 'A 1B' }, /name: must be of small letters/],
    ['a path', { model: 'a.gguf' }, /model: must be hf:ORG\/REPO:FILE/],
    ['a repository without a file', { model: 'hf:org/repo' }, /model: must be hf:ORG\/REPO:FILE/],
    ['no size', { bytes: 0 }, /bytes/],
    ['more experts than weights', { experts: { bytes: 1000, used: 1, count: 2 } }, /experts\.bytes/],
    ['a field that nobody knows', { sha: 'x' }, /Unrecognized key/],
  ])('is refused with %s', (_, change, message) => {
    expect(() => parseCatalogue(catalogueOf({ ...model, ...change }))).toThrow(message);
  });

  it('is refused with a name twice, and without a day', () => {
    expect(() => parseCatalogue(catalogueOf(model, model))).toThrow(/names must differ/);
    expect(() => parseCatalogue({ ...catalogueOf(model), updated: 'today' })).toThrow(/updated/);
  });
});
