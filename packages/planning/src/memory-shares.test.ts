import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { shareMemory } from './memory-shares.js';
import type { PlannerMember } from './types.js';

const profile = { layerCurve: [], outputCurve: [], attentionMicros: { f16: 1, bf16: 1, q8_0: 1 } };

/** A worker on the CPU of a machine that offers all that is free there. */
function onCpu(workerId: string, memoryBytes: number): PlannerMember {
  return { workerId, name: workerId, memoryBytes, memoryOf: 'desk', profile };
}

/** A worker on a card of that machine with so much memory beside it. */
function onCard(workerId: string, hostBytes: number): PlannerMember {
  const host = { memoryBytes: hostBytes, memoryOf: 'desk', experts: 'auto' as const };
  return { workerId, name: workerId, memoryBytes: 24, memoryOf: `desk ${workerId}`, host, profile };
}

function sharesOf(members: readonly PlannerMember[], usableBytes: number): number[] {
  const share = shareMemory(members, usableBytes);
  return members.map((member) => (member.host ? share(member).hostBytes : share(member).memoryBytes));
}

describe('shareMemory', () => {
  it('gives a card what it could use beside it, and the rest to the worker on the CPU', () => {
    expect(sharesOf([onCard('card', 64), onCpu('cpu', 64)], 3)).toEqual([3, 61]);
    expect(sharesOf([onCpu('cpu', 64), onCard('a', 64), onCard('b', 60)], 3)).toEqual([58, 3, 3]);
  });

  it('gives a card that could use all of it no more than its part', () => {
    expect(sharesOf([onCard('card', 64), onCpu('cpu', 64)], 1000)).toEqual([32, 32]);
    expect(sharesOf([onCard('a', 64), onCard('b', 64)], 1000)).toEqual([32, 32]);
  });

  it('gives all to a card that is alone, and leaves its own memory alone', () => {
    expect(sharesOf([onCard('card', 64)], 1000)).toEqual([64]);
    expect(shareMemory([onCard('card', 64), onCpu('cpu', 64)], 5)(onCard('card', 64)).memoryBytes).toBe(24);
  });

  it('leaves what a worker alone may have, such as what its owner said', () => {
    const own: PlannerMember = { workerId: 'cpu', name: 'cpu', memoryBytes: 40, profile };
    expect(sharesOf([own, onCard('card', 64)], 1000)).toEqual([40, 64]);
  });

  it('never gives more than there is', () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat(100), { maxLength: 4 }),
        fc.array(fc.nat(100), { maxLength: 4 }),
        fc.nat(120),
        (cards, cpus, usableBytes) => {
          const members = [
            ...cards.map((bytes, i) => onCard(`card ${i}`, bytes)),
            ...cpus.map((bytes, i) => onCpu(`cpu ${i}`, bytes)),
          ];
          const given = sharesOf(members, usableBytes).reduce((sum, bytes) => sum + bytes, 0);
          expect(given).toBeLessThanOrEqual(Math.max(0, ...cards, ...cpus));
        },
      ),
    );
  });
});
