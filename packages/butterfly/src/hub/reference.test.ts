import { sep } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  isHubReference,
  isSafePath,
  localPath,
  modelsAmong,
  parseHubReference,
  partsOf,
} from './reference.js';

describe('a reference to a model on a hub', () => {
  it.each([
    ['hf:org/repo', { repo: 'org/repo', file: null }],
    ['hf:org/Repo-1.5_b:Repo.Q4_K_M.gguf', { repo: 'org/Repo-1.5_b', file: 'Repo.Q4_K_M.gguf' }],
    [
      'hf:org/repo:folder/model-00001-of-00002.gguf',
      { repo: 'org/repo', file: 'folder/model-00001-of-00002.gguf' },
    ],
  ])('%s', (text, reference) => {
    expect(isHubReference(text)).toBe(true);
    expect(parseHubReference(text)).toEqual(reference);
  });

  it.each([
    'hf:',
    'hf:repo',
    'hf:a/b/c',
    'hf:a/..',
    'hf:../b',
    'hf:a/b:',
    'hf:a/b:../x.gguf',
    'hf:a/b:/etc/passwd',
    'hf:a/b:x//y.gguf',
    'hf:a/b:c:\\x.gguf',
    'hf:a/b:x\ny.gguf',
    'hf:a b/c',
  ])('%j is none', (text) => {
    expect(() => parseHubReference(text)).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }));
  });

  it('is told from a path', () => {
    expect(['model.gguf', './hf:a/b', '/hf:a/b'].some(isHubReference)).toBe(false);
  });

  it('never leads out of the folder', () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom('..', '.', '/', 'a', '\\', 'b.gguf', ':', ''), { maxLength: 8 }),
        (parts) => {
          const file = parts.join('');
          const path = isSafePath(file) ? localPath('/models', 'org/repo', file) : null;
          expect(path === null || path.replaceAll(sep, '/').startsWith('/models/org/repo/')).toBe(true);
        },
      ),
    );
  });
});

describe('the parts of a model', () => {
  it('are all that its name counts, whichever is named', () => {
    const parts = ['f/m-00001-of-00003.gguf', 'f/m-00002-of-00003.gguf', 'f/m-00003-of-00003.gguf'];
    for (const part of parts) expect(partsOf(part)).toEqual(parts);
    expect(partsOf('m.gguf')).toEqual(['m.gguf']);
    expect(partsOf('m-00001-of-00000.gguf')).toEqual(['m-00001-of-00000.gguf']);
  });

  it('count as one model, and other files as none', () => {
    expect(
      modelsAmong(['README.md', 'b-00002-of-00002.gguf', 'b-00001-of-00002.gguf', 'a.gguf', 'config.json']),
    ).toEqual(['a.gguf', 'b-00001-of-00002.gguf']);
  });
});
