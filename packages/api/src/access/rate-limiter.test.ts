import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { anthropicRateHeaders, openaiRateHeaders } from './rate-headers.js';
import {
  afterEvent,
  chargeOf,
  freshState,
  type RateEvent,
  type RateLimits,
  type RateOutcome,
  type RateState,
} from './rate-limiter.js';

const limit = fc.option(fc.integer({ min: 1, max: 200 }), { nil: null });
const limitsOf = fc.record({ requestsPerMinute: limit, tokensPerMinute: limit, concurrent: limit });

/** A key whose events come as time goes on. */
class Key {
  nowMs = 0;
  state: RateState;

  constructor(readonly limits: RateLimits) {
    this.state = freshState(limits, 0);
  }

  hear(event: RateEvent): RateOutcome['refusal'] {
    const { state, refusal } = afterEvent(this.state, this.limits, event, this.nowMs);
    this.state = state;
    return refusal;
  }
}

const unlimited: RateLimits = { requestsPerMinute: null, tokensPerMinute: null, concurrent: null };

describe('the rate limiter', () => {
  it('lets in a minute of requests at once, and in any time no more than that and what comes back meanwhile', () => {
    const waits = fc.array(fc.integer({ min: 0, max: 5_000 }), { minLength: 1, maxLength: 300 });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 100 }), waits, (requestsPerMinute, gapsMs) => {
        const key = new Key({ ...unlimited, requestsPerMinute });
        const admittedMs: number[] = [];
        for (const gapMs of gapsMs) {
          key.nowMs += gapMs;
          if (key.hear({ kind: 'begin' }) === null) admittedMs.push(key.nowMs);
        }
        for (const [first, sinceMs] of admittedMs.entries())
          for (const [more, untilMs] of admittedMs.slice(first).entries()) {
            const most = requestsPerMinute * (1 + (untilMs - sinceMs) / 60_000);
            expect(more + 1).toBeLessThanOrEqual(most + 1e-6);
          }
      }),
      { numRuns: 100 },
    );
  });

  it('lets in whoever comes back when it was told to', () => {
    const asked = fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1, maxLength: 60 });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 200 }), asked, (tokensPerMinute, sizes) => {
        const key = new Key({ ...unlimited, tokensPerMinute });
        for (const tokens of sizes) {
          const refusal = key.hear({ kind: 'charge', tokens });
          if (refusal === null) continue;
          expect(refusal.retryAfterMs).toBeGreaterThan(0);
          key.nowMs += refusal.retryAfterMs;
          expect(key.hear({ kind: 'charge', tokens })).toBeNull();
        }
      }),
    );
  });

  it('takes nothing for what it refuses, and counts what was taken exactly', () => {
    const event = fc.oneof(
      fc.record({
        kind: fc.constant('request' as const),
        asked: fc.nat(300),
        used: fc.nat(300),
        more: fc.nat(3),
      }),
      fc.record({
        kind: fc.constant('end' as const),
        asked: fc.constant(0),
        used: fc.constant(0),
        more: fc.nat(3),
      }),
    );
    fc.assert(
      fc.property(limitsOf, fc.array(event, { maxLength: 100 }), (limits, events) => {
        const key = new Key(limits);
        let [open, used, begun] = [0, 0, 0];
        for (const { kind, asked, used: taken, more } of events) {
          if (kind === 'end') {
            key.hear({ kind: 'end', answers: 1 + more });
            open = Math.max(0, open - 1 - more);
            continue;
          }
          const before = key.state;
          if (key.hear({ kind: 'begin' }) !== null) {
            expect(key.state).toEqual(before);
            continue;
          }
          begun += 1;
          open += 1;
          const narrow = key.state;
          if (key.hear({ kind: 'widen', answers: more }) === null) open += more;
          else expect(key.state).toEqual(narrow);
          if (key.hear({ kind: 'charge', tokens: asked }) !== null) continue;
          key.hear({ kind: 'correct', tokens: chargeOf(limits, asked) - taken });
          used += taken;
        }
        // The clock stood still, so that nothing came back.
        const { requestsPerMinute, tokensPerMinute, concurrent } = limits;
        expect(key.state.open).toBe(open);
        if (concurrent !== null) expect(open).toBeLessThanOrEqual(concurrent);
        if (requestsPerMinute !== null) expect(key.state.requests).toBe(requestsPerMinute - begun);
        if (tokensPerMinute !== null) expect(key.state.tokens).toBe(tokensPerMinute - used);
      }),
    );
  });

  it('lets nobody starve who asks for more than a minute brings', () => {
    const key = new Key({ ...unlimited, tokensPerMinute: 100 });
    expect(key.hear({ kind: 'charge', tokens: 5_000 })).toBeNull();
    key.hear({ kind: 'correct', tokens: 100 - 350 });
    expect(key.state.tokens).toBe(-250);
    expect(key.hear({ kind: 'charge', tokens: 1 })).toEqual({ what: 'tokens', retryAfterMs: 150_600 });
  });

  it('believes no clock that goes back', () => {
    const key = new Key({ ...unlimited, requestsPerMinute: 1 });
    key.nowMs = 1_000;
    expect(key.hear({ kind: 'begin' })).toBeNull();
    key.nowMs = 0;
    expect(key.hear({ kind: 'begin' })).not.toBeNull();
    key.nowMs = 60_000;
    expect(key.hear({ kind: 'begin' })).not.toBeNull();
    key.nowMs = 61_000;
    expect(key.hear({ kind: 'begin' })).toBeNull();
  });
});

describe('headers of limits', () => {
  const limits = { requestsPerMinute: 60, tokensPerMinute: 10_000, concurrent: 2 };
  const state = { requests: 58.5, tokens: -20, open: 1, atMs: 0 };

  it("are OpenAI's, with spans as Go writes them", () => {
    expect(openaiRateHeaders(limits, state)).toEqual({
      'x-ratelimit-limit-requests': '60',
      'x-ratelimit-remaining-requests': '58',
      'x-ratelimit-reset-requests': '1.5s',
      'x-ratelimit-limit-tokens': '10000',
      'x-ratelimit-remaining-tokens': '0',
      'x-ratelimit-reset-tokens': '1m0.12s',
    });
    const almost = { ...limits, tokensPerMinute: null };
    expect(openaiRateHeaders(almost, { ...state, requests: 59.75 })).toMatchObject({
      'x-ratelimit-reset-requests': '250ms',
    });
    expect(openaiRateHeaders(unlimited, state)).toEqual({});
  });

  it("are Anthropic's, with times", () => {
    expect(anthropicRateHeaders({ ...limits, tokensPerMinute: null }, state, 0)).toEqual({
      'anthropic-ratelimit-requests-limit': '60',
      'anthropic-ratelimit-requests-remaining': '58',
      'anthropic-ratelimit-requests-reset': '1970-01-01T00:00:01.500Z',
    });
  });
});
