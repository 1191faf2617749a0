import type { RequestView } from '@butterfly/telemetry';
import { describe, expect, it } from 'vitest';
import { requestsOf, timelineOf } from '../../testing/glance.js';
import { filtered } from './filter.js';
import { marksOf, shapeOf } from './timeline.js';

const [request] = requestsOf(1, 1_000) as [RequestView];
const over = timelineOf({ ...request, startedMs: 0, endedMs: 1_000 });

describe('a timeline', () => {
  it('has a row for the life of each answer, and one for each stage', () => {
    const { rows, totalMs, firstToken } = shapeOf(over, 5_000);
    expect([totalMs, firstToken]).toEqual([1_000, 0.21]);
    expect(rows.map(({ name, kind }) => [name, kind])).toEqual([
      ['answer 1', 'life'],
      ['machine-0', 'stage'],
      ['machine-1', 'stage'],
      ['machine-2', 'stage'],
    ]);
    expect(rows[0]?.bars.map(({ kind, from, to }) => [kind, from, to])).toEqual([
      ['queue', 0, 0.04],
      ['prefill', 0.04, 0.21],
      ['decode', 0.21, 0.5],
      ['recovery', 0.5, 0.64],
      ['replay', 0.64, 0.7],
      ['decode', 0.7, 0.9],
    ]);
    expect(rows[0]?.bars[3]?.words).toBe('recovery after a loss: 500 to 640 ms, machine-1 was lost');
    // 28 of 170 ms.
    expect(rows[1]?.bars[0]?.weight).toBeCloseTo(28 / 170);
  });

  it('grows while the request runs, and what goes on ends now', () => {
    const [first] = over.spans;
    if (!first) throw new Error('There is a span.');
    const running = { ...over, endedMs: null, spans: [{ ...first, endMs: null }] };
    const { totalMs, rows } = shapeOf(running, 2_500);
    expect([totalMs, rows[0]?.bars[0]?.to]).toEqual([2_500, 1]);
    // A clock that is behind makes no shorter time than was told.
    expect(shapeOf({ ...over, endedMs: null }, 100).totalMs).toBe(900);
  });

  it('has rows of their own for answers side by side, and none before anything happened', () => {
    const [first] = over.spans;
    if (!first) throw new Error('There is a span.');
    const two = shapeOf({ ...over, spans: [first, { ...first, sequence: 1 }] }, 0);
    expect(two.rows.map(({ name }) => name)).toEqual(['answer 1', 'answer 2']);
    expect(shapeOf({ ...over, spans: [] }, 0).rows).toEqual([]);
  });

  it('has about five marks', () => {
    expect(marksOf(1_000)).toEqual([0, 200, 400, 600, 800, 1_000]);
    expect(marksOf(47_200)).toEqual([0, 10_000, 20_000, 30_000, 40_000]);
    expect(marksOf(1)).toHaveLength(6);
  });
});

it('finds requests by state and by words', () => {
  const all = requestsOf(70, 1_000_000);
  const found = (group: Parameters<typeof filtered>[1]['group'], text = '') =>
    filtered(all, { group, text }).length;
  expect([found('all'), found('queued'), found('running'), found('ended'), found('failed')]).toEqual([
    70, 10, 20, 40, 10,
  ]);
  expect([found('all', ' TIMEOUT '), found('all', 'req_00000007'), found('all', 'nothing')]).toEqual([
    10, 1, 0,
  ]);
});
