import { limits } from '@butterfly/common';
import { describe, expect, it } from 'vitest';
import { told } from '../testing/told-request.js';
import { PlansInForce } from './plans-in-force.js';
import { PulseMeter } from './pulse-meter.js';
import { Samples } from './samples.js';
import { Series } from './series.js';

const plans = new PlansInForce();
plans.take(told.live(1, 'w1', 'w2'), 0);
const load = { running: 1, queued: 2, arenaShare: 0.5 };

describe('the last hour', () => {
  it('has steps, rows and how busy each worker was, by interval', () => {
    const series = new Series(plans, 0);
    series.take(told.step({ sequenceId: 1, rows: 4 }, 5));
    series.take(told.step({ sequenceId: 1, rows: 1 }, 5));
    expect(series.close(load, 10)).toMatchObject({
      ...{ atMs: 0, lengthMs: 10, steps: 2, rows: 5, ...load },
      busyShares: { w1: 0.4, w2: 0.6 },
      firstTokenMs: null,
    });
    expect(series.close(load, 20)).toMatchObject({ atMs: 10, steps: 0, busyShares: {} });
  });

  it('has percentiles of what was measured', () => {
    const series = new Series(plans, 0);
    for (let ms = 1; ms <= 100; ms += 1) series.firstToken(ms);
    series.ended(7, true);
    expect(series.close(load, 10)).toMatchObject({
      firstTokenMs: { p50: 50, p95: 95, p99: 99 },
      requestMs: { p50: 7, p95: 7, p99: 7 },
      ...{ requestsEnded: 1, requestsFailed: 1 },
    });
  });

  it('is no longer than an hour', () => {
    const series = new Series(plans, 0);
    for (let at = 1; at <= limits.seriesBucketsMax + 3; at += 1) series.close(load, at);
    expect(series.buckets).toHaveLength(limits.seriesBucketsMax);
    expect(series.buckets[0]?.atMs).toBe(3);
  });
});

describe('samples', () => {
  it('of very many values are a fair choice of so many', () => {
    let seed = 1;
    const random = (): number => (seed = (seed * 16807) % 2147483647) / 2147483647;
    const samples = new Samples(random);
    for (let value = 0; value < 100 * limits.samplesPerIntervalMax; value += 1) samples.add(value);
    const middle = 50 * limits.samplesPerIntervalMax;
    expect(Math.abs((samples.percentiles?.p50 ?? 0) - middle)).toBeLessThan(middle / 10);
  });
});

describe('a pulse', () => {
  it('tells of loaded models what happened since the last one', () => {
    const meter = new PulseMeter(plans, 0);
    meter.take(told.step({ sequenceId: 1, rows: 3 }, 5));
    meter.take(told.came(1, 2));
    const loads = [{ id: 'stories', running: 1, queued: 0 }];
    expect(meter.beat(loads, 10)).toEqual({
      atMs: 10,
      lengthMs: 10,
      models: [
        {
          id: 'stories',
          running: 1,
          queued: 0,
          steps: 1,
          rows: 3,
          outputTokens: 2,
          busyShares: { w1: 0.2, w2: 0.3 },
        },
      ],
    });
    expect(meter.beat(loads, 20).models).toMatchObject([{ steps: 0, outputTokens: 0, busyShares: {} }]);
    expect(meter.beat([], 30).models).toEqual([]);
  });
});
