/** What somebody may have; null for as much as there is. */
export interface RateLimits {
  readonly requestsPerMinute: number | null;
  readonly tokensPerMinute: number | null;
  readonly concurrent: number | null;
}

/** What somebody has had. */
export interface RateState {
  /** Left of each; what a minute brings at most, and less than none after an answer longer than it was charged for. */
  readonly requests: number;
  readonly tokens: number;
  /** Answers that are under way: of each request one, and as many more as it asked for. */
  readonly open: number;
  /** When that was so, in milliseconds of a clock that only goes forward. */
  readonly atMs: number;
}

export type RateEvent =
  /** A request comes. */
  | { readonly kind: 'begin' }
  /** It asks for so many more answers. */
  | { readonly kind: 'widen'; readonly answers: number }
  /** It may take so many tokens, which are taken in advance, as far as a minute brings so many. */
  | { readonly kind: 'charge'; readonly tokens: number }
  /** So many of them were not taken; or as many more, where that is less than 0. */
  | { readonly kind: 'correct'; readonly tokens: number }
  /** It is over, with so many answers. */
  | { readonly kind: 'end'; readonly answers: number };

/** Why something may not be yet; then nothing was taken. */
export interface RateRefusal {
  readonly what: 'requests' | 'tokens' | 'concurrent';
  /** When there is enough again, if nothing else is asked meanwhile. */
  readonly retryAfterMs: number;
}

export interface RateOutcome {
  readonly state: RateState;
  readonly refusal: RateRefusal | null;
}

const minuteMs = 60_000;
/** What sums of shares of a minute may be off by. */
const rounding = 1e-6;
/** When a place is free again nobody knows. */
const placeRetryMs = 1_000;

/** Nothing was had yet: a minute's worth may be had at once, and from then on as it comes back, evenly. */
export function freshState({ requestsPerMinute, tokensPerMinute }: RateLimits, nowMs: number): RateState {
  return { requests: requestsPerMinute ?? 0, tokens: tokensPerMinute ?? 0, open: 0, atMs: nowMs };
}

/** The state after an event, and whether that was refused. It knows no clock: the same events come to the same. */
export function afterEvent(
  before: RateState,
  limits: RateLimits,
  event: RateEvent,
  nowMs: number,
): RateOutcome {
  const state = refilled(before, limits, nowMs);
  switch (event.kind) {
    case 'begin':
      return begun(state, limits);
    case 'widen':
      return widened(state, limits, event.answers);
    case 'charge':
      return charged(state, limits, event.tokens);
    case 'correct': {
      const tokens = atMost(limits.tokensPerMinute, state.tokens + event.tokens);
      return { state: { ...state, tokens }, refusal: null };
    }
    case 'end':
      return { state: { ...state, open: Math.max(0, state.open - event.answers) }, refusal: null };
    default:
      return event satisfies never;
  }
}

/** Of so many tokens, how many are taken in advance. */
export function chargeOf({ tokensPerMinute }: RateLimits, tokens: number): number {
  return Math.min(tokens, tokensPerMinute ?? tokens);
}

/** How long until all of a minute is there again. */
export function resetMs(limit: number, left: number): number {
  return Math.ceil((Math.max(0, limit - left) * minuteMs) / limit);
}

function refilled(state: RateState, { requestsPerMinute, tokensPerMinute }: RateLimits, nowMs: number) {
  const minutes = Math.max(0, nowMs - state.atMs) / minuteMs;
  const more = (left: number, limit: number | null): number =>
    limit === null ? left : Math.min(limit, left + limit * minutes);
  return {
    ...state,
    requests: more(state.requests, requestsPerMinute),
    tokens: more(state.tokens, tokensPerMinute),
    atMs: Math.max(state.atMs, nowMs),
  };
}

function begun(state: RateState, { requestsPerMinute, concurrent }: RateLimits): RateOutcome {
  if (concurrent !== null && state.open >= concurrent)
    return { state, refusal: { what: 'concurrent', retryAfterMs: placeRetryMs } };
  if (requestsPerMinute !== null && state.requests + rounding < 1)
    return {
      state,
      refusal: { what: 'requests', retryAfterMs: waitMs(requestsPerMinute, 1 - state.requests) },
    };
  const requests = requestsPerMinute === null ? 0 : state.requests - 1;
  return { state: { ...state, requests, open: state.open + 1 }, refusal: null };
}

function widened(state: RateState, { concurrent }: RateLimits, answers: number): RateOutcome {
  const open = state.open + answers;
  return concurrent !== null && open > concurrent
    ? { state, refusal: { what: 'concurrent', retryAfterMs: placeRetryMs } }
    : { state: { ...state, open }, refusal: null };
}

function charged(state: RateState, limits: RateLimits, asked: number): RateOutcome {
  const { tokensPerMinute } = limits;
  if (tokensPerMinute === null) return { state, refusal: null };
  const tokens = chargeOf(limits, asked);
  if (state.tokens + rounding < tokens)
    return {
      state,
      refusal: { what: 'tokens', retryAfterMs: waitMs(tokensPerMinute, tokens - state.tokens) },
    };
  return { state: { ...state, tokens: state.tokens - tokens }, refusal: null };
}

function waitMs(limit: number, missing: number): number {
  return Math.ceil((missing * minuteMs) / limit);
}

function atMost(limit: number | null, left: number): number {
  return limit === null ? 0 : Math.min(limit, left);
}
