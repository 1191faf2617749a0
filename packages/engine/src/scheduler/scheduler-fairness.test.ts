import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { randomSource } from '../testing/fake-pipeline.js';
import { ScriptedRun, tokensFrom } from '../testing/scripted-run.js';
import type { PlannedStep, SchedulerConfig } from './scheduler-types.js';

/** What one step of priority counts, and how long before its deadline a request begins to go first. */
const stepMs = 10_000;
const prioritiesMin = -3;
const runningMax = 4;

interface Client {
  readonly id: number;
  readonly priority: number;
  readonly arrivedMs: number;
  readonly deadlineMs: number;
  readonly rank: number;
  firstServedMs: number;
  endedMs: number;
  outcome: 'length' | 'stop' | 'expired' | null;
}

/** Requests that arrive at random, at times far more than can be served, with any priority and deadline. */
class Crowd {
  readonly clients: Client[] = [];
  /** Pairs of a sequence that was ready and one that got two rows meanwhile. */
  readonly twiceServed: (readonly [ready: number, served: number])[] = [];
  readonly #random;
  readonly #run: ScriptedRun;
  readonly #inFlight: PlannedStep[] = [];
  readonly #stages: number;
  /** Decode rows of others since each sequence became ready, by id. */
  readonly #servedSinceReady = new Map<number, Set<number>>();

  constructor(
    seed: number,
    roomy: boolean,
    private readonly hasPriorities = true,
  ) {
    this.#random = randomSource(seed);
    this.#stages = this.#random.between(1, 4);
    const config: SchedulerConfig = {
      contextTokensMax: 64,
      arenaSlots: roomy ? 64 * 16 : 96,
      arenaGranularity: 4,
      prefixBlockTokens: 4,
      stages: this.#stages,
      runningMax,
      stepRowsMax: this.#random.between(4, 40),
    };
    this.#run = new ScriptedRun(config);
  }

  run(arrivals: number, meanGapMs: number): this {
    let nextArrivalMs = 0;
    while (
      this.clients.length < arrivals ||
      this.#run.scheduler.stats().waiting + this.#run.scheduler.stats().running > 0
    ) {
      this.#run.nowMs += this.#random.between(1, 400);
      for (
        ;
        this.clients.length < arrivals && nextArrivalMs <= this.#run.nowMs;
        nextArrivalMs += this.#random.below(2 * meanGapMs)
      )
        this.#arrive();
      this.#expire();
      for (let step = this.#run.scheduler.nextStep(this.#run.nowMs); step;) {
        this.#serve(step);
        step = this.#run.scheduler.nextStep(this.#run.nowMs);
      }
      this.#complete();
    }
    return this;
  }

  #arrive(): void {
    const { nowMs } = this.#run;
    const id = this.clients.length;
    const priority = this.hasPriorities ? this.#random.between(prioritiesMin, 3) : 0;
    const deadlineMs = nowMs + (this.#random.below(3) === 0 ? this.#random.between(1, 40_000) : 1e9);
    const promptTokens = tokensFrom(1000 * this.#random.below(6), this.#random.between(1, 40));
    this.clients.push({
      id,
      priority,
      arrivedMs: nowMs,
      deadlineMs,
      rank: Math.min(nowMs + priority * stepMs, deadlineMs - stepMs),
      firstServedMs: Infinity,
      endedMs: Infinity,
      outcome: null,
    });
    this.#run.submit(id, promptTokens, {
      priority,
      deadlineMs,
      outputTokensMax: this.#random.between(1, 24),
    });
  }

  #expire(): void {
    for (const { id } of this.#run.scheduler.expire(this.#run.nowMs)) this.#end(id, 'expired');
  }

  #serve(step: PlannedStep): void {
    this.#inFlight.push(step);
    for (const { sequenceId, rows } of step.sequences) {
      const client = this.#client(sequenceId);
      client.firstServedMs = Math.min(client.firstServedMs, this.#run.nowMs);
      this.#servedSinceReady.delete(sequenceId);
      if (rows > 1) continue;
      for (const [id, served] of this.#servedSinceReady) {
        if (served.has(sequenceId)) this.twiceServed.push([id, sequenceId]);
        served.add(sequenceId);
      }
    }
  }

  #complete(): void {
    const step = this.#inFlight.shift();
    if (step === undefined) return;
    for (const event of this.#run.answer(step)) {
      if (event.kind === 'token') this.#servedSinceReady.set(event.id, new Set());
      else this.#end(event.id, event.kind === 'end' ? event.reason : 'expired');
    }
  }

  #end(id: number, outcome: Client['outcome']): void {
    const client = this.#client(id);
    client.endedMs = this.#run.nowMs;
    client.outcome = outcome;
    this.#servedSinceReady.delete(id);
  }

  #client(id: number): Client {
    const client = this.clients[id];
    if (client === undefined) throw new Error(`there is no client ${id}`);
    return client;
  }
}

const precedes = (a: Client, b: Client): boolean => a.rank < b.rank || (a.rank === b.rank && a.id < b.id);

/** Later arrivals may go before a request only if they come within this time of it, whatever they are. */
const overtakingMs = ({ arrivedMs, rank }: Client): number =>
  rank - arrivedMs + stepMs * Math.max(1, -prioritiesMin);

const seed = fc.integer({ min: 0, max: 1e9 });

describe('fairness', () => {
  it.each([
    ['a roomy arena', true],
    ['an arena of one context and a half', false],
  ])('starves nobody: in %s', (_, roomy) => {
    let waited = 0;
    fc.assert(
      fc.property(seed, fc.constantFrom(200, 2000, 8000), (each, meanGapMs) => {
        const { clients } = new Crowd(each, roomy).run(60, meanGapMs);
        for (const client of clients) {
          // Everybody gets everything, but for those whose own deadline came first.
          if (client.outcome === 'expired') expect(client.endedMs).toBeGreaterThanOrEqual(client.deadlineMs);
          else expect(client.outcome).toBe('length');
          if (client.firstServedMs > client.arrivedMs) waited += 1;
          for (const other of clients) {
            const began = other.firstServedMs;
            const isWaiting =
              client.arrivedMs <= began && began < Math.min(client.firstServedMs, client.endedMs);
            if (!isWaiting) continue;
            // Nobody begins before one that still waits in front of him, and later arrivals get in front only soon.
            expect(precedes(other, client), `${other.id} before ${client.id}`).toBe(true);
            expect(other.arrivedMs - client.arrivedMs).toBeLessThanOrEqual(overtakingMs(client));
          }
        }
      }),
      { numRuns: 80 },
    );
    expect(waited).toBeGreaterThan(500);
  });

  it('lets at most so many later arrivals end before one that waits as come within its bound', () => {
    fc.assert(
      fc.property(seed, (each) => {
        const { clients } = new Crowd(each, false).run(60, 500);
        for (const client of clients) {
          const end = Math.min(client.firstServedMs, client.endedMs);
          const endedBefore = clients.filter(
            (other) => other.id > client.id && other.endedMs < end && other.outcome !== 'expired',
          );
          const mayGoBefore = clients.filter(
            (other) => other.id > client.id && other.arrivedMs - client.arrivedMs <= overtakingMs(client),
          );
          expect(endedBefore.length).toBeLessThanOrEqual(mayGoBefore.length);
          for (const other of endedBefore) expect(mayGoBefore).toContain(other);
        }
      }),
      { numRuns: 100 },
    );
  });

  it('gives nobody a second row while another one that runs is ready for its next', () => {
    fc.assert(
      fc.property(seed, fc.constantFrom(200, 2000), (each, meanGapMs) => {
        expect(new Crowd(each, true, false).run(60, meanGapMs).twiceServed).toEqual([]);
      }),
      { numRuns: 80 },
    );
  });

  it('serves a request of low priority among a constant stream of others as soon as it has waited for its steps', () => {
    const run = new ScriptedRun({ contextTokensMax: 256, arenaSlots: 1024, stages: 1, runningMax: 1 });
    run.submit(0, [1], { priority: 3, outputTokensMax: 4 });
    let id = 1;
    const served: number[] = [];
    // Each takes four steps of 100 ms, and one comes every 400 ms: there is never a gap.
    for (run.nowMs = 0; run.nowMs < 60_000; run.nowMs += 100) {
      if (run.nowMs % 400 === 0) run.submit(id++, [id], { outputTokensMax: 4 });
      const { step } = run.step();
      for (const { sequenceId } of step.sequences) if (!served.includes(sequenceId)) served.push(sequenceId);
    }
    const before = served.indexOf(0);
    // Thirty seconds of arrivals go before it, and not one more.
    expect(before).toBe(30_000 / 400);
    expect(served.slice(0, before)).toEqual(tokensFrom(1, before));
  });
});
