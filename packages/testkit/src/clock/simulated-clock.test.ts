import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SimulatedClock } from './simulated-clock.js';

describe('a simulated clock', () => {
  it('fires timers by due time, then in the order in which they were set, and leaves out cancelled ones', async () => {
    const timer = fc.record({ delayMs: fc.nat(20), isCancelled: fc.boolean() });
    await fc.assert(
      fc.asyncProperty(fc.array(timer), async (timers) => {
        const clock = new SimulatedClock();
        const fired: { readonly index: number; readonly atMs: number }[] = [];
        const cancels = timers.map(({ delayMs }, index) =>
          clock.after(delayMs, () => fired.push({ index, atMs: clock.nowMs() })),
        );
        for (const [index, { isCancelled }] of timers.entries()) if (isCancelled) cancels[index]?.();
        await clock.advance(20);
        const expected = timers
          .map(({ delayMs, isCancelled }, index) => ({ index, atMs: delayMs, isCancelled }))
          .filter(({ isCancelled }) => !isCancelled)
          .sort((a, b) => a.atMs - b.atMs || a.index - b.index)
          .map(({ index, atMs }) => ({ index, atMs }));
        expect(fired).toEqual(expected);
        expect(clock.nowMs()).toBe(20);
        expect(clock.isIdle).toBe(true);
      }),
    );
  });

  it('runs all that an event sets off before the next one, however many there are', async () => {
    const clock = new SimulatedClock();
    const seen: string[] = [];
    const events = Array.from({ length: 1_000 }, (_, index) => index);
    for (const event of events)
      clock.after(event % 10, () => {
        void (async () => {
          for (let turn = 0; turn < 50; turn++) await Promise.resolve();
          await new Promise((resolve) => process.nextTick(resolve));
          seen.push(`promises of ${event} at ${clock.nowMs()}`);
        })();
        seen.push(`timer ${event} at ${clock.nowMs()}`);
      });
    await clock.advance(10);
    const inOrder = events.toSorted((a, b) => (a % 10) - (b % 10));
    expect(seen).toEqual(
      inOrder.flatMap((event) => [
        `timer ${event} at ${event % 10}`,
        `promises of ${event} at ${event % 10}`,
      ]),
    );
  });

  it('counts timers that timers set, and none beyond the end', async () => {
    const clock = new SimulatedClock();
    let beats = 0;
    const beat = (): void => {
      beats++;
      clock.after(10, beat);
    };
    clock.after(10, beat);
    await clock.advance(99.5);
    expect([beats, clock.nowMs()]).toEqual([9, 99.5]);
    await clock.advance(0.5);
    expect(beats).toBe(10);
    expect(clock.isIdle).toBe(false);
    expect(await clock.until(() => beats === 11, 10)).toBe(true);
    expect(clock.nowMs()).toBe(110);
    expect(await clock.until(() => beats === 12, 9)).toBe(false);
  });

  it('takes a delay of the past, or none, as now', async () => {
    const clock = new SimulatedClock();
    const seen: number[] = [];
    for (const delayMs of [-5, Number.NaN, 0]) clock.after(delayMs, () => seen.push(clock.nowMs()));
    await clock.advance(0);
    expect(seen).toEqual([0, 0, 0]);
  });

  it('settles promises in simulated time', async () => {
    const clock = new SimulatedClock();
    const slept = new Promise<string>((resolve) => clock.after(1_000_000, () => resolve('rested')));
    expect(await clock.settle(slept)).toBe('rested');
    expect(clock.nowMs()).toBe(1_000_000);
    await expect(clock.settle(Promise.reject(new Error('no')))).rejects.toThrow('no');
  });

  it('says when what is waited for cannot happen, or not in time', async () => {
    const clock = new SimulatedClock();
    const never = new Promise<void>(() => undefined);
    await expect(clock.settle(never)).rejects.toThrow(/nothing is left to happen/);
    clock.after(500, () => undefined);
    await expect(clock.runUntil(() => false, { withinMs: 100 })).rejects.toThrow(/100 .*time is up/);
  });

  it('passes on what an event throws', async () => {
    const clock = new SimulatedClock();
    clock.after(1, () => {
      throw new Error('a defect');
    });
    await expect(clock.advance(1)).rejects.toThrow('a defect');
  });
});
