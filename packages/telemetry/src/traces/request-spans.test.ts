import { readFileSync } from 'node:fs';
import { type ButterflyEvent, ButterflyError, systemClock } from '@butterfly/common';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Telemetry } from '../live/telemetry.js';
import { told } from '../testing/told-request.js';
import { FollowedRequests } from './followed-requests.js';
import { type PlannedSpan, requestSpans } from './request-spans.js';
import { attributeMeanings, spanMeanings } from './span-table.js';

/** What is told of a request, at these times, and the spans that come of it. */
function spansOf(events: readonly (readonly [atMs: number, event: ButterflyEvent])[]): PlannedSpan {
  let nowMs = 0;
  const telemetry = new Telemetry(systemClock, () => nowMs);
  const followed = new FollowedRequests();
  for (const [atMs, event] of events) {
    nowMs = atMs;
    followed.take(event, nowMs);
    telemetry.observe(event);
  }
  const request = followed.forget('r1');
  const timeline = telemetry.timeline('r1');
  if (!request || !timeline) throw new Error('Nothing is known of it.');
  return requestSpans(request, timeline);
}

const cluster = [
  [0, told.joined('w1', 'desk')],
  [0, told.joined('w2', 'laptop')],
  [0, told.live(1, 'w1', 'w2')],
] as const;

/** Ten tokens of prompt in two chunks, two of the answer, the loss of a worker, and two more. */
const recovered = [
  ...cluster,
  [1000, told.arrived('r1')],
  [1010, told.begun('r1', 10)],
  [1010, told.queued('r1', 7, 10)],
  [1100, told.step({ sequenceId: 7, rows: 6 }, 40)],
  [1150, told.step({ sequenceId: 7, positionStart: 6, rows: 4 }, 40)],
  [1150, told.came(7)],
  [1170, told.step({ sequenceId: 7, positionStart: 10 }, 15)],
  [1170, told.came(7)],
  [1200, told.left('w2', 'laptop', 'connection lost')],
  [1200, told.retired(1)],
  [1900, told.live(2, 'w1', 'w3')],
  [2000, told.step({ sequenceId: 7, rows: 11 }, 80)],
  [2000, told.came(7)],
  [2020, told.step({ sequenceId: 7, positionStart: 11 }, 15)],
  [2030, told.sequenceEnded(7, 3)],
  [2030, told.ended('r1', 10, 4)],
  [2040, told.sent('r1')],
] as const;

const all = (span: PlannedSpan): PlannedSpan[] => [span, ...span.children.flatMap(all)];

function checkWithin(span: PlannedSpan): void {
  expect(span.endMs).toBeGreaterThanOrEqual(span.startMs);
  for (const child of span.children) {
    expect(child.startMs).toBeGreaterThanOrEqual(span.startMs);
    expect(child.endMs).toBeLessThanOrEqual(span.endMs);
    checkWithin(child);
  }
  const stages = span.children.filter(({ kind }) => kind === 'stage');
  const sumMs = stages.reduce((sum, { startMs, endMs }) => sum + endMs - startMs, 0);
  expect(sumMs).toBeLessThanOrEqual(span.endMs - span.startMs + 1e-6);
}

describe('the trace of a request', () => {
  it('is its life, with what each stage computed, and the recovery after a loss', () => {
    const trace = spansOf(recovered);
    expect(trace).toMatchObject({ name: 'POST /v1/chat/completions', startMs: 1000, endMs: 2040 });
    expect(trace.attributes).toEqual({
      ...{ 'http.request.method': 'POST', 'http.route': '/v1/chat/completions' },
      'http.response.status_code': 200,
      ...{ 'gen_ai.operation.name': 'chat', 'gen_ai.provider.name': 'butterfly' },
      ...{ 'gen_ai.request.model': 'stories', 'gen_ai.response.id': 'chat-1' },
      ...{ 'gen_ai.usage.input_tokens': 10, 'gen_ai.usage.output_tokens': 4 },
      'gen_ai.usage.cache_read.input_tokens': 3,
      ...{ 'butterfly.request.id': 'r1', 'butterfly.key.id': 'key1' },
      ...{ 'butterfly.first_token_ms': 150, 'butterfly.replays': 1 },
    });
    expect(trace.children.map(({ name, startMs, endMs }) => [name, startMs, endMs])).toEqual([
      ['queue', 1010, 1060],
      ['prefill', 1060, 1100],
      ['prefill', 1110, 1150],
      ['decode', 1155, 1170],
      ['recovery', 1200, 2005],
      ['replay', 1920, 2000],
      ['decode', 2005, 2020],
    ]);
    const [first, second] = trace.children[1]?.children ?? [];
    expect(first).toMatchObject({ kind: 'stage', workerId: 'w1', startMs: 1060, endMs: 1062.5 });
    expect(second).toMatchObject({ kind: 'stage', workerId: 'w2', startMs: 1062.5, endMs: 1065.6 });
    expect(second?.attributes).toEqual({
      ...{ 'butterfly.worker.id': 'w2', 'butterfly.worker.name': 'laptop', 'butterfly.layers': '4-7' },
      ...{ 'butterfly.compute_ms': 3, 'butterfly.host_ms': 0.1 },
    });
    expect(trace.children[4]?.attributes['butterfly.reason']).toBe('laptop left: connection lost');
    checkWithin(trace);
  });

  it('ends with what comes last, the answer or the response', () => {
    const background = recovered.map((timed) =>
      timed[1].kind === 'responseSent' ? ([1020, timed[1]] as const) : timed,
    );
    const trace = spansOf(background.toSorted(([a], [b]) => a - b));
    expect(trace.endMs).toBe(2030);
    checkWithin(trace);
  });

  it.each([
    ['WORKER_LOST', true],
    ['REQUEST_INVALID', false],
    ['CANCELLED', false],
  ] as const)(
    'that ends with %s has that, and is failed where its client could not help it: %s',
    (code, isFailed) => {
      const error = new ButterflyError(code, 'A word of the prompt.');
      const trace = spansOf([
        [0, told.arrived('r1')],
        [5, { kind: 'requestFailed', requestId: 'r1', method: 'POST', path: '/', status: 400, error }],
        [6, told.sent('r1', 400)],
      ]);
      expect(trace).toMatchObject({ isFailed, attributes: { 'error.type': code }, children: [] });
      expect(JSON.stringify(trace)).not.toContain('word');
    },
  );

  it('has every span within the one above it, whatever a step says that it took', () => {
    const part = fc.record({
      sequenceId: fc.constant(7),
      positionStart: fc.nat(200),
      rows: fc.integer({ min: 1, max: 64 }),
    });
    const step = fc.tuple(part, fc.nat(500)).map(([each, elapsedMs]) => told.step(each, elapsedMs));
    const event = fc.oneof(
      { weight: 6, arbitrary: step },
      fc.constantFrom(told.retired(1), told.live(2, 'w1', 'w2'), told.came(7)),
    );
    const times = fc.array(fc.tuple(fc.nat(60), event), { maxLength: 90 });
    fc.assert(
      fc.property(times, (steps) => {
        let atMs = 100;
        const timed = steps.map(([waitMs, each]) => [(atMs += waitMs), each] as const);
        const ends = [
          [atMs, told.ended('r1')],
          [atMs, told.sent('r1')],
        ] as const;
        const begins = [
          [100, told.arrived('r1')],
          [100, told.begun('r1', 90)],
          [100, told.queued('r1', 7, 90)],
        ] as const;
        checkWithin(spansOf([...cluster, ...begins, ...timed, ...ends]));
      }),
      { numRuns: 60 },
    );
  });
});

describe('docs/traces.md', () => {
  const page = readFileSync(new URL('../../../../docs/traces.md', import.meta.url), 'utf8');
  const rows = (heading: string): string[][] =>
    (page.split(`## ${heading}\n`)[1]?.split('\n## ')[0] ?? '')
      .split('\n')
      .filter((line) => line.startsWith('| `'))
      .map((line) =>
        line
          .split('|')
          .slice(1, -1)
          .map((cell) => cell.trim()),
      );
  const code = (name: string): string => `\`${name}\``;

  it('has all spans, with what they mean and their attributes', () => {
    expect(rows('Spans')).toEqual(
      Object.entries(spanMeanings).map(([name, { meaning, attributes }]) => [
        name === 'request' ? '`METHOD ROUTE`' : code(name),
        meaning,
        attributes.map((each) => code(each)).join(', '),
      ]),
    );
  });

  it('has all attributes', () => {
    expect(rows('Attributes')).toEqual(
      Object.entries(attributeMeanings).map(([name, meaning]) => [code(name), meaning]),
    );
  });

  it('tells of every attribute that a span has', () => {
    for (const { kind, attributes } of all(spansOf(recovered)))
      expect(
        Object.keys(attributes).filter((name) => !spanMeanings[kind].attributes.includes(name as never)),
      ).toEqual([]);
  });
});
