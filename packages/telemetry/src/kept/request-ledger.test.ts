import { type ButterflyEvent, ButterflyError, limits } from '@butterfly/common';
import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { told } from '../testing/told-request.js';
import { PlansInForce } from './plans-in-force.js';
import { RequestLedger } from './request-ledger.js';
import { Series } from './series.js';

let plans: PlansInForce;
let series: Series;
let ledger: RequestLedger;

beforeEach(() => {
  plans = new PlansInForce();
  series = new Series(plans, 0);
  ledger = new RequestLedger(series, plans);
  take(0, told.joined('w1', 'desk'), told.joined('w2', 'laptop'), told.live(1, 'w1', 'w2'));
});

function take(nowMs: number, ...events: readonly ButterflyEvent[]): void {
  for (const event of events) {
    ledger.take(event, nowMs);
    plans.take(event, nowMs);
  }
}

const idle = { running: 0, queued: 0, arenaShare: 0 };

const kinds = (id: string) => ledger.timeline(id)?.spans.map(({ kind }) => kind);

/** Ten tokens of prompt in two chunks, and two tokens of answer. */
function begin(): void {
  take(1000, told.arrived('r1'));
  take(1010, told.begun('r1', 10), told.queued('r1', 7, 10));
  take(1100, told.step({ sequenceId: 7, rows: 6 }, 40));
  take(1150, told.step({ sequenceId: 7, positionStart: 6, rows: 4 }, 40), told.came(7));
  take(1170, told.step({ sequenceId: 7, positionStart: 10 }, 15), told.came(7));
}

describe('a request', () => {
  it('is told as it goes', () => {
    take(1000, told.arrived('r1'));
    expect(ledger.list(9)).toMatchObject([{ id: 'r1', state: 'waiting', modelId: null, startedMs: 1000 }]);
    take(1010, told.begun('r1', 10), told.queued('r1', 7, 10));
    expect(ledger.list(9)).toMatchObject([
      { state: 'queued', modelId: 'stories', tenant: 'key1', promptTokens: 10 },
    ]);
    take(1100, told.step({ sequenceId: 7, rows: 6 }, 40));
    expect(ledger.list(9)).toMatchObject([{ state: 'prefill' }]);
    take(1150, told.step({ sequenceId: 7, positionStart: 6, rows: 4 }, 40), told.came(7));
    take(1170, told.step({ sequenceId: 7, positionStart: 10 }, 15), told.came(7));
    expect(ledger.list(9)).toMatchObject([{ state: 'decode', firstTokenMs: 150, tokensPerSecond: 50 }]);
    take(1180, told.sequenceEnded(7, 3), told.ended('r1'));
    expect(ledger.list(9)).toMatchObject([
      { state: 'done', endedMs: 1180, cachedTokens: 3, outputTokens: 2, replays: 0, error: null },
    ]);
  });

  it('opened shows the queue, each chunk of its prompt, and what each stage computed', () => {
    begin();
    take(1180, told.sequenceEnded(7), told.ended('r1'));
    const spans = ledger.timeline('r1')?.spans ?? [];
    expect(spans).toMatchObject([
      { kind: 'queue', startMs: 10, endMs: 60, tokens: 0 },
      { kind: 'prefill', startMs: 60, endMs: 100, tokens: 6, epoch: 1, replica: 1 },
      { kind: 'prefill', startMs: 110, endMs: 150, tokens: 4 },
      { kind: 'decode', startMs: 155, endMs: 170, tokens: 1, steps: 1 },
    ]);
    expect(spans[1]?.stages).toEqual([
      { workerId: 'w1', name: 'desk', layers: [0, 3], computeMs: 2, hostMs: 0.5 },
      { workerId: 'w2', name: 'laptop', layers: [4, 7], computeMs: 3, hostMs: 0.1 },
    ]);
  });

  it('that loses a worker recovers, replays what was known, and says why', () => {
    begin();
    take(1200, told.left('w2', 'laptop', 'connection lost'), told.retired(1));
    expect(ledger.list(9)).toMatchObject([{ state: 'recovering', replays: 1 }]);
    take(1900, told.live(2, 'w1', 'w3'));
    take(2000, told.step({ sequenceId: 7, rows: 11 }, 80), told.came(7));
    take(2020, told.step({ sequenceId: 7, positionStart: 11 }, 15), told.came(7));
    expect(kinds('r1')).toEqual(['queue', 'prefill', 'prefill', 'decode', 'recovery', 'replay', 'decode']);
    const [recovery, replay] = ledger.timeline('r1')?.spans.slice(4) ?? [];
    expect(recovery).toMatchObject({ startMs: 200, endMs: 1005, words: 'laptop left: connection lost' });
    expect(replay).toMatchObject({ startMs: 920, endMs: 1000, tokens: 11, epoch: 2 });
    expect(ledger.list(9)).toMatchObject([{ state: 'decode', outputTokens: 4 }]);
    // What is computed again counts once.
    expect(series.close(idle, 3000)).toMatchObject({ promptTokens: 10, outputTokens: 4, replays: 1 });
  });

  it('whose plan is replaced says that', () => {
    begin();
    take(9000, told.retired(1));
    expect(ledger.timeline('r1')?.spans.at(-1)).toMatchObject({
      kind: 'recovery',
      words: 'Another plan took the place of the one before.',
    });
  });

  it('that loses its place to another one was pushed out', () => {
    take(0, told.arrived('r1'), told.begun('r1', 100), told.queued('r1', 7, 100));
    take(100, told.step({ sequenceId: 7, rows: 100 }, 50), told.came(7));
    take(900, told.step({ sequenceId: 7, rows: 101 }, 50), told.came(7));
    expect(kinds('r1')).toEqual(['queue', 'prefill', 'pushedOut', 'replay']);
    expect(ledger.timeline('r1')?.spans[2]).toMatchObject({ startMs: 100, endMs: 850 });
    expect(ledger.list(1)).toMatchObject([{ replays: 0 }]);
  });

  it('with several answers has spans of each', () => {
    take(0, told.arrived('r1'), told.begun('r1', 4), told.queued('r1', 7, 4), told.queued('r1', 8, 4));
    take(50, told.step({ sequenceId: 8, rows: 4 }, 20), told.came(8));
    expect(ledger.list(1)).toMatchObject([{ sequences: 2, state: 'decode', outputTokens: 1 }]);
    expect(ledger.timeline('r1')?.spans.map(({ kind, sequence }) => [kind, sequence])).toEqual([
      ['queue', 0],
      ['queue', 1],
      ['prefill', 1],
    ]);
  });

  it.each([
    ['QUEUE_FULL', 'failed'],
    ['CANCELLED', 'cancelled'],
  ] as const)('that ends with %s is %s', (code, state) => {
    begin();
    take(1200, told.ended('r1'), {
      ...{ kind: 'streamBroken', requestId: 'r1', isClientGone: code === 'CANCELLED' },
      error: new ButterflyError(code, 'So it was.'),
    });
    expect(ledger.list(1)).toMatchObject([{ state, error: { code, message: 'So it was.' } }]);
  });

  it('that was refused before it began is kept with its error, and one that asks for nothing to be computed is not', () => {
    take(0, told.arrived('r1'), told.arrived('r2'));
    take(5, {
      ...{
        kind: 'requestFailed',
        requestId: 'r1',
        method: 'POST',
        path: '/v1/chat/completions',
        status: 400,
      },
      error: new ButterflyError('REQUEST_INVALID', 'messages: expected an array.'),
    });
    take(6, told.sent('r1', 400), told.sent('r2'));
    expect(ledger.list(9)).toMatchObject([{ id: 'r1', state: 'failed', endedMs: 6 }]);
  });

  it('ignores guesses of another model and steps of sequences that nobody asked for', () => {
    take(0, told.queued(null, 3, 5), told.step({ sequenceId: 3, rows: 5 }, 1), told.came(3));
    expect(ledger.list(9)).toEqual([]);
    expect(series.close(idle, 10)).toMatchObject({ outputTokens: 0, promptTokens: 0 });
  });
});

describe('the ledger', () => {
  it('tells what changed since it was last asked', () => {
    take(0, told.arrived('r1'), told.arrived('r2'));
    const { changes } = ledger.changedSince(0);
    take(5, told.begun('r1', 4));
    expect(ledger.changedSince(changes).requests.map(({ id }) => id)).toEqual(['r1']);
    expect(ledger.changedSince(ledger.changedSince(0).changes).requests).toEqual([]);
  });

  it('forgets the oldest that are over, and keeps what runs', () => {
    take(0, told.arrived('runs'), told.begun('runs', 4));
    for (let index = 0; index < limits.requestsRememberedMax + 5; index += 1)
      take(index, told.arrived(`r${index}`), told.begun(`r${index}`, 1), told.ended(`r${index}`));
    const ids = ledger.list(Infinity).map(({ id }) => id);
    expect(ids).toHaveLength(limits.requestsRememberedMax);
    expect([ids[0], ids[1], ledger.timeline('r0')]).toEqual(['runs', 'r6', null]);
  });

  it('keeps few spans of a long life, without losing tokens of it', () => {
    take(0, told.arrived('r1'), told.begun('r1', 5000), told.queued('r1', 7, 5000));
    for (let at = 0; at < 500; at += 1)
      take(at * 10 + 9, told.step({ sequenceId: 7, positionStart: at * 10, rows: 10 }, 5));
    const spans = ledger.timeline('r1')?.spans ?? [];
    expect(spans.length).toBeLessThanOrEqual(limits.requestSpansMax);
    const sum = (of: (span: (typeof spans)[number]) => number): number =>
      spans.reduce((total, span) => total + of(span), 0);
    expect([sum(({ tokens }) => tokens), sum(({ steps }) => steps)]).toEqual([5000, 500]);
    expect(sum(({ stages }) => stages[0]?.computeMs ?? 0)).toBeCloseTo(1000);
  });

  it('has spans in order that end after they begin, whatever happens in whatever order', () => {
    const ids = fc.constantFrom('r1', 'r2');
    const sequences = fc.constantFrom(1, 2, 3);
    const step = fc.record({
      sequenceId: sequences,
      positionStart: fc.nat(300),
      rows: fc.integer({ min: 1, max: 99 }),
    });
    const event = fc.oneof(
      ids.map((id) => told.arrived(id)),
      ids.map((id) => told.begun(id, 9)),
      fc.tuple(ids, sequences).map(([id, sequence]) => told.queued(id, sequence, 9)),
      step.map((part) => told.step(part, 3)),
      sequences.map((id) => told.came(id)),
      sequences.map((id) => told.sequenceEnded(id)),
      ids.map((id) => told.ended(id)),
      ids.map((id) => told.sent(id)),
      fc.constantFrom(told.retired(1), told.live(2, 'w1'), told.left('w1', 'desk', 'gone')),
    );
    fc.assert(
      fc.property(fc.array(event, { maxLength: 60 }), (events) => {
        const known = new PlansInForce();
        const one = new RequestLedger(new Series(known, 0), known);
        for (const [at, each] of events.entries()) {
          one.take(each, at * 7);
          known.take(each, at * 7);
        }
        for (const { id } of one.list(9)) {
          const spans = one.timeline(id)?.spans ?? [];
          const starts = spans.map(({ startMs }) => startMs);
          expect(starts).toEqual([...starts].sort((a, b) => a - b));
          for (const { startMs, endMs } of spans) expect(endMs ?? Infinity).toBeGreaterThanOrEqual(startMs);
        }
      }),
    );
  });
});
