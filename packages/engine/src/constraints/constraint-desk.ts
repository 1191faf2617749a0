import { ButterflyError, type Clock, limits, toButterflyError } from '@butterfly/common';
import { type Constraint, constraintGrammar } from '@butterfly/constraint';
import { GenerationStream } from '../generation.js';
import type { GenerateRequest, Generation } from '../types.js';

/** A constraint as stages know it. */
export interface NumberedConstraint {
  readonly id: number;
  readonly grammar: string;
}

/** The last stages of all replicas. */
export interface ConstraintStages {
  /**
   * Has it compiled in the last stage of each plan in force or on its way to be; null where that is done. Later plans find it
   * among those in use. Rejects with a ButterflyError when a stage refuses it.
   */
  prepare(constraint: NumberedConstraint): Promise<void> | null;
  /** No step will name it any more. */
  drop(id: number): void;
}

export interface ConstraintDeskOptions {
  readonly stages: ConstraintStages;
  /** Tokens that end an answer where its constraint allows it. @throws ButterflyError REQUEST_UNSUPPORTED where there are none */
  readonly stopTokens: () => Int32Array;
  readonly clock: Clock;
}

/** A request as an engine takes it, its constraint by number. */
export type NumberedRequest = Omit<GenerateRequest, 'constraint'> & { readonly constraintId: number };

/** A constraint that is or was in use. */
interface Entry extends NumberedConstraint {
  readonly key: string;
  /** The answers that are held to it. */
  readonly users: Set<(error: ButterflyError) => void>;
}

/**
 * The constraints of all requests. A request waits here until its constraint is compiled in each replica that runs; those in
 * use are compiled in the last stage of each new plan before its first step. Some that nobody uses are kept, since clients
 * ask with the same schema again and again.
 */
export class ConstraintDesk {
  /** Least recently used first. */
  readonly #entries = new Map<string, Entry>();
  #lastId = 0;

  constructor(private readonly options: ConstraintDeskOptions) {}

  /** What answers are held to. */
  inUse(): NumberedConstraint[] {
    return [...this.#entries.values()].filter(({ users }) => users.size > 0);
  }

  /** A stage cannot hold answers to it: these end. */
  refuse(id: number, error: ButterflyError): void {
    for (const entry of this.#entries.values())
      if (entry.id === id) for (const fail of [...entry.users]) fail(error);
  }

  /**
   * The answer to a request, which `start` begins as soon as the constraint is compiled.
   * @throws ButterflyError REQUEST_INVALID or REQUEST_UNSUPPORTED, with the path in the constraint, QUEUE_FULL, and all that
   * `start` throws where nothing is to be waited for; later it comes as an event
   */
  submit(
    { constraint, ...request }: GenerateRequest & { readonly constraint: Constraint },
    start: (request: NumberedRequest) => Generation,
  ): Generation {
    if (request.outputTokensMax > limits.constraintTokensMax)
      throw new ButterflyError(
        'REQUEST_UNSUPPORTED',
        `Answers with a constraint have at most ${limits.constraintTokensMax} tokens.`,
        { param: 'max_tokens' },
      );
    const stops = new Set([...request.stopTokens, ...this.options.stopTokens()]);
    const entry = this.#entry(constraint);
    const numbered = { ...request, stopTokens: stops, constraintId: entry.id };
    const ready = this.options.stages.prepare(entry);
    const begunMs = this.options.clock.nowMs();
    return ready === null
      ? this.#follow(entry, start(numbered))
      : this.#follow(entry, null, ready, () => {
          const timeoutMs = Math.max(1, request.timeoutMs - (this.options.clock.nowMs() - begunMs));
          return start({ ...numbered, timeoutMs });
        });
  }

  /** The events of an answer, begun already or as soon as its constraint is ready; holds the constraint until its end. */
  #follow(
    entry: Entry,
    begun: Generation | null,
    ready: Promise<void> = Promise.resolve(),
    begin: () => Generation | null = () => begun,
  ): Generation {
    let inner = begun;
    const leave = (): void => {
      entry.users.delete(fail);
      this.#trim();
    };
    const stream = new GenerationStream(() => {
      leave();
      inner?.cancel();
    });
    let isOver = false;
    const fail = (error: ButterflyError): void => {
      isOver = true;
      leave();
      stream.push({ kind: 'error', error });
      inner?.cancel();
    };
    entry.users.add(fail);
    const pass = async (): Promise<void> => {
      await ready;
      if (isOver || !entry.users.has(fail)) return;
      inner = begin();
      for await (const event of inner ?? []) {
        if (event.kind !== 'token') leave();
        stream.push(event);
      }
    };
    pass().catch((thrown: unknown) => fail(toButterflyError(thrown)));
    return stream;
  }

  #entry(constraint: Constraint): Entry {
    const key = JSON.stringify(constraint);
    const known = this.#entries.get(key);
    const entry = known ?? this.#made(key, constraint);
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    return entry;
  }

  #made(key: string, constraint: Constraint): Entry {
    const grammar = constraintGrammar(constraint);
    this.#trim(limits.constraintsMax - 1);
    if (this.#entries.size >= limits.constraintsMax)
      throw new ButterflyError(
        'QUEUE_FULL',
        `${limits.constraintsMax} different constraints are in use already; retry later.`,
      );
    this.#lastId += 1;
    return { id: this.#lastId, key, grammar, users: new Set() };
  }

  /** Drops those that nobody uses, the oldest first, until there are no more than so many. */
  #trim(most: number = limits.constraintsKeptMax): void {
    for (const [key, { id, users }] of this.#entries) {
      if (this.#entries.size <= most) return;
      if (users.size > 0) continue;
      this.#entries.delete(key);
      this.options.stages.drop(id);
    }
  }
}
