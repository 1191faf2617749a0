import { describe, expect, it } from 'vitest';
import type { MachineFacts } from './facts.js';
import { findingsOf, hasFault } from './findings.js';

const gibibyte = 2 ** 30;

const sound: MachineFacts = {
  ...{ node: '22.1.0', butterfly: '0.1.0', protocol: 10, architecture: 'x64' },
  library: { version: '0.25.1', error: null },
  devices: [
    { name: 'cpu', kind: 'cpu', description: 'a CPU', freeBytes: gibibyte, totalBytes: gibibyte },
    { name: 'cuda0', kind: 'gpu', description: 'a card', freeBytes: gibibyte, totalBytes: 2 * gibibyte },
  ],
  features: ['AVX2'],
  cores: 8,
  availableBytes: 8 * gibibyte,
  hugePages: 'madvise',
  places: [{ use: 'models', path: '/models', isWritable: true, freeBytes: 99 * gibibyte }],
  ports: [{ port: 8080, use: 'API', isFree: true }],
};

/** What is not as it should be. */
function troubles(facts: Partial<MachineFacts>): string[] {
  return findingsOf({ ...sound, ...facts })
    .filter(({ verdict }) => verdict !== 'ok')
    .map(({ verdict, what, remedy }) => `${verdict}: ${what}: ${remedy}`);
}

describe('findings', () => {
  it('are all well where all is', () => {
    expect(troubles({})).toEqual([]);
    expect(findingsOf(sound).map(({ what }) => what)).toEqual([
      ...[
        'versions',
        'libraries',
        'cuda0',
        'CPU features',
        'memory',
        'huge pages',
        'folder of models',
        'port 8080',
      ],
    ]);
  });

  it.each<[Partial<MachineFacts>, RegExp]>([
    [{ node: '20.18.1' }, /^fault: versions: Install Node 20\.19/],
    [{ node: '18.0.0' }, /^fault: versions/],
    [{ library: { version: '0.25.1', error: 'is missing' } }, /^fault: libraries: Install/],
    [{ devices: sound.devices.slice(0, 1) }, /^hint: devices: .*butterfly setup/],
    [{ features: ['SSE3'] }, /^hint: CPU features: Without AVX2/],
    [{ availableBytes: gibibyte }, /^hint: memory: Close/],
    [{ hugePages: 'never' }, /^hint: huge pages: .*transparent_hugepage/],
    [{ places: [{ use: 'x', path: null, isWritable: false, freeBytes: null }] }, /^hint: .*XDG_CACHE_HOME/],
    [
      { places: [{ use: 'x', path: '/x', isWritable: false, freeBytes: null }] },
      /^hint: .*right to write to \/x/,
    ],
    [{ places: [{ use: 'x', path: '/x', isWritable: true, freeBytes: gibibyte }] }, /^hint: .*Make room/],
    [{ ports: [{ port: 7600, use: 'cluster', isFree: false }] }, /^hint: port 7600: Another program/],
  ])('have a remedy, case %$', (facts, line) => {
    const found = troubles(facts);
    expect(found).toEqual([expect.stringMatching(line)]);
    expect(hasFault(findingsOf({ ...sound, ...facts }))).toBe(found[0]?.startsWith('fault') ?? false);
  });

  it('ask nothing of systems without huge pages, and of disks that say nothing', () => {
    const places = [{ use: 'x', path: '/x', isWritable: true, freeBytes: null }];
    expect(troubles({ hugePages: null, places, architecture: 'arm64', features: [] })).toEqual([]);
  });
});
