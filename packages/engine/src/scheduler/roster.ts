import type { ArenaCopy } from '@butterfly/wire';
import type { Region } from '../kv/arena.js';
import { KvSpace } from '../kv/kv-space.js';
import { FairQueue } from '../queue/fair-queue.js';
import type { TenantShares } from '../queue/tenant-shares.js';
import { precedes } from '../queue/waiting-queue.js';
import { checkpointPositions } from './checkpoint-positions.js';
import type { SchedulerConfig } from './scheduler-types.js';
import type { Sequence } from './scheduler-sequence.js';
import { type PlaceKeeper, type PlacedRows, type SequencePlaces, noPlaces } from './place-keeper.js';
import { RoomKeeper } from './room-keeper.js';
import { StateKeeper } from './state-keeper.js';
import { TokenList } from '../kv/token-list.js';

type RosterConfig = Required<
  Pick<
    SchedulerConfig,
    | 'arenaSlots'
    | 'arenaGranularity'
    | 'prefixBlockTokens'
    | 'runningMax'
    | 'stateSlots'
    | 'windows'
    | 'checkpointTokens'
  >
>;

/** A prefix that another sequence is about to cache is worth waiting for when it is this many blocks longer than what is. */
const sharedBlocksMin = 2;
const noCuts: readonly number[] = [];

/**
 * All living sequences and where they are: a sequence waits in order of rank, or it runs, which is to hold a region of
 * the arena. One that runs is prefilling, ready to decode, waits for guesses, or awaits the token of a step in flight.
 */
export class Roster {
  #config: RosterConfig;
  #space: KvSpace;
  readonly #sequences = new Map<number, Sequence>();
  readonly #waiting: FairQueue<Sequence>;
  #waitingTokens = 0;
  readonly #waitingTokensOf = new Map<string, number>();
  readonly #running = new Set<Sequence>();
  readonly #ready = new Set<Sequence>();
  /** Those that would be ready, but wait for guesses. */
  readonly #guessing = new Set<Sequence>();
  readonly #prefilling = new Set<Sequence>();
  /** Those that run and await their embedding. */
  readonly #embedding = new Set<Sequence>();
  /** Null in models without states and rooms. */
  #keeper: PlaceKeeper | null;

  constructor(
    config: RosterConfig,
    private readonly shares: TenantShares,
  ) {
    this.#config = config;
    this.#waiting = new FairQueue(shares);
    this.#keeper = keeperOf(config);
    this.#space = spaceOf(config, this.#keeper);
  }

  get sequences(): ReadonlyMap<number, Sequence> {
    return this.#sequences;
  }

  get running(): ReadonlySet<Sequence> {
    return this.#running;
  }

  /** Those with one token to compute, and what guesses had computed again before it; least recently served first. */
  get ready(): ReadonlySet<Sequence> {
    return this.#ready;
  }

  get guessing(): ReadonlySet<Sequence> {
    return this.#guessing;
  }

  get prefilling(): ReadonlySet<Sequence> {
    return this.#prefilling;
  }

  /** How many run and neither prefill nor await an embedding. */
  get decoding(): number {
    return this.#running.size - this.#prefilling.size - this.#embedding.size;
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  /** Known tokens of all that wait. */
  get waitingTokens(): number {
    return this.#waitingTokens;
  }

  /** What of those is a tenant's: requests, and their known tokens. */
  waitingOf(tenant: string): { readonly requests: number; readonly tokens: number } {
    return { requests: this.#waiting.sizeOf(tenant), tokens: this.#waitingTokensOf.get(tenant) ?? 0 };
  }

  /** Who is let in next. */
  get next(): Sequence | undefined {
    return this.#waiting.head;
  }

  get availableSlots(): number {
    return this.#space.availableSlots;
  }

  region(sequence: Sequence): Region {
    return this.#space.region(sequence);
  }

  /** Where a sequence of the step that was prepared has its state, or its window. */
  places(sequence: Sequence): SequencePlaces {
    return this.#keeper?.placesOf(sequence) ?? noPlaces;
  }

  takeCopies(): readonly ArenaCopy[] {
    return this.#space.takeCopies();
  }

  add(sequence: Sequence): void {
    this.#sequences.set(sequence.id, sequence);
    this.#wait(sequence);
  }

  /** Ends the sequence; the first `cachedTokens` of it stay cached for others. */
  remove(sequence: Sequence, cachedTokens: number): void {
    this.#sequences.delete(sequence.id);
    if (this.#running.has(sequence)) this.#leave(sequence, cachedTokens);
    else this.#stopWaiting(sequence);
  }

  /** Nothing of an ended sequence that is cached may be believed, nor what it shares with those that left. */
  distrust({ known }: Sequence): void {
    this.#space.distrust(known);
    this.#keeper?.distrust(known);
  }

  /** Gives up everybody, or those that wait, in order; what is known of them stays known. */
  release(which: 'all' | 'waiting'): Sequence[] {
    const released = [...this.#sequences.values()]
      .filter((sequence) => which === 'all' || this.#waiting.has(sequence))
      .sort((a, b) => (precedes(a, b) ? -1 : 1));
    for (const sequence of released) this.remove(sequence, 0);
    return released;
  }

  /** Lets a waiting sequence run, from the longest cached prefix on; false when there is no region for it. */
  enter(sequence: Sequence): boolean {
    const canStepBack = this.#keeper === null;
    const { length } = sequence.known;
    const cached = this.#space.enter(sequence, sequence.slotsMin, sequence.prefixMax(canStepBack));
    if (cached === null) return false;
    this.#stopWaiting(sequence);
    sequence.entered(cached, canStepBack);
    this.shares.give(sequence.tenant, sequence.pending);
    this.#keeper?.entered(sequence, cached);
    sequence.cuts = sequence.pooling === null ? this.#cuts(cached, length) : noCuts;
    this.#running.add(sequence);
    const isPrompt = sequence.pending > 1 || sequence.pooling !== null;
    (isPrompt ? this.#prefilling : this.#ready).add(sequence);
    return true;
  }

  /** Takes the place of a running sequence; what is known stays known, and what is cached as long as nobody needs it. */
  preempt(sequence: Sequence): void {
    this.#leave(sequence, sequence.cached);
    this.#wait(sequence);
  }

  /** Makes the region of a running sequence at least `slots` large; false when others would have to leave for that. */
  grow(sequence: Sequence, slots: number): boolean {
    return this.#space.grow(sequence, slots);
  }

  /** A step of these sequences will be made. */
  prepare(rows: Iterable<PlacedRows<Sequence>>): void {
    this.#keeper?.prepare(rows, (ids) => this.#space.trim(ids));
  }

  /** A step was made that computes its tokens up to `end` and guesses behind them; the sequence is yet to be told. */
  dispatched(sequence: Sequence, end: number, guesses: number, isSampled: boolean): void {
    this.#space.advance(sequence, Math.min(end, sequence.known.length), end + guesses);
    const [isAhead, isKept] = [sequence.awaited > 0, sequence.cuts.includes(end)];
    this.#keeper?.dispatched(sequence, end, { guesses, isAhead, isKept });
    if (!isSampled) return;
    this.#ready.delete(sequence);
    this.#prefilling.delete(sequence);
    if (sequence.pooling !== null) this.#embedding.add(sequence);
  }

  /** A waiting sequence, which was preempted meanwhile, got one token more. */
  extended(sequence: Sequence): void {
    if (this.#waiting.has(sequence)) this.#countWaiting(sequence, 1);
  }

  /**
   * A running sequence got a token, with which steps may go on that went ahead of it; so many tokens were computed as they are.
   * @returns behind how many of them its next step goes on.
   */
  confirmed(sequence: Sequence, computed: number): number {
    return this.#keeper?.confirmed(sequence, computed) ?? computed;
  }

  /** A running sequence has its next token, or waits for guesses behind it no longer. */
  becomesReady(sequence: Sequence): void {
    this.#guessing.delete(sequence);
    this.#ready.add(sequence);
  }

  /** One that is ready waits for guesses first. */
  awaitsGuesses(sequence: Sequence): void {
    this.#ready.delete(sequence);
    this.#guessing.add(sequence);
  }

  /** All caches are lost: everybody waits again, with what is known. */
  restart(config: RosterConfig): void {
    this.#config = config;
    this.#keeper = keeperOf(config);
    this.#space = spaceOf(config, this.#keeper);
    for (const sequence of [...this.#running]) {
      sequence.regionId = null;
      this.#stopRunning(sequence);
      this.#wait(sequence);
    }
  }

  /** Whether there is a place and a region for a waiting sequence, with room for those that run to grow. */
  hasRoom(next: Sequence): boolean {
    const { arenaGranularity } = this.#config;
    const granules = (this.#space.availableSlots - next.slotsMin) / arenaGranularity;
    const isRoomy = this.#running.size < this.#runningMax && granules >= this.#running.size;
    return isRoomy || this.couldHaveRoom(next, () => false);
  }

  /** Whether there would be, if all that may go went: else they would go for nothing. */
  couldHaveRoom(next: Sequence, mayGo: (sequence: Sequence) => boolean): boolean {
    let [places, slots] = [this.#runningMax - this.#running.size, this.#space.availableSlots];
    let growing = 0;
    for (const sequence of this.#running) {
      const held = this.#space.region(sequence).slots;
      if (mayGo(sequence)) {
        places += 1;
        slots += held;
      } else if (held < sequence.tokensMax) growing += 1;
    }
    // A granule for each sequence that will yet grow: without it, newcomers would soon be preempted again.
    const granules = (slots - next.slotsMin) / this.#config.arenaGranularity;
    return places > 0 && granules >= growing;
  }

  /** How many tokens a sequence with this prompt would find cached. */
  cachedTokens(promptTokens: Int32Array): number {
    return this.#space.longestPrefix({ known: new TokenList(promptTokens), regionId: null });
  }

  /** Whether a sequence that is being prefilled will soon have cached more of this one's prompt than there is now. */
  isWorthWaiting(next: Sequence): boolean {
    if (next.pooling !== null) return false;
    let shared = 0;
    for (const { known, cuts } of this.#prefilling) {
      const common = next.known.commonPrefix(known, next.prefixMax(true));
      const found = this.#keeper ? (cuts.findLast((position) => position <= common) ?? 0) : common;
      shared = Math.max(shared, found);
    }
    const worthwhile = sharedBlocksMin * this.#config.prefixBlockTokens;
    return shared >= worthwhile && shared >= this.#space.longestPrefix(next) + worthwhile;
  }

  /** Who of those that run comes last in order. */
  lastInOrder(isEligible: (sequence: Sequence) => boolean = () => true): Sequence | undefined {
    let last: Sequence | undefined;
    for (const sequence of this.#running)
      if (isEligible(sequence) && (last === undefined || precedes(last, sequence))) last = sequence;
    return last;
  }

  get #runningMax(): number {
    return Math.min(this.#config.runningMax, this.#keeper?.sequencesMax ?? Infinity);
  }

  /** Where the steps of a sequence are to end. */
  #cuts(cached: number, tokens: number): readonly number[] {
    if (this.#keeper === null) return noCuts;
    const budget = this.#keeper.spareBeside(this.#runningMax);
    return checkpointPositions({ cached, tokens, budget, distance: this.#config.checkpointTokens });
  }

  #leave(sequence: Sequence, cachedTokens: number): void {
    this.#keeper?.left(sequence, cachedTokens);
    this.#space.leave(sequence, cachedTokens);
    this.#stopRunning(sequence);
  }

  #stopRunning(sequence: Sequence): void {
    this.#running.delete(sequence);
    this.#ready.delete(sequence);
    this.#guessing.delete(sequence);
    this.#prefilling.delete(sequence);
    this.#embedding.delete(sequence);
    sequence.left();
  }

  #wait(sequence: Sequence): void {
    this.#waiting.add(sequence);
    this.#countWaiting(sequence, sequence.known.length);
  }

  #stopWaiting(sequence: Sequence): void {
    if (this.#waiting.delete(sequence)) this.#countWaiting(sequence, -sequence.known.length);
  }

  #countWaiting({ tenant }: Sequence, tokens: number): void {
    this.#waitingTokens += tokens;
    const own = (this.#waitingTokensOf.get(tenant) ?? 0) + tokens;
    if (own > 0) this.#waitingTokensOf.set(tenant, own);
    else this.#waitingTokensOf.delete(tenant);
  }
}

function keeperOf({ stateSlots, windows, prefixBlockTokens }: RosterConfig): PlaceKeeper | null {
  if (windows !== null) return new RoomKeeper(windows, prefixBlockTokens);
  return stateSlots === 0 ? null : new StateKeeper(stateSlots, prefixBlockTokens);
}

function spaceOf(
  { arenaSlots, arenaGranularity, prefixBlockTokens }: RosterConfig,
  keeper: PlaceKeeper | null,
): KvSpace {
  return new KvSpace(arenaSlots, arenaGranularity, prefixBlockTokens, keeper?.checkpoints);
}
