import { type ButterflyEvent, type EventOf, limits } from '@butterfly/common';
import type { RequestTimeline, RequestView } from '../view/request-view.js';
import type { KnownPlans } from './plans-in-force.js';
import { RequestRecord } from './request-record.js';
import type { SequenceRecord } from './sequence-record.js';
import type { Tally } from './tally.js';

interface OpenSequence {
  readonly request: RequestRecord;
  readonly record: SequenceRecord;
}

/**
 * The last requests and what became of them, from events alone: a function of `(state, event, now)`. At most
 * `limits.requestsRememberedMax` are kept, those that run longest.
 */
export class RequestLedger {
  readonly #requests = new Map<string, RequestRecord>();
  /** By model and number. */
  readonly #open = new Map<string, OpenSequence>();
  #changes = 0;

  constructor(
    private readonly tally: Tally,
    private readonly plans: KnownPlans,
  ) {}

  /** @param nowMs milliseconds since 1970 */
  take(event: ButterflyEvent, nowMs: number): void {
    switch (event.kind) {
      case 'requestArrived':
      case 'requestRestored':
        this.#arrived(event, nowMs);
        break;
      case 'requestBegun':
        this.#change(event.requestId)?.begun(event);
        break;
      case 'sequenceQueued':
        this.#queued(event, nowMs);
        break;
      case 'stepDone':
        this.#stepped(event, nowMs);
        break;
      case 'tokensCame':
        this.#came(event, nowMs);
        break;
      case 'sequenceEnded':
        this.#sequenceEnded(event, nowMs);
        break;
      case 'requestFailed':
      case 'streamBroken':
        this.#change(event.requestId)?.failed(event.error);
        break;
      case 'requestEnded':
        this.#ended(event.requestId, nowMs);
        break;
      case 'responseSent':
        this.#sent(event.requestId, nowMs);
        break;
      case 'planRetired':
        this.#interrupted(event, nowMs);
        break;
      default:
      // Nothing else is of a request.
    }
  }

  /** The newest last. */
  list(most: number): RequestView[] {
    return [...this.#requests.values()].slice(-most).map(({ view }) => view);
  }

  /** Null for one that is not remembered. */
  timeline(id: string): RequestTimeline | null {
    return this.#requests.get(id)?.timeline ?? null;
  }

  /** Those that changed after so many changes, and how many there were by now. */
  changedSince(changes: number): { readonly changes: number; readonly requests: RequestView[] } {
    const changed = [...this.#requests.values()].filter(({ changedAt }) => changedAt > changes);
    return { changes: this.#changes, requests: changed.map(({ view }) => view) };
  }

  #arrived({ requestId, route }: EventOf<'requestArrived' | 'requestRestored'>, nowMs: number): void {
    this.#requests.set(requestId, new RequestRecord(requestId, route, nowMs));
    this.#change(requestId);
    this.tally.started();
    if (this.#requests.size > limits.requestsRememberedMax) this.#forgetOne();
  }

  #queued(event: EventOf<'sequenceQueued'>, nowMs: number): void {
    const request = event.requestId === null ? null : this.#change(event.requestId);
    if (!request || request.sequences.length >= limits.requestSequencesShownMax) return;
    const record = request.sequence(event.promptTokens, nowMs);
    this.#open.set(keyOf(event), { request, record });
  }

  #stepped(step: EventOf<'stepDone'>, nowMs: number): void {
    const plan = this.plans.of(step.modelId, step.replica);
    for (const part of step.parts) {
      const open = this.#open.get(keyOf({ ...part, modelId: step.modelId }));
      if (!open) continue;
      this.tally.prefilled(open.record.computed({ part, step, plan }, nowMs));
      this.#changed(open.request);
    }
  }

  #came(event: EventOf<'tokensCame'>, nowMs: number): void {
    const open = this.#open.get(keyOf(event));
    if (!open) return;
    const { tokens } = event;
    const { isFirst, waitedMs } = open.request.came(tokens, nowMs);
    open.record.came();
    this.tally.generated(tokens);
    if (isFirst) this.tally.firstToken(waitedMs);
    else if (open.request.sequences.length === 1) this.tally.between(waitedMs / tokens);
    this.#changed(open.request);
  }

  #sequenceEnded(event: EventOf<'sequenceEnded'>, nowMs: number): void {
    const open = this.#open.get(keyOf(event));
    if (!open) return;
    this.#open.delete(keyOf(event));
    open.record.ended(event.reason, nowMs);
    const cached = event.cachedPromptTokens ?? 0;
    open.request.foundCached(cached);
    if (cached > 0) this.tally.cached(cached);
    this.#changed(open.request);
  }

  #ended(id: string, nowMs: number): void {
    const request = this.#change(id);
    if (!request || request.isOver) return;
    this.tally.ended(request.ended(nowMs), request.isFailed);
  }

  /** The end of what never began; of what did, the engine tells more. */
  #sent(id: string, nowMs: number): void {
    const request = this.#requests.get(id);
    if (!request || request.isBegun) return;
    this.#ended(id, nowMs);
    // Such as counting tokens, or cancelling another one.
    if (request.view.error === null) this.#requests.delete(id);
  }

  #interrupted({ modelId, replica }: EventOf<'planRetired'>, nowMs: number): void {
    const words = this.plans.reason(nowMs);
    const interrupted = new Set<RequestRecord>();
    for (const [key, { request, record }] of this.#open)
      if (isOfModel(key, modelId) && record.replica === replica && record.interrupted(words, nowMs))
        interrupted.add(request);
    for (const request of interrupted) {
      request.replayed();
      this.tally.replayed();
      this.#changed(request);
    }
  }

  #change(id: string): RequestRecord | null {
    const request = this.#requests.get(id);
    if (!request) return null;
    this.#changed(request);
    return request;
  }

  #changed(request: RequestRecord): void {
    request.changedAt = ++this.#changes;
  }

  /** The oldest that is over, or the oldest of all. */
  #forgetOne(): void {
    const all = [...this.#requests.values()];
    const forgotten = all.find(({ isOver }) => isOver) ?? all[0];
    if (!forgotten) return;
    this.#requests.delete(forgotten.id);
    for (const [key, { request }] of this.#open) if (request === forgotten) this.#open.delete(key);
  }
}

const keyOf = ({
  modelId = '',
  sequenceId,
}: {
  readonly modelId?: string | undefined;
  readonly sequenceId: number;
}): string => `${sequenceId} ${modelId}`;

const isOfModel = (key: string, modelId = ''): boolean => key.slice(key.indexOf(' ') + 1) === modelId;
