import { type RateLimits, type RateState, resetMs } from './rate-limiter.js';

interface Rate {
  readonly name: 'requests' | 'tokens';
  readonly limit: number;
  readonly left: number;
  readonly resetMs: number;
}

/** OpenAI's headers for what is limited; `reset` is a span, such as 6m0s. */
export function openaiRateHeaders(limits: RateLimits, state: RateState): Readonly<Record<string, string>> {
  return Object.fromEntries(
    ratesOf(limits, state).flatMap((rate) => [
      [`x-ratelimit-limit-${rate.name}`, `${rate.limit}`],
      [`x-ratelimit-remaining-${rate.name}`, `${rate.left}`],
      [`x-ratelimit-reset-${rate.name}`, span(rate.resetMs)],
    ]),
  );
}

/** Anthropic's; `reset` is a time. @param dateMs now, since 1970 */
export function anthropicRateHeaders(
  limits: RateLimits,
  state: RateState,
  dateMs: number,
): Readonly<Record<string, string>> {
  return Object.fromEntries(
    ratesOf(limits, state).flatMap((rate) => [
      [`anthropic-ratelimit-${rate.name}-limit`, `${rate.limit}`],
      [`anthropic-ratelimit-${rate.name}-remaining`, `${rate.left}`],
      [`anthropic-ratelimit-${rate.name}-reset`, new Date(dateMs + rate.resetMs).toISOString()],
    ]),
  );
}

function ratesOf({ requestsPerMinute, tokensPerMinute }: RateLimits, state: RateState): readonly Rate[] {
  const rate = (name: Rate['name'], limit: number | null, left: number): readonly Rate[] =>
    limit === null
      ? []
      : [{ name, limit, left: Math.max(0, Math.floor(left)), resetMs: resetMs(limit, left) }];
  return [
    ...rate('requests', requestsPerMinute, state.requests),
    ...rate('tokens', tokensPerMinute, state.tokens),
  ];
}

/** As Go writes spans: 0s, 20ms, 1.5s, 6m0s. */
function span(ms: number): string {
  if (ms > 0 && ms < 1_000) return `${ms}ms`;
  const [minutes, seconds] = [Math.floor(ms / 60_000), (ms % 60_000) / 1_000];
  return minutes > 0 ? `${minutes}m${seconds}s` : `${seconds}s`;
}
