import type { AnswerTiming } from '@butterfly/generation';

/**
 * Where the time of a whole answer went, as browsers show it: Server-Timing, in milliseconds. Where it is not known how long it
 * waited for its place, that is part of `prefill`.
 */
export function serverTiming({ queuedMs, firstTokenMs, totalMs }: AnswerTiming): string {
  const parts = [
    ...(queuedMs === null ? [] : ([['queue', queuedMs]] as const)),
    ['prefill', firstTokenMs - (queuedMs ?? 0)],
    ['decode', totalMs - firstTokenMs],
  ] as const;
  return parts.map(([name, ms]) => `${name};dur=${Math.max(0, ms).toFixed(1)}`).join(', ');
}
