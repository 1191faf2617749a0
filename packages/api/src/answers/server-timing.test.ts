import { expect, it } from 'vitest';
import { serverTiming } from './server-timing.js';

it('tells where the time of an answer went', () => {
  expect(serverTiming({ queuedMs: 2.25, firstTokenMs: 12.5, totalMs: 100 })).toBe(
    'queue;dur=2.3, prefill;dur=10.3, decode;dur=87.5',
  );
});

it('has the wait in the prefill where that is not known, and nothing below zero', () => {
  expect(serverTiming({ queuedMs: null, firstTokenMs: 12.5, totalMs: 12.4 })).toBe(
    'prefill;dur=12.5, decode;dur=0.0',
  );
});
