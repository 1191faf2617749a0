import { describe, expect, it } from 'vitest';
import { MeasuredSpeed } from './measured-speed.js';

const token = (id: number) => ({ kind: 'token', id, token: 1 }) as const;

describe('MeasuredSpeed', () => {
  it('counts tokens of all streams while any ran', () => {
    const speed = new MeasuredSpeed();
    for (let step = 0; step <= 20; step++) speed.observe([token(1), token(2)], 1000 + step * 50);
    const figures = speed.figures(2000);
    expect(figures?.tokensPerSecond).toBeCloseTo(40, 5);
    expect(figures?.microsPerToken).toBeCloseTo(50_000, 5);
    expect(figures?.concurrency).toBeCloseTo(2, 5);
  });

  it('leaves pauses out and forgets after a minute', () => {
    const speed = new MeasuredSpeed();
    expect(speed.figures(0)).toBeNull();
    for (const atMs of [0, 100, 200, 20_000, 20_100]) speed.observe([token(1)], atMs);
    expect(speed.figures(20_100)?.tokensPerSecond).toBeCloseTo(10, 5);
    expect(speed.figures(90_000)).toBeNull();
  });

  it('takes the time between tokens within one stream only', () => {
    const speed = new MeasuredSpeed();
    for (let step = 0; step < 10; step++) speed.observe([token(step % 2)], step * 10);
    expect(speed.figures(100)?.microsPerToken).toBeCloseTo(20_000, 5);
  });
});
