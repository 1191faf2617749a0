import { expect, it } from 'vitest';
import { backendsDirectory, cacheDirectory, modelsDirectory, workerDirectory } from './directories.js';

it.each([
  ['linux', {}, '/home/me/.cache/butterfly'],
  ['linux', { XDG_CACHE_HOME: '/fast' }, '/fast/butterfly'],
  ['linux', { XDG_CACHE_HOME: '' }, '/home/me/.cache/butterfly'],
  ['darwin', {}, '/home/me/Library/Caches/butterfly'],
  ['darwin', { XDG_CACHE_HOME: '/fast' }, '/fast/butterfly'],
] as const)('the cache of %s with %j', (platform, variables, path) => {
  expect(cacheDirectory(variables, platform, '/home/me')).toBe(path);
});

it('the cache of Windows lies with the local data of its programs', () => {
  const path = cacheDirectory({ LOCALAPPDATA: 'L' }, 'win32', 'H')?.replaceAll('\\', '/');
  expect(path).toBe('L/butterfly/cache');
});

it('a user without a home has no cache but what the environment names', () => {
  expect(cacheDirectory({}, 'linux', null)).toBe(null);
  expect(cacheDirectory({ XDG_CACHE_HOME: '/fast' }, 'linux', null)).toBe('/fast/butterfly');
  expect(cacheDirectory({}, 'win32', null)).toBe(null);
});

it('models and what workers keep have folders of their own', () => {
  const variables = { XDG_CACHE_HOME: '/fast' };
  expect([modelsDirectory(variables), workerDirectory(variables)]).toEqual([
    '/fast/butterfly/models',
    '/fast/butterfly/weights',
  ]);
  expect(modelsDirectory(variables, '/big')).toBe('/big/pulled');
});

it.each([
  ['linux', {}, '/home/me/.local/share/butterfly/backends/ggml-1.2.3'],
  ['linux', { XDG_DATA_HOME: '/fast' }, '/fast/butterfly/backends/ggml-1.2.3'],
  ['darwin', {}, '/home/me/Library/Application Support/butterfly/backends/ggml-1.2.3'],
  ['win32', { LOCALAPPDATA: '/L' }, '/L/butterfly/data/backends/ggml-1.2.3'],
] as const)(
  'backends of %s with %j lie with the data of the user, for one version of ggml',
  (platform, variables, path) => {
    expect(backendsDirectory(variables, '1.2.3', platform, '/home/me')?.replaceAll('\\', '/')).toBe(path);
    expect(backendsDirectory({}, '1.2.3', platform, null)).toBe(null);
  },
);
