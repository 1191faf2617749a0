import { ButterflyError, type Clock } from '@butterfly/common';
import type { Pooling } from '@butterfly/wire';
import type { ConstraintDesk } from './constraints/constraint-desk.js';
import type { PipelineEngine } from './engine.js';
import type { EngineLedger } from './ledger.js';
import type { SpeedFigures } from './measured-speed.js';
import type { DraftFigures } from './guesses/wanted-guesses.js';
import type { SchedulerStats } from './scheduler/scheduler-types.js';
import type {
  EmbedRequest,
  Embedder,
  Embedding,
  Engine,
  EngineModel,
  EngineStatus,
  GenerateRequest,
  Generation,
} from './types.js';

/** One replica of the pipeline, as requests are shared out over them. */
export interface EngineReplica {
  readonly engine: PipelineEngine;
  /** `starting` when all is loaded and it is to be live in a moment. */
  readonly state: 'live' | 'starting' | 'down';
  /** Predicted of its plan; 0 without one. */
  readonly tokensPerSecond: number;
}

export interface ReplicatedEngineOptions {
  /** At least one, and always the same. */
  readonly replicas: readonly EngineReplica[];
  /** What their engines share. */
  readonly ledger: EngineLedger;
  readonly contextTokensMax: number;
  /** Where requests wait for their constraints; null where none can be held to one. */
  readonly constraints?: ConstraintDesk | null;
  /** Why nothing is ready, or that all is, in words for a person. */
  readonly describe: () => string;
  readonly clock: Clock;
}

/**
 * The engines of all replicas as one. A request goes to the live replica that will be done with it soonest, and when a
 * replica goes down its requests go on at another one from their known tokens, which changes nothing of what they say.
 */
export class ReplicatedEngine implements Engine, Embedder {
  #isAccepting = true;
  #onIdle: (() => void) | null = null;

  constructor(private readonly options: ReplicatedEngineOptions) {}

  get contextTokensMax(): number {
    return this.options.contextTokensMax;
  }

  /** Whether no request runs or waits anywhere. */
  get isIdle(): boolean {
    return this.options.replicas.every(({ engine }) => engine.isIdle);
  }

  get model(): EngineModel {
    return this.#first.engine.model;
  }

  embeddingTokensMax(pooling: Pooling | null = null): number {
    return this.#first.engine.embeddingTokensMax(pooling);
  }

  submit(request: GenerateRequest): Generation {
    this.#checkAccepting();
    const { constraint, ...free } = request;
    if (constraint === undefined) return this.#choose(request.promptTokens).engine.submit(free);
    const { constraints } = this.options;
    if (!constraints)
      throw new ButterflyError('REQUEST_UNSUPPORTED', 'Answers are not held to constraints here.');
    this.#first.engine.check(free);
    return constraints.submit({ ...request, constraint }, (numbered) => {
      // It may have waited.
      this.#checkAccepting();
      return this.#choose(numbered.promptTokens).engine.submit(numbered);
    });
  }

  embed(request: EmbedRequest): Embedding {
    this.#checkAccepting();
    return this.#choose(request.tokens).engine.embed(request);
  }

  status(): EngineStatus {
    const { replicas, ledger, describe } = this.options;
    const loads = this.loads();
    return {
      ready: this.#isAccepting && replicas.some(({ state }) => state === 'live'),
      detail: describe(),
      running: loads.reduce((sum, { running }) => sum + running, 0),
      queued: loads.reduce((sum, { waiting }) => sum + waiting, 0),
      retryAfterMs: ledger.ends.expectedWaitMs(),
    };
  }

  /** Of each replica, in order. */
  loads(): SchedulerStats[] {
    return this.options.replicas.map(({ engine }) => engine.stats());
  }

  /** What became of guesses of another model, in all replicas since the start. */
  draftFigures(): DraftFigures {
    const each = this.options.replicas.map(({ engine }) => engine.draftFigures());
    const sum = (of: keyof DraftFigures): number => each.reduce((total, figures) => total + figures[of], 0);
    return {
      asked: sum('asked'),
      missed: sum('missed'),
      guessed: sum('guessed'),
      confirmed: sum('confirmed'),
      headGuessed: sum('headGuessed'),
      headConfirmed: sum('headConfirmed'),
    };
  }

  /** What came out of all within the last minute; null when nothing did. */
  measured(): SpeedFigures | null {
    return this.options.ledger.speed.figures(this.options.clock.nowMs());
  }

  /**
   * Shares out anew what cannot run where it is, after a replica became live or went down: all requests of those that are
   * down, and those that wait at one that is live. Where nothing is live or about to be, everybody stays and waits.
   */
  spread(): void {
    const { replicas } = this.options;
    if (replicas.length === 1 || replicas.every(({ state }) => state === 'down')) return;
    const moved = replicas.flatMap(({ engine, state }) =>
      state === 'starting' ? [] : engine.release(state === 'down' ? 'all' : 'waiting'),
    );
    for (const each of moved) {
      const { known } = each.sequence;
      this.#choose(known.slice(0, known.length)).engine.adopt(each);
    }
    for (const { engine } of replicas) engine.resume();
  }

  /** Tells that an engine has no request any more. */
  idle(): void {
    if (this.isIdle) this.#onIdle?.();
  }

  /** Takes no more requests and waits for those that run, at most this long; the rest ends with an error. */
  async drain(timeoutMs: number): Promise<void> {
    this.#isAccepting = false;
    if (!this.isIdle) {
      await new Promise<void>((resolve) => {
        const cancelDeadline = this.options.clock.after(timeoutMs, resolve);
        this.#onIdle = () => {
          cancelDeadline();
          resolve();
        };
      });
    }
    for (const { engine } of this.options.replicas) engine.close();
  }

  #checkAccepting(): void {
    if (this.#isAccepting) return;
    throw new ButterflyError(
      'CLUSTER_NOT_READY',
      'The server is shutting down; send the request to another one.',
    );
  }

  get #first(): EngineReplica {
    const [first] = this.options.replicas;
    if (first) return first;
    throw new ButterflyError('INTERNAL', 'There is no replica at all. This is a defect, please report it.');
  }

  /** The live replica that will be done soonest; where none is live, one that is about to be, or else any. */
  #choose(knownTokens: Int32Array): EngineReplica {
    const first = this.#first;
    const others = this.options.replicas.slice(1);
    const ranked = (replica: EngineReplica): readonly number[] => [
      ['live', 'starting', 'down'].indexOf(replica.state),
      others.length === 0 ? 0 : costOf(replica, knownTokens),
    ];
    return others.reduce((best, each) => (isLess(ranked(each), ranked(best)) ? each : best), first);
  }
}

/** Its requests, this one included, by its speed. What is all cached there makes it one request less. */
function costOf({ engine, tokensPerSecond }: EngineReplica, knownTokens: Int32Array): number {
  const { running, waiting } = engine.stats();
  const shared = engine.cachedTokens(knownTokens) / knownTokens.length;
  return (running + waiting + 1 - shared) / (tokensPerSecond || 1);
}

function isLess(a: readonly number[], b: readonly number[]): boolean {
  const at = a.findIndex((value, index) => value !== b[index]);
  return at !== -1 && (a[at] ?? 0) < (b[at] ?? 0);
}
