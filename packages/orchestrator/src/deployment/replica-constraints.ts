import { ButterflyError, type Clock, deadlines, isErrorCode, toButterflyError } from '@butterfly/common';
import type { NumberedConstraint } from '@butterfly/engine';
import {
  type Channel,
  type ControlMessageOf,
  encodeControl,
  encodeVocabulary,
  type TokenTable,
} from '@butterfly/wire';
import type { PipelineHandlers } from './deployment-types.js';
import type { ModelWorker } from '../fleet/model-worker.js';

/** The worker compiles no longer than that; and its answer takes its way. */
const answerMs = 2 * deadlines.constraintMs;

interface Waiting {
  readonly done: Promise<void>;
  readonly settle: (error: ButterflyError | null) => void;
}

/** What a worker was told over its channel. */
interface Told {
  readonly ids: Set<number>;
}

type Answer = ControlMessageOf<'constraintReady'> | ControlMessageOf<'constraintRefused'>;

/** What the last stage of a replica was told of constraints, and what it has not answered yet. */
export class ReplicaConstraints {
  readonly #told = new Map<Channel, Told>();
  /** Orders to the last stage of the plan in force that are not answered. */
  readonly #waiting = new Map<number, Waiting>();
  /** What that stage holds. */
  readonly #ready = new Set<number>();
  #stage: ModelWorker | null = null;

  constructor(
    private readonly clock: Clock,
    private readonly vocabulary: () => TokenTable = noVocabulary,
  ) {}

  /** Goes on at once, or when no answer is awaited, whatever the answers are: the first step may name any constraint in use. */
  whenSettled(goOn: () => void): void {
    if (this.#waiting.size === 0) goOn();
    else
      void Promise.allSettled([...this.#waiting.values()].map(({ done }) => done)).then(() =>
        this.whenSettled(goOn),
      );
  }

  /** A plan begins, with this last stage: it is told all that is in use. */
  begin(
    stage: ModelWorker | undefined,
    handlers: Pick<PipelineHandlers, 'constraintsInUse' | 'onConstraintRefused'> | null,
  ): void {
    this.end();
    this.#stage = stage ?? null;
    for (const constraint of handlers?.constraintsInUse() ?? [])
      this.prepare(constraint)?.catch((error: unknown) =>
        handlers?.onConstraintRefused(constraint.id, toButterflyError(error)),
      );
  }

  /** The plan is over: nothing is to be waited for, and the next one is told anew. */
  end(): void {
    this.#stage = null;
    this.#ready.clear();
    for (const { settle } of this.#waiting.values()) settle(null);
    this.#waiting.clear();
  }

  /** Null where there is no plan, or its last stage is ready for it. Rejects when that cannot compile it. */
  prepare({ id, grammar }: NumberedConstraint): Promise<void> | null {
    const stage = this.#stage;
    if (!stage || this.#ready.has(id)) return null;
    const known = this.#waiting.get(id);
    if (known) return known.done;
    const waiting = this.#wait(id);
    this.#introduce(stage.channel).ids.add(id);
    stage.channel.send(encodeControl({ kind: 'constraint', constraintId: id, grammar }));
    return waiting.done;
  }

  /** No step will name it any more. */
  drop(id: number): void {
    this.#ready.delete(id);
    for (const [channel, { ids }] of this.#told) {
      if (!channel.isOpen) this.#told.delete(channel);
      else if (ids.delete(id)) channel.send(encodeControl({ kind: 'dropConstraint', constraintId: id }));
    }
  }

  /** What a worker says of a constraint; one that is not the last stage any more is not heard. */
  answered(workerId: string, answer: Answer): void {
    const waiting = this.#waiting.get(answer.constraintId);
    if (!waiting || workerId !== this.#stage?.workerId) return;
    this.#waiting.delete(answer.constraintId);
    if (answer.kind === 'constraintReady') this.#ready.add(answer.constraintId);
    waiting.settle(answer.kind === 'constraintReady' ? null : refusalOf(answer));
  }

  /** The vocabulary goes first, once over each channel. */
  #introduce(channel: Channel): Told {
    const known = this.#told.get(channel);
    if (known) return known;
    for (const each of this.#told.keys()) if (!each.isOpen) this.#told.delete(each);
    const told = { ids: new Set<number>() };
    this.#told.set(channel, told);
    channel.send(encodeVocabulary(this.vocabulary()));
    return told;
  }

  #wait(id: number): Waiting {
    let settle: Waiting['settle'] = () => undefined;
    const done = new Promise<void>((resolve, reject) => {
      const cancel = this.clock.after(answerMs, () => {
        this.#waiting.delete(id);
        reject(
          new ButterflyError('TIMEOUT', `The last stage did not compile a constraint within ${answerMs} ms.`),
        );
      });
      settle = (error) => {
        cancel();
        if (error) reject(error);
        else resolve();
      };
    });
    // Whoever waits is told.
    done.catch(() => undefined);
    const waiting = { done, settle };
    this.#waiting.set(id, waiting);
    return waiting;
  }
}

function refusalOf({ code, message }: ControlMessageOf<'constraintRefused'>): ButterflyError {
  return new ButterflyError(isErrorCode(code) ? code : 'INTERNAL', message);
}

/** Without one no request has a constraint. */
function noVocabulary(): never {
  throw new ButterflyError(
    'INTERNAL',
    'There is no vocabulary for constraints. This is a defect, please report it.',
  );
}
