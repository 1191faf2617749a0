import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createRandom } from '../random.js';
import { documents, rendered, splitOf } from './documents.js';
import { drawStory, plots, type Story } from './story.js';

function stories(count: number): Story[] {
  const random = createRandom('test');
  return Array.from({ length: count }, () => drawStory(random));
}

describe('stories', () => {
  const drawn = stories(3000);

  it('are almost all distinct and use every plot', () => {
    expect(new Set(drawn.map(({ text }) => text)).size).toBeGreaterThan(2990);
    expect(new Set(drawn.map(({ plot }) => plot)).size).toBe(plots.length);
  });

  it('agree in number and article', () => {
    for (const { text } of drawn) {
      expect(text).not.toMatch(/\b[Aa] [aeiou]|\b[Aa]n [^aeiou]/u);
      expect(text).not.toMatch(/\b(?:boots|gloves|skates|wings) (?:was|is)\b/u);
      expect(text).not.toMatch(
        /\b(?:ball|kite|hat|scarf|boat|drum|doll|lantern|book|basket|flute|puppet) (?:were|are)\b/u,
      );
      expect(text).not.toMatch(/undefined|\$\{| {2}|\.\./u);
    }
  });

  it('refer to women and men by their pronouns', () => {
    // Plots in which nobody else comes along.
    const pairs = drawn.filter(({ plot }) =>
      ['lost', 'tree', 'water', 'quarrel', 'lunch', 'astray', 'rain'].includes(plot),
    );
    for (const { text, scene } of pairs) {
      if (scene.hero.isFemale && scene.friend.isFemale) expect(text).not.toMatch(/\b(?:[Hh]e|[Hh]is|him)\b/u);
      if (!scene.hero.isFemale && !scene.friend.isFemale) expect(text).not.toMatch(/\b(?:[Ss]he|[Hh]er)\b/u);
    }
  });

  it('let only those help who can', () => {
    for (const { plot, scene } of drawn) {
      if (plot === 'water') expect(scene.friend.skills).toContain('swim');
      if (plot === 'broken') expect(scene.friend.skills).toContain('mend');
      if (plot === 'treasure') expect(scene.friend.skills).toContain('dig');
    }
  });

  it('keep to a wish', () => {
    fc.assert(
      fc.property(fc.string(), (key) => {
        const { text } = drawStory(createRandom(key), { hero: 'Finn', friend: 'Mia', noun: 'kite' });
        expect(text).toMatch(/fox named Finn|Finn was an? \w+ fox/u);
        expect(text).toContain('Mia');
      }),
      { numRuns: 50 },
    );
  });
});

describe('documents', () => {
  const take = (split: 'train' | 'heldOut', seed: number, count: number): string[] => {
    const stream = documents(split, seed);
    return Array.from({ length: count }, () => rendered(stream.next().value));
  };

  it('are the same for the same seed, and others for another', () => {
    expect(take('train', 7, 50)).toEqual(take('train', 7, 50));
    expect(take('train', 7, 50)).not.toEqual(take('train', 8, 50));
  });

  it('of the held-out part are apart from those of training', () => {
    const training = new Set(take('train', 1, 4000));
    expect(take('heldOut', 1, 400).filter((text) => training.has(text))).toEqual([]);
    const heldOut = stories(2000).filter(({ choices }) => splitOf(choices) === 'heldOut');
    expect(heldOut.length).toBeGreaterThan(60);
    expect(heldOut.length).toBeLessThan(140);
  });
});
