import { ButterflyError } from '@butterfly/common';
import type { KeyRecord } from '@butterfly/identity';
import type { FastifyRequest } from 'fastify';

/** What a request with a limited key takes from its share. */
export interface Meter {
  /**
   * For some answers; what is taken is held until all of them are settled.
   * @throws ButterflyError RATE_LIMITED; ACCESS_DENIED for more answers than the key may ever have at once
   */
  charge(tokens: number, answers: number): void;
  /** All are over, and so many tokens were really taken. */
  settle(tokens: number): void;
}

const unlimited: Meter = { charge: () => undefined, settle: () => undefined };

/** A request that was let in, and on whose behalf it is made. */
export class Visit {
  /** @param key null for a client that needs none and has none */
  constructor(
    private readonly key: KeyRecord | null,
    private readonly meter: Meter = unlimited,
  ) {}

  /** Between tenants the engine shares out its time; undefined for whoever has no key. */
  get tenant(): string | undefined {
    return this.key?.id;
  }

  get isAdmin(): boolean {
    return this.key?.isAdmin ?? false;
  }

  /** No more urgent than the key allows. */
  priorityOf(asked: number): number {
    return Math.max(asked, this.key?.limits.priorityMax ?? -Infinity);
  }

  mayUse(model: string): boolean {
    return this.key?.limits.models?.includes(model) ?? true;
  }

  /** @throws ButterflyError ACCESS_DENIED */
  checkModel(model: string): void {
    if (this.mayUse(model)) return;
    throw new ButterflyError(
      'ACCESS_DENIED',
      `This API key is not for the model "${model}"; ask for another key, which "butterfly key create --model" makes.`,
      { param: 'model' },
    );
  }

  /**
   * Takes the most tokens that answers may take, and the places of these, before they are begun.
   * @throws ButterflyError RATE_LIMITED; ACCESS_DENIED for more answers than the key may ever have at once
   */
  charge(tokens: number, answers: number): void {
    this.meter.charge(tokens, answers);
  }

  /** Gives back what of them was not taken, at the end of all. */
  settle(tokens: number): void {
    this.meter.settle(tokens);
  }
}

const visits = new WeakMap<FastifyRequest, Visit>();

export function rememberVisit(request: FastifyRequest, visit: Visit): void {
  visits.set(request, visit);
}

/** Null for a request that was never asked who it is. */
export function findVisit(request: FastifyRequest): Visit | null {
  return visits.get(request) ?? null;
}

/** Whoever was not let in gets nothing. @throws ButterflyError INTERNAL */
export function visitOf(request: FastifyRequest): Visit {
  const visit = findVisit(request);
  if (visit) return visit;
  throw new ButterflyError('INTERNAL', 'Nobody looked who asks here. This is a defect, please report it.');
}
