import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AccrualDetector } from './accrual-detector.js';

const options = { everyMs: 250, silenceMaxMs: 10_000, threshold: 8 };

/** A detector that heard of its peer after each of these silences, and the time of the last one. */
function after(silencesMs: readonly number[]): { detector: AccrualDetector; lastMs: number } {
  const detector = new AccrualDetector(options);
  let lastMs = 1_000;
  detector.heard(lastMs);
  for (const silenceMs of silencesMs) detector.heard((lastMs += silenceMs));
  return { detector, lastMs };
}

/** The silence that makes the peer suspected, found to a millisecond. */
function detectionMs(silencesMs: readonly number[]): number {
  const { detector, lastMs } = after(silencesMs);
  let silenceMs = 0;
  while (!detector.isSuspected(lastMs + silenceMs)) silenceMs++;
  return silenceMs;
}

const silences = (maxMs: number): fc.Arbitrary<number[]> =>
  fc.array(fc.double({ min: 0, max: maxMs, noNaN: true }), { maxLength: 300 });

describe('an accrual detector', () => {
  it('suspects nobody whom it never heard', () => {
    const detector = new AccrualDetector(options);
    expect(detector.phi(1e9)).toBe(0);
    expect(detector.isSuspected(1e9)).toBe(false);
    expect(detector.silenceMs(1e9)).toBe(0);
  });

  it('finds silence in 1 to 2 s where beats come on time, from the first one on', () => {
    for (const beats of [0, 1, 10, 1000]) {
      const foundMs = detectionMs(Array<number>(beats).fill(250));
      expect(foundMs).toBeGreaterThanOrEqual(1_000);
      // One beat is left for those who look only once in each.
      expect(foundMs).toBeLessThanOrEqual(1_750);
    }
  });

  it('is patient where beats come late, and forgets it once they come on time', () => {
    const jittery = Array.from({ length: 200 }, (_, index) => (index % 4 === 0 ? 1_500 : 250));
    const patientMs = detectionMs(jittery);
    expect(patientMs).toBeGreaterThan(3_000);
    expect(patientMs).toBeLessThan(options.silenceMaxMs);
    expect(detectionMs([...jittery, ...Array<number>(128).fill(250)])).toBe(detectionMs([250]));
  });

  it('does not learn from busy traffic that silence is suspicious, nor forgets for it what it learned', () => {
    expect(detectionMs(Array<number>(100_000).fill(0.1))).toBe(detectionMs([]));
    const withBursts = Array.from({ length: 100 }, () => [1_500, ...Array<number>(250).fill(1)]).flat();
    expect(detectionMs(withBursts)).toBeGreaterThan(detectionMs([]) + 1_000);
  });

  it('never grows less suspicious of a peer that stays silent', () => {
    fc.assert(
      fc.property(silences(5_000), fc.array(fc.double({ min: 0, max: 500, noNaN: true })), (heard, waits) => {
        const { detector, lastMs } = after(heard);
        let nowMs = lastMs;
        let phi = detector.phi(nowMs);
        let wasSuspected = detector.isSuspected(nowMs);
        for (const waitMs of waits) {
          nowMs += waitMs;
          expect(detector.phi(nowMs)).toBeGreaterThanOrEqual(phi);
          if (wasSuspected) expect(detector.isSuspected(nowMs)).toBe(true);
          phi = detector.phi(nowMs);
          wasSuspected = detector.isSuspected(nowMs);
        }
      }),
    );
  });

  it('never suspects before a second, and always at the longest silence', () => {
    fc.assert(
      fc.property(silences(20_000), (heard) => {
        const { detector, lastMs } = after(heard);
        expect(detector.isSuspected(lastMs + 1_000)).toBe(false);
        expect(detector.isSuspected(lastMs + options.silenceMaxMs)).toBe(true);
      }),
    );
  });

  it('gives a finite suspicion for any silence', () => {
    const { detector, lastMs } = after([250, 250]);
    expect(detector.phi(lastMs)).toBeGreaterThanOrEqual(0);
    expect(detector.phi(lastMs + 1e9)).toBeLessThan(Infinity);
  });

  it('agrees with the normal distribution', () => {
    const { detector, lastMs } = after([]);
    for (const [deviations, later] of [
      [0, 0.5],
      [1, 0.158655],
      [2, 0.02275],
      [3, 0.00135],
    ] as const)
      expect(detector.phi(lastMs + 250 + deviations * 250)).toBeCloseTo(-Math.log10(later), 1);
  });
});
