import type { LiveMessage, RequestView } from '@butterfly/telemetry';
import { describe, expect, it } from 'vitest';
import { bucketOf, eventOf, glanceOf, pulseOf, requestsOf } from '../../testing/glance.js';
import { bounds } from './bounds.js';
import {
  afterMessage,
  afterOpening,
  busySharesOf,
  emptyState,
  groupOf,
  isLate,
  type LiveState,
  ratesOf,
} from './live-state.js';

const after = (messages: readonly LiveMessage[], state: LiveState = emptyState, nowMs = 1_000): LiveState =>
  messages.reduce((known, message) => afterMessage(known, message, nowMs), state);

const cluster = (startedMs = 1): LiveMessage => ({ kind: 'cluster', cluster: glanceOf(3, 2, startedMs) });
const events = (...indexes: number[]): LiveMessage => ({
  kind: 'events',
  events: indexes.map((index) => eventOf(index, index)),
});

describe('what is known of a cluster', () => {
  it('is told again after a connection was lost, and is not there twice', () => {
    const requests: LiveMessage = { kind: 'requests', requests: requestsOf(3, 10_000) };
    const series: LiveMessage = { kind: 'series', buckets: [bucketOf(0, 0, 1), bucketOf(5_000, 1, 1)] };
    const once = after([cluster(), requests, events(1, 2, 3), series]);
    const twice = after([cluster(), requests, events(2, 3, 4), series], once);
    expect(twice.events.map(({ index }) => index)).toEqual([1, 2, 3, 4]);
    expect([twice.requests, twice.buckets]).toEqual([once.requests, once.buckets]);
    expect(once.requests.map(({ startedMs }) => startedMs)).toEqual([9_000, 8_000, 7_000]);
  });

  it('is nothing of what was, when the server was started again', () => {
    const before = after([cluster(1), events(7), { kind: 'pulse', pulse: pulseOf(900, 1) }]);
    const restarted = after([cluster(2), events(1)], before);
    expect(restarted.events.map(({ index }) => index)).toEqual([1]);
    expect([restarted.requests, restarted.pulses, restarted.lastPulseMs]).toEqual([[], [], null]);
  });

  it('is of the server that answers now, in whatever order that begins to tell', () => {
    const before = after([cluster(1), events(7)]);
    const restarted = after([events(1, 2), cluster(2)], afterOpening(before));
    expect(restarted.events.map(({ index }) => index)).toEqual([1, 2]);
    const same = after([events(8), cluster(1), events(9)], afterOpening(before));
    expect(same.events.map(({ index }) => index)).toEqual([7, 8, 9]);
    const silent = after([events(8), { kind: 'pulse', pulse: pulseOf(0, 1) }], afterOpening(before));
    expect([silent.events.length, silent.held]).toEqual([2, null]);
  });

  it('has each request as it was told last', () => {
    const [request] = requestsOf(1, 10_000) as [RequestView];
    const known = after([
      { kind: 'requests', requests: [request] },
      { kind: 'requests', requests: [{ ...request, outputTokens: 99 }] },
    ]);
    expect(known.requests).toEqual([{ ...request, outputTokens: 99 }]);
  });

  it('is bounded, and keeps the requests that run before those that are over', () => {
    const many = requestsOf(bounds.requestsMax + 500, 10_000_000);
    const { requests } = after([{ kind: 'requests', requests: many }]);
    expect(requests).toHaveLength(bounds.requestsMax);
    const running = (all: readonly RequestView[]) => all.filter(({ endedMs }) => endedMs === null).length;
    expect(running(requests)).toBe(running(many));
    const indexes = Array.from({ length: bounds.eventsMax + 10 }, (_, index) => index);
    expect(after([events(...indexes)]).events[0]?.index).toBe(10);
    const buckets = Array.from({ length: bounds.bucketsMax + 10 }, (_, index) => bucketOf(index, index, 1));
    expect(after([{ kind: 'series', buckets }]).buckets).toHaveLength(bounds.bucketsMax);
  });

  it('is late without a pulse for five seconds, by the clock of this machine', () => {
    expect(isLate(emptyState, 0)).toBe(true);
    const known = afterMessage(emptyState, { kind: 'pulse', pulse: pulseOf(500_000, 1) }, 1_000);
    expect([isLate(known, 6_000), isLate(known, 6_001)]).toEqual([false, true]);
    expect(known.skewMs).toBe(499_000);
  });
});

describe('rates', () => {
  it('are of the last two seconds, without what the first pulse tells of the time before', () => {
    const pulses = Array.from({ length: 9 }, (_, index) => pulseOf(index * 500, 2));
    expect(ratesOf(pulses, null)).toEqual({
      ...{ running: 3, queued: 1, stepsPerSecond: 24, rowsPerStep: 8, tokensPerSecond: 192 },
    });
    expect(ratesOf(pulses, 'another').stepsPerSecond).toBe(0);
    expect(ratesOf([], null).tokensPerSecond).toBe(0);
    expect(ratesOf(pulses.slice(0, 1), null)).toMatchObject({ stepsPerSecond: 0, running: 3 });
  });

  it('add up over models, and nobody is busier than all the time', () => {
    const model = pulseOf(0, 0).models.map((each) => ({ ...each, busyShares: { a: 0.7, b: 0.2 } }));
    const shares = busySharesOf({ atMs: 0, lengthMs: 500, models: [...model, ...model] });
    expect([...shares]).toEqual([
      ['a', 1],
      ['b', 0.4],
    ]);
    expect(busySharesOf(undefined).size).toBe(0);
  });
});

it('sorts requests into those that wait, run and are over', () => {
  expect(
    (['waiting', 'queued', 'prefill', 'decode', 'recovering', 'done', 'failed'] as const).map(groupOf),
  ).toEqual([...['queued', 'queued', 'running', 'running', 'running', 'ended', 'ended']]);
});
