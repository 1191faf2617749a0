import { greedySampling, silentLogger, type Clock } from '@butterfly/common';
import { describe, expect, it } from 'vitest';
import { PipelineEngine } from './engine.js';

/** Counts what still waits to be called. */
class CountingClock implements Clock {
  readonly pending = new Set<object>();

  nowMs(): number {
    return 0;
  }

  after(): () => void {
    const timer = {};
    this.pending.add(timer);
    return () => this.pending.delete(timer);
  }
}

describe('drain', () => {
  it('leaves no timer behind when the last request ends before its deadline', async () => {
    const clock = new CountingClock();
    const pipeline = {
      isLive: false,
      send: () => undefined,
      stalled: () => undefined,
      describe: () => 'not yet',
    };
    const engine = new PipelineEngine({
      pipeline,
      scheduler: { contextTokensMax: 64, arenaSlots: 256, stages: 1, runningMax: 4 },
      clock,
      log: silentLogger,
    });
    const generation = engine.submit({
      promptTokens: Int32Array.of(1),
      outputTokensMax: 4,
      sampling: greedySampling,
      stopTokens: new Set(),
      priority: 0,
      timeoutMs: 1000,
    });
    const drained = engine.drain(10_000);
    generation.cancel();
    await drained;
    expect(clock.pending.size).toBe(0);
  });
});
