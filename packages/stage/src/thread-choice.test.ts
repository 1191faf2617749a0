import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ThreadChoice } from './thread-choice.js';

/** Times of steps by threads, in microseconds. */
type Machine = (threads: number, rows: number) => number;

const quiet: Machine = (threads, rows) => (20_000 * (1 + rows / 8)) / threads;

/** Others want so many of its cores: whoever shares one holds all up. */
function busy(cores: number, wanted: number, penalty = 4): Machine {
  return (threads, rows) => quiet(threads, rows) * (threads > cores - wanted ? penalty : 1);
}

class Run {
  nowMs = 1000;
  /** Of all steps together, and what they would have taken with the best number each. */
  micros = 0;
  bestMicros = 0;

  constructor(
    readonly choice: ThreadChoice,
    private readonly noise: () => number = () => 1,
  ) {}

  steps(machine: Machine, count: number, rows: (step: number) => number = () => 1): this {
    for (let step = 0; step < count; step++) {
      const of = rows(step);
      const micros = machine(this.choice.next(of, this.nowMs), of) * this.noise();
      this.nowMs += micros / 1000;
      this.choice.took({ rows: of, micros }, this.nowMs);
      this.micros += micros;
      const { threadsMax } = this.choice;
      this.bestMicros += Math.min(...Array.from({ length: threadsMax }, (_, at) => machine(at + 1, of)));
    }
    return this;
  }
}

describe('ThreadChoice', () => {
  it('uses all threads of a quiet machine, and tries for less than 1% of the time', () => {
    const run = new Run(new ThreadChoice(2)).steps(quiet, 10_000);
    expect(run.choice.threads).toBe(2);
    expect(run.micros / run.bestMicros).toBeLessThan(1.01);
  });

  it('leaves a core to a program that wants it within ten steps, and takes it back within ten seconds', () => {
    const run = new Run(new ThreadChoice(2)).steps(quiet, 5_000);
    run.steps(busy(2, 1), 10);
    expect(run.choice.threads).toBe(1);
    run.steps(busy(2, 1), 5_000);
    expect(run.choice.threads).toBe(1);
    const startMs = run.nowMs;
    while (run.choice.threads === 1) run.steps(quiet, 1);
    expect(run.nowMs - startMs).toBeLessThan(10_000);
  });

  it('loses little beside a busy program, which it must ask now and then whether it is still there', () => {
    const run = new Run(new ThreadChoice(2)).steps(busy(2, 1), 10_000);
    expect(run.micros / run.bestMicros).toBeLessThan(1.03);
  });

  it('finds the best of many threads, however many cores others want', () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 12 }), fc.nat(11), (cores, wanted) => {
        const others = Math.min(wanted, cores - 1);
        const run = new Run(new ThreadChoice(cores)).steps(busy(cores, others, 40), 30_000);
        expect(run.choice.threads).toBe(cores - others);
      }),
      { numRuns: 30 },
    );
  });

  it('compares steps of one size only, and stays where it is when none comes again', () => {
    const run = new Run(new ThreadChoice(4));
    run.steps(busy(4, 1), 2_000, (step) => step);
    expect(run.choice.threads).toBe(4);
    run.steps(busy(4, 1), 200, (step) => 1 + (step % 2));
    expect(run.choice.threads).toBe(3);
  });

  it('is not misled by times that vary', () => {
    let seed = 7;
    const noise = (): number => {
      seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
      return 1 + 0.1 * (seed / 2 ** 31);
    };
    const run = new Run(new ThreadChoice(2), noise).steps(quiet, 20_000);
    expect(run.choice.threads).toBe(2);
    expect(run.micros / run.bestMicros).toBeLessThan(1.07);
  });

  it('has nothing to choose with one thread', () => {
    const run = new Run(new ThreadChoice(1)).steps(quiet, 100);
    expect(run.micros).toBe(run.bestMicros);
  });
});
