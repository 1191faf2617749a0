import type { WorkerIdentity } from '@butterfly/wire';
import { describe, expect, it } from 'vitest';
import { identityOf } from '../testing/cluster.js';
import { KernelKinds } from './kernel-kinds.js';

const worker = (name: string, changes: Partial<WorkerIdentity> = {}) => ({
  identity: identityOf(name, changes),
});
const desk = worker('desk');
const laptop = worker('laptop', { cpuVariant: 'zen4' });

describe('workers of unlike kinds', () => {
  it('are told of once for each two kinds, whoever comes first', () => {
    const kinds = new KernelKinds(() => true);
    expect(kinds.meet(desk, [desk])).toEqual([]);
    expect(kinds.meet(laptop, [desk, laptop])).toEqual([
      expect.stringMatching(/^There are workers of haswell on linux x64 .* and zen4 on linux x64 .*; with/),
    ]);
    expect([...kinds.meet(desk, [laptop]), ...kinds.meet(worker('other'), [desk, laptop])]).toEqual([]);
    const newer = worker('newer', { ggmlVersion: '0.9.1' });
    expect(kinds.meet(newer, [desk, laptop, desk])).toHaveLength(2);
    expect(kinds.meet(worker('mac', { platform: 'darwin', arch: 'arm64' }), [desk])).toHaveLength(1);
  });

  it('are remembered within bounds', () => {
    const kinds = new KernelKinds(() => true);
    for (let version = 0; version < 200; version += 1)
      expect(kinds.meet(worker('a', { ggmlVersion: `1.${version}` }), [desk])).toHaveLength(1);
  });

  it('are listed by name, as far as there is room', () => {
    const kinds = new KernelKinds(() => true);
    expect(kinds.describe([desk, worker('other')])).toBeNull();
    const many = Array.from({ length: 9 }, (_, index) => worker(`w${index}`, { cpuVariant: 'zen4' }));
    expect(kinds.describe([desk, ...many])).toMatch(
      /^There are workers of 2 kinds: haswell \S.* \(desk\); zen4 .* \(w0, w1, w2, w3, and 5 more\); with/,
    );
  });

  it('make no difference where nothing was promised', () => {
    const kinds = new KernelKinds(() => false);
    expect([kinds.meet(laptop, [desk]), kinds.describe([desk, laptop])]).toEqual([[], null]);
  });
});
