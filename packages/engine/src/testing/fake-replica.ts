import type { Clock } from '@butterfly/common';
import { ManualClock } from '@butterfly/common/testing';
import { PipelineEngine } from '../engine.js';
import { EngineLedger } from '../ledger.js';
import { ReplicatedEngine, type EngineReplica } from '../replicated-engine.js';
import type { PlannedStep, SchedulerConfig } from '../scheduler/scheduler-types.js';
import { FakePipeline } from './fake-pipeline.js';

export const config: SchedulerConfig = {
  contextTokensMax: 48,
  arenaSlots: 96,
  arenaGranularity: 4,
  prefixBlockTokens: 4,
  stages: 1,
  runningMax: 3,
};

/** A replica whose stages are fakes that compute from a real arena, so that whatever is computed wrongly shows. */
export class FakeReplica implements EngineReplica {
  state: EngineReplica['state'] = 'down';
  tokensPerSecond = 0;
  readonly engine: PipelineEngine;
  steps = 0;
  stalls = 0;
  /** That each row of a step is on its way. */
  rowMicros = 0;
  #pipeline: FakePipeline | null = null;
  #epoch = 0;

  constructor(clock: Clock, ledger: EngineLedger, onIdle: () => void) {
    const send = (step: PlannedStep): void => {
      this.steps += 1;
      this.#pipeline?.push(step);
    };
    const isLive = (): boolean => this.state === 'live';
    this.engine = new PipelineEngine({
      pipeline: {
        get isLive() {
          return isLive();
        },
        send,
        linksMicros: (rows) => rows * this.rowMicros,
        stalled: () => {
          this.stalls += 1;
        },
        describe: () => 'not yet',
      },
      replica: 1,
      scheduler: config,
      ledger,
      clock,
      observe: () => undefined,
      onIdle,
    });
  }

  up(stages: number, tokensPerSecond = 10): void {
    this.state = 'live';
    this.tokensPerSecond = tokensPerSecond;
    // What caches hold before anything is written to them is different each time.
    this.#epoch += 1;
    this.#pipeline = new FakePipeline(stages, config.arenaSlots, this.#epoch);
    const measured = Array.from({ length: stages }, () => ({ stepCurve: [], isBatchInvariant: true }));
    this.engine.onLive(
      measured.map(() => ({ isRelayed: false })),
      measured,
    );
  }

  down(): void {
    this.state = 'down';
    this.#pipeline = null;
    this.engine.onDown();
  }

  /** One stage computes a step, or a result comes back. */
  advance(stage: number): void {
    const pipeline = this.#pipeline;
    if (!pipeline) return;
    pipeline.advance(stage % pipeline.stages);
    const result = pipeline.results.shift();
    if (result) this.engine.onResult({ epoch: 1, ...result, stageTimes: [] });
  }
}

/** An engine of so many replicas, all of them down. */
export function build(count: number): {
  clock: ManualClock;
  replicas: FakeReplica[];
  engine: ReplicatedEngine;
} {
  const clock = new ManualClock();
  const ledger = new EngineLedger(0);
  const replicas = Array.from({ length: count }, () => new FakeReplica(clock, ledger, () => engine.idle()));
  const engine = new ReplicatedEngine({
    replicas,
    ledger,
    contextTokensMax: config.contextTokensMax,
    describe: () => 'as it is',
    clock,
  });
  return { clock, replicas, engine };
}
