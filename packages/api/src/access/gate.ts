import { ButterflyError, type Clock, limits as bounds } from '@butterfly/common';
import { type KeyRecord, looksLikeApiKey } from '@butterfly/identity';
import type { ApiAccess } from '../context.js';
import {
  afterEvent,
  chargeOf,
  freshState,
  type RateEvent,
  type RateLimits,
  type RateRefusal,
  type RateState,
} from './rate-limiter.js';
import type { Meter } from './visit.js';

/** What is counted of one key is forgotten when nothing came with it for so long: all of its minute is there again. */
const forgottenAfterMs = 60_000;

/** What a request hears of its limits. */
export interface RateListener {
  /** These are the limits, and this is left. */
  standing(limits: RateLimits, state: RateState): void;
  refused(refusal: RateRefusal): void;
}

/** Knows who asks, and counts what each has. */
export class Gate {
  readonly #states = new Map<string, RateState>();

  constructor(
    private readonly access: ApiAccess,
    private readonly clock: Clock,
  ) {}

  /**
   * Whose key it is; null for nobody's, where none is needed. There, whatever does not even look like one of ours is not
   * looked at: clients send something even where nothing is asked for.
   * @throws ButterflyError UNAUTHENTICATED
   */
  async recognise(shown: string | null): Promise<KeyRecord | null> {
    const { keys, isKeyRequired } = this.access;
    const isOurs = shown !== null && looksLikeApiKey(shown);
    if (!isKeyRequired && (!isOurs || keys === null)) return null;
    if (shown === null)
      throw unauthenticated(
        'An API key is needed: send one as "authorization: Bearer KEY" or "x-api-key: KEY"; "butterfly key create" makes one at the server.',
      );
    const recognised = keys ? await keys.recognise(shown) : { kind: 'unknown' as const };
    switch (recognised.kind) {
      case 'known':
        return recognised.key;
      case 'expired':
        throw unauthenticated('The API key has expired; ask for another one.');
      case 'unknown':
        throw unauthenticated('The API key is unknown or was revoked; check it, or ask for another one.');
      default:
        return recognised satisfies never;
    }
  }

  /** The same where there are other ways to be let in: null too where nothing is shown that looks like a key. */
  async recogniseOwn(shown: string | null): Promise<KeyRecord | null> {
    return shown !== null && looksLikeApiKey(shown) ? this.recognise(shown) : null;
  }

  /**
   * Counts a request with this key.
   * @returns what counts its tokens, and what is to be called at its end
   * @throws ButterflyError RATE_LIMITED
   */
  begin(key: KeyRecord, listener: RateListener): { readonly meter: Meter; readonly end: () => void } {
    this.#note(key, { kind: 'begin' }, listener);
    let [charged, answers] = [0, 0];
    /** The first answer has the place of the request. */
    let places = 1;
    let [isResponseOut, isAnswering] = [false, false];
    const leave = (): void => {
      // An answer may go on behind its response, and a response behind its answer.
      if (!isResponseOut || isAnswering) return;
      this.#note(key, { kind: 'end', answers: places }, null);
      places = 0;
    };
    const meter: Meter = {
      charge: (tokens, more) => {
        checkAnswers(key.limits, answers + more);
        const wider = Math.max(0, answers + more - places);
        this.#note(key, { kind: 'widen', answers: wider }, listener);
        places += wider;
        answers += more;
        this.#note(key, { kind: 'charge', tokens }, listener);
        charged += chargeOf(key.limits, tokens);
        isAnswering = true;
      },
      settle: (tokens) => {
        this.#note(key, { kind: 'correct', tokens: charged - tokens }, listener);
        charged = tokens;
        isAnswering = false;
        leave();
      },
    };
    const end = (): void => {
      isResponseOut = true;
      leave();
    };
    return { meter, end };
  }

  #note({ id, limits }: KeyRecord, event: RateEvent, listener: RateListener | null): void {
    const nowMs = this.clock.nowMs();
    const { state, refusal } = afterEvent(
      this.#states.get(id) ?? freshState(limits, nowMs),
      limits,
      event,
      nowMs,
    );
    this.#states.set(id, state);
    if (this.#states.size > bounds.apiKeysMax) this.#forget(nowMs);
    listener?.standing(limits, state);
    if (refusal === null) return;
    listener?.refused(refusal);
    throw rateLimited(limits, refusal);
  }

  #forget(nowMs: number): void {
    for (const [id, { open, atMs, tokens }] of this.#states)
      if (open === 0 && tokens >= 0 && nowMs - atMs >= forgottenAfterMs) this.#states.delete(id);
  }
}

/** However long it waited, there would be no places for so many. */
function checkAnswers({ concurrent }: RateLimits, answers: number): void {
  if (concurrent === null || answers <= concurrent) return;
  throw new ButterflyError(
    'ACCESS_DENIED',
    `This API key may have ${concurrent} answers at once, and this request alone asks for more; lower n and best_of, or send fewer prompts.`,
  );
}

function unauthenticated(message: string): ButterflyError {
  return new ButterflyError('UNAUTHENTICATED', message);
}

function rateLimited(limits: RateLimits, { what, retryAfterMs }: RateRefusal): ButterflyError {
  const seconds = `${Math.ceil(retryAfterMs / 1_000)} s`;
  switch (what) {
    case 'requests':
      return limited(
        `This API key has ${limits.requestsPerMinute ?? 0} requests in a minute, and all are used; retry in ${seconds}.`,
      );
    case 'tokens':
      return limited(
        `This API key has ${limits.tokensPerMinute ?? 0} tokens in a minute, and not enough are left for this prompt and max_tokens; ask for fewer, or retry in ${seconds}.`,
      );
    case 'concurrent':
      return limited(
        `This API key may have ${limits.concurrent ?? 0} answers at once, and too many are under way; wait for one of them.`,
      );
    default:
      return what satisfies never;
  }
}

function limited(message: string): ButterflyError {
  return new ButterflyError('RATE_LIMITED', message);
}
