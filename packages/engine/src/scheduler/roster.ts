import { firstOwnState, type ArenaCopy } from '@butterfly/wire';
import type { Region } from '../kv/arena.js';
import { KvSpace } from '../kv/kv-space.js';
import type { SchedulerConfig } from './scheduler-types.js';
import type { Sequence } from './scheduler-sequence.js';
import { TokenList } from './token-list.js';
import { precedes, WaitingQueue } from './waiting-queue.js';

type RosterConfig = Required<
  Pick<SchedulerConfig, 'arenaSlots' | 'arenaGranularity' | 'prefixBlockTokens' | 'runningMax' | 'stateSlots'>
>;

/** A prefix that another sequence is about to cache is worth waiting for when it is this many blocks longer than what is. */
const sharedBlocksMin = 2;

/**
 * All living sequences and where they are: a sequence waits in order of rank, or it runs, which is to hold a region of
 * the arena. One that runs is prefilling, ready to decode, or awaits the token of a step in flight.
 */
export class Roster {
  #config: RosterConfig;
  #space: KvSpace;
  readonly #sequences = new Map<number, Sequence>();
  readonly #waiting = new WaitingQueue<Sequence>();
  #waitingTokens = 0;
  readonly #running = new Set<Sequence>();
  readonly #ready = new Set<Sequence>();
  readonly #prefilling = new Set<Sequence>();
  /** Places for states that nobody has. */
  #freePlaces: number[];

  constructor(config: RosterConfig) {
    this.#config = config;
    this.#space = spaceOf(config);
    this.#freePlaces = placesOf(config);
  }

  get sequences(): ReadonlyMap<number, Sequence> {
    return this.#sequences;
  }

  get running(): ReadonlySet<Sequence> {
    return this.#running;
  }

  /** Those with one token to compute, least recently served first. */
  get ready(): ReadonlySet<Sequence> {
    return this.#ready;
  }

  get prefilling(): ReadonlySet<Sequence> {
    return this.#prefilling;
  }

  /** How many run and do not prefill. */
  get decoding(): number {
    return this.#running.size - this.#prefilling.size;
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  /** Known tokens of all that wait. */
  get waitingTokens(): number {
    return this.#waitingTokens;
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

  /** Ends a sequence of which nothing that is cached may be believed, nor what it shares with those that left. */
  discard(sequence: Sequence): void {
    this.remove(sequence, 0);
    this.#space.distrust(sequence.known);
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
    const cached = this.#space.enter(sequence, sequence.known.length + 1);
    if (cached === null) return false;
    this.#stopWaiting(sequence);
    sequence.entered(cached);
    sequence.statePlace = this.#freePlaces.pop() ?? null;
    this.#running.add(sequence);
    (sequence.pending > 1 ? this.#prefilling : this.#ready).add(sequence);
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

  /** A step was made that computes its tokens up to `end` and guesses behind them. */
  dispatched(sequence: Sequence, end: number, guesses: number, isSampled: boolean): void {
    this.#space.advance(sequence, Math.min(end, sequence.known.length), end + guesses);
    if (!isSampled) return;
    this.#ready.delete(sequence);
    this.#prefilling.delete(sequence);
  }

  /** A waiting sequence, which was preempted meanwhile, got one token more. */
  extended(sequence: Sequence): void {
    if (this.#waiting.has(sequence)) this.#waitingTokens += 1;
  }

  /** A running sequence has its next token. */
  becomesReady(sequence: Sequence): void {
    this.#ready.add(sequence);
  }

  /** All caches are lost: everybody waits again, with what is known. */
  restart(config: RosterConfig): void {
    this.#config = config;
    this.#space = spaceOf(config);
    for (const sequence of [...this.#running]) {
      sequence.regionId = null;
      this.#stopRunning(sequence);
      this.#wait(sequence);
    }
    this.#freePlaces = placesOf(config);
  }

  /** Whether there is a place and a region for a waiting sequence, with room for those that run to grow. */
  hasRoom(next: Sequence): boolean {
    const { arenaGranularity } = this.#config;
    const granules = (this.#space.availableSlots - next.known.length - 1) / arenaGranularity;
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
    const granules = (slots - next.known.length - 1) / this.#config.arenaGranularity;
    return places > 0 && granules >= growing;
  }

  /** How many tokens a sequence with this prompt would find cached. */
  cachedTokens(promptTokens: Int32Array): number {
    return this.#space.longestPrefix({ known: new TokenList(promptTokens), regionId: null });
  }

  /** Whether a sequence that is being prefilled will soon have cached more of this one's prompt than there is now. */
  isWorthWaiting(next: Sequence): boolean {
    let shared = 0;
    for (const sequence of this.#prefilling)
      shared = Math.max(shared, next.known.commonPrefix(sequence.known, next.known.length - 1));
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
    const { runningMax, stateSlots } = this.#config;
    return stateSlots === 0 ? runningMax : Math.min(runningMax, placesOf(this.#config).length);
  }

  #leave(sequence: Sequence, cachedTokens: number): void {
    this.#space.leave(sequence, cachedTokens);
    this.#stopRunning(sequence);
  }

  #stopRunning(sequence: Sequence): void {
    this.#running.delete(sequence);
    this.#ready.delete(sequence);
    this.#prefilling.delete(sequence);
    if (sequence.statePlace !== null) this.#freePlaces.push(sequence.statePlace);
    sequence.statePlace = null;
    sequence.left();
  }

  #wait(sequence: Sequence): void {
    this.#waiting.add(sequence);
    this.#waitingTokens += sequence.known.length;
  }

  #stopWaiting(sequence: Sequence): void {
    if (this.#waiting.delete(sequence)) this.#waitingTokens -= sequence.known.length;
  }
}

/** Numbers of the places for states: two slots each. */
function placesOf({ stateSlots }: RosterConfig): number[] {
  const count = Math.max(0, Math.floor((stateSlots - firstOwnState) / 2));
  return Array.from({ length: count }, (_, place) => count - 1 - place);
}

function spaceOf({ arenaSlots, arenaGranularity, prefixBlockTokens }: RosterConfig): KvSpace {
  return new KvSpace(arenaSlots, arenaGranularity, prefixBlockTokens);
}
