import { deadlines, limits } from '@butterfly/common';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { afterOffence, keptOut, type Offenders } from './offenders.js';

const none: Offenders = new Map();
const { keptOutMinMs, keptOutMaxMs, offencesForgottenMs } = deadlines;

/** Offences of one, each as soon as it is let in again: how long each keeps it out. */
function pausesMs(times: number): number[] {
  let [offenders, nowMs] = [none, 0];
  return Array.from({ length: times }, () => {
    offenders = afterOffence(offenders, { who: 'eve', what: 'noise' }, nowMs);
    const startMs = nowMs;
    nowMs = offenders.get('eve')?.untilMs ?? NaN;
    return nowMs - startMs;
  });
}

describe('who breaks the protocol', () => {
  it('is kept out, for ever longer up to a bound', () => {
    expect(pausesMs(8)).toEqual([1_000, 4_000, 16_000, 64_000, 256_000, 300_000, 300_000, 300_000]);
  });

  it('is let in again afterwards, and forgotten after good behaviour', () => {
    const once = afterOffence(none, { who: 'eve', what: 'noise' }, 0);
    expect(keptOut(once, 'eve', keptOutMinMs - 1)).toMatchObject({ what: 'noise', offences: 1 });
    expect(keptOut(once, 'eve', keptOutMinMs)).toBe(null);
    const late = keptOutMinMs + offencesForgottenMs;
    expect(afterOffence(once, { who: 'eve', what: 'more' }, late - 1).get('eve')?.offences).toBe(2);
    expect(afterOffence(once, { who: 'eve', what: 'more' }, late).get('eve')?.offences).toBe(1);
    expect([...afterOffence(once, { who: 'bob', what: 'more' }, late).keys()]).toEqual(['bob']);
  });

  it('is not kept out for longer by what its other connections do meanwhile', () => {
    const once = afterOffence(none, { who: 'eve', what: 'noise' }, 0);
    expect(afterOffence(once, { who: 'eve', what: 'more noise' }, keptOutMinMs - 1)).toBe(once);
  });

  it('does not matter to anybody else, however many they are', () => {
    const event = fc.record({ who: fc.nat(3 * limits.offendersMax), afterMs: fc.nat(2_000) });
    fc.assert(
      fc.property(fc.array(event, { maxLength: 300 }), (events) => {
        let [offenders, nowMs] = [none, 0];
        const guilty = new Set<string>();
        for (const { who, afterMs } of events) {
          nowMs += afterMs;
          guilty.add(`${who}`);
          offenders = afterOffence(offenders, { who: `${who}`, what: 'noise' }, nowMs);
          const offender = keptOut(offenders, `${who}`, nowMs);
          expect((offender?.untilMs ?? NaN) - nowMs).toBeLessThanOrEqual(keptOutMaxMs);
        }
        expect([...offenders.keys()].every((who) => guilty.has(who))).toBe(true);
      }),
    );
  });

  it('is forgotten before others where there are too many, if it was let in longest ago', () => {
    let offenders = afterOffence(none, { who: 'first', what: 'noise' }, 0);
    for (let count = 0; count < 2 * limits.offendersMax; count++)
      offenders = afterOffence(offenders, { who: `${count}`, what: 'x'.repeat(5_000) }, 1);
    expect(offenders.size).toBe(limits.offendersMax);
    expect(offenders.has('first')).toBe(false);
    expect(offenders.get(`${2 * limits.offendersMax - 1}`)?.what).toHaveLength(256);
  });
});
