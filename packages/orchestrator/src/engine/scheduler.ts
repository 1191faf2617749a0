import { ButterflyError, limits } from '@butterfly/common';
import { chooseGuesses } from './guesses.js';
import { KvSpace } from './kv-space.js';
import { checkedConfig, checkRequest } from './scheduler-checks.js';
import { Sequence } from './scheduler-sequence.js';
import type {
  PlannedStep,
  SchedulerConfig,
  SchedulerEvent,
  SchedulerRequest,
  SchedulerResult,
  SchedulerStats,
} from './scheduler-types.js';
import { decodeGroups, mixedRows, prefillChunk, StepCurve } from './step-curve.js';
import { StepDraft } from './step-draft.js';
import { precedes, WaitingQueue } from './waiting-queue.js';

/** What a step in flight will bring: tokens of the sequence from `position` on. */
interface Expected {
  readonly sequence: Sequence;
  readonly life: number;
  readonly position: number;
  readonly guesses: Int32Array;
}

/** A step that is under way. */
interface StepInFlight {
  readonly rows: number;
  readonly expected: readonly Expected[];
}

/** While others decode, a step with a part of a prompt may take this long: they wait for it. */
const mixedStepMicrosMax = 400_000;
/** What a step costs in each stage beside arithmetic: sockets, waking up, sampling (measured, docs/performance.md). */
const hopMicros = 500;
/** Row groups of all kernels that we know divide this. */
const rowsMultiple = 8;
/** A prefix that another sequence is about to cache is worth waiting for when it is this many blocks longer than what is. */
const sharedBlocksMin = 2;

/**
 * Decides what each step of the pipeline computes. A sequence has known tokens (prompt, then output) and scheduled
 * tokens; a step lets scheduled catch up with known, and decode and prefill differ only in the number of rows.
 *
 * Everything rests on one fact: each stage executes steps, copies included, in the order in which `nextStep` made
 * them. So a token counts as cached once its step is made; regions may be moved, copied, freed and given to others
 * while older steps that use them are still under way; and the tokens of those older steps stay valid.
 *
 * Sequences are served in order of rank, which is given once (docs/architecture.md). When the arena is full, a sequence
 * takes the region of one that comes later in order, never the other way round; as the arena holds a whole context, the
 * first in order always gets on.
 */
export class Scheduler {
  #config: Required<SchedulerConfig>;
  #curve: StepCurve;
  #space: KvSpace;
  /** All living sequences. */
  readonly #sequences = new Map<number, Sequence>();
  readonly #waiting = new WaitingQueue<Sequence>();
  #waitingTokens = 0;
  /** Those that hold a region: each is ready, prefilling, or awaits a token. */
  readonly #running = new Set<Sequence>();
  /** Those with one token to compute, least recently served first. */
  readonly #ready = new Set<Sequence>();
  readonly #prefilling = new Set<Sequence>();
  /** Steps in flight by id, oldest first. */
  readonly #inFlight = new Map<number, StepInFlight>();
  #nextStepId = 0;

  /** @throws ButterflyError CONFIG_INVALID */
  constructor(config: SchedulerConfig) {
    this.#config = checkedConfig(config);
    this.#curve = StepCurve.slowest(this.#config.stepCurves);
    this.#space = spaceOf(this.#config);
  }

  /** @throws ButterflyError CONTEXT_EXCEEDED, REQUEST_INVALID or QUEUE_FULL */
  submit(request: SchedulerRequest): void {
    if (this.#sequences.has(request.id))
      throw new ButterflyError('INTERNAL', `Sequence ${request.id} exists already; ids must be unique.`);
    checkRequest(request, this.#config.contextTokensMax);
    if (
      this.#waiting.size >= limits.queuedRequestsMax ||
      this.#waitingTokens + request.promptTokens.length > limits.queuedTokensMax
    )
      throw new ButterflyError('QUEUE_FULL', `${this.#waiting.size} requests wait already; retry later.`);
    const sequence = new Sequence(request);
    this.#sequences.set(request.id, sequence);
    this.#wait(sequence);
  }

  /** Forms the next step, or null when the pipeline is full or nothing is to be computed. */
  nextStep(nowMs: number): PlannedStep | null {
    if (this.#inFlight.size >= this.#config.stages) return this.#stepAhead(nowMs);
    const draft = new StepDraft(this.#config.stepRowsMax);
    this.#chooseDecodes(draft);
    const rowsMax = this.#prefillRowsEnd(draft);
    this.#choosePrefills(draft, rowsMax);
    this.#admit(draft, rowsMax);
    return draft.isEmpty ? null : this.#dispatch(draft, nowMs);
  }

  /**
   * Takes the result of a step. Results of forgotten steps, and tokens of sequences that ended meanwhile, are
   * dropped. A sequence that was preempted after the step was made and still waits takes the tokens, since they are as
   * true as any; one that runs again computes them again.
   * @throws ButterflyError PROTOCOL_INVALID, and nothing changed, when the result does not answer its step.
   */
  complete(result: SchedulerResult, nowMs: number): SchedulerEvent[] {
    const step = this.#inFlight.get(result.stepId);
    if (step === undefined) return [];
    const { rows, expected } = step;
    const [oldestStepId] = this.#inFlight.keys();
    if (oldestStepId !== result.stepId || !isAnsweredBy(expected, result))
      throw new ButterflyError(
        'PROTOCOL_INVALID',
        `The result of step ${result.stepId} is out of order or does not answer it; restart the last worker.`,
      );
    this.#inFlight.delete(result.stepId);
    const slowest = Math.max(0, ...(result.stageTimes ?? []).map(({ computeMicros }) => computeMicros));
    if (slowest > 0) this.#curve.observe(rows, slowest);
    const events: SchedulerEvent[] = [];
    for (const [index, { tokens }] of result.outputs.entries()) {
      const each = expected[index];
      if (each && this.#isCurrent(each)) this.#accept(each, tokens, nowMs, events);
    }
    return events;
  }

  /** Ends the sequence without an event; what it cached stays for others. False when it has ended already. */
  cancel(id: number): boolean {
    const sequence = this.#sequences.get(id);
    if (sequence === undefined) return false;
    this.#remove(sequence, sequence.cached);
    return true;
  }

  /** Ends every sequence whose deadline has come. */
  expire(nowMs: number): SchedulerEvent[] {
    const late = [...this.#sequences.values()].filter(({ deadlineMs }) => deadlineMs <= nowMs);
    for (const { id } of late) this.cancel(id);
    return late.map(({ id }) => ({ kind: 'expired', id }));
  }

  /** After the loss of all caches: forgets all steps in flight and starts every sequence anew from what is known. */
  rewind(): void {
    this.#inFlight.clear();
    this.#space = spaceOf(this.#config);
    for (const sequence of [...this.#running]) {
      sequence.regionId = null;
      this.#stopRunning(sequence);
      this.#wait(sequence);
    }
  }

  /**
   * Rewinds and goes on with another plan.
   * @throws ButterflyError CONFIG_INVALID, and nothing changed, also when a living sequence exceeds the new context.
   */
  reconfigure(config: SchedulerConfig): void {
    const checked = checkedConfig(config);
    for (const { tokensMax } of this.#sequences.values())
      if (tokensMax > checked.contextTokensMax)
        throw new ButterflyError(
          'CONFIG_INVALID',
          `A context of ${checked.contextTokensMax} tokens is too small for a running request of ${tokensMax}.`,
        );
    this.#config = checked;
    this.#curve = StepCurve.slowest(checked.stepCurves);
    this.rewind();
  }

  stats(): SchedulerStats {
    return {
      running: this.#running.size,
      waiting: this.#waiting.size,
      inFlight: this.#inFlight.size,
      availableSlots: this.#space.availableSlots,
      retainedSlots: this.#space.retainedSlots,
    };
  }

  /** One row for each sequence that waits for nothing else, least recently served first, and guesses where they pay. */
  #chooseDecodes(draft: StepDraft): void {
    // Those in flight count too: only then do the steps under way get equal shares.
    const decoding = this.#running.size - this.#prefilling.size;
    if (this.#ready.size === 0) return;
    const groups = decodeGroups(decoding, this.#config.stages, this.#curve);
    let left = Math.min(Math.ceil(decoding / groups), this.#ready.size);
    for (const sequence of this.#ready) {
      if (left === 0 || draft.isFull) break;
      if (this.#choose(draft, sequence, 1)) left -= 1;
    }
    // Beside a part of a prompt every row is dear.
    if (this.#prefilling.size === 0 && this.#waiting.size === 0) this.#addGuesses(draft);
  }

  #addGuesses(draft: StepDraft): void {
    for (const [sequence, guesses] of this.#guessesFor([...draft.sequences], draft.rows))
      if (guesses.length > 0 && this.#space.grow(sequence, sequence.scheduled + 1 + guesses.length))
        draft.add(sequence, 1, guesses);
  }

  #guessesFor(sequences: readonly Sequence[], rows: number): ReadonlyMap<Sequence, Int32Array> {
    const { guessesMax, stepRowsMax: rowsMax, stages } = this.#config;
    // A single stage need not wait for the way there and back, unless there are guesses.
    const waitMicros = stages === 1 ? 2 * hopMicros : 0;
    const stepMicros = (count: number): number => this.#curve.micros(count) + (stages === 1 ? 0 : hopMicros);
    return chooseGuesses(sequences, guessesMax, { rows, rowsMax, stepMicros, waitMicros });
  }

  /**
   * With one stage, the step after the one that computes: of what only decodes, with the tokens still unknown, so that
   * the stage goes on with those that it sampled while their way here and back takes its time. Not when anything else
   * is to be done, because that would have to wait for it.
   */
  #stepAhead(nowMs: number): PlannedStep | null {
    if (this.#config.stages > 1 || this.#inFlight.size > 1) return null;
    if (this.#waiting.size > 0 || this.#prefilling.size > 0 || this.#ready.size > 0) return null;
    // Whose output is full with the token under way has no next one.
    const sequences = [...this.#running].filter(({ known, tokensMax }) => known.length + 1 < tokensMax);
    const draft = new StepDraft(this.#config.stepRowsMax);
    for (const sequence of sequences) {
      if (draft.isFull || !sequence.mayGoAhead) return null;
      if (!this.#space.grow(sequence, sequence.scheduled + 1)) return null;
      draft.add(sequence, 1);
    }
    if (draft.isEmpty) return null;
    const guesses = this.#guessesFor(sequences, draft.rows);
    // Where guesses pay, the next token must be known first.
    if ([...guesses.values()].some(({ length }) => length > 0)) return null;
    return this.#dispatch(draft, nowMs);
  }

  /** Up to how many rows the step may be filled with parts of prompts. */
  #prefillRowsEnd(draft: StepDraft): number {
    const { stages, stepRowsMax } = this.#config;
    if (this.#prefilling.size === 0 && this.#waiting.size === 0) return draft.rows;
    const decoding = this.#running.size - this.#prefilling.size;
    if (decoding === 0) {
      // Whole prompts, not what is left of them: the chunks of one prompt are of one size.
      let tokens = this.#waitingTokens;
      for (const { known } of this.#prefilling) tokens += known.length;
      return prefillChunk(tokens, stages, stepRowsMax, this.#curve);
    }
    const rowsMax = Math.max(
      this.#curve.rowsWithin(mixedStepMicrosMax, stepRowsMax, rowsMultiple),
      Math.min(stepRowsMax, draft.rows + 4 * rowsMultiple),
    );
    let promptTokens = this.#waiting.head?.known.length ?? 0;
    for (const { known } of this.#prefilling) promptTokens += known.length;
    return mixedRows(
      { decodeRows: draft.rows, promptTokens, stages, rowsMax, multiple: rowsMultiple },
      this.#curve,
    );
  }

  #choosePrefills(draft: StepDraft, rowsMax: number): void {
    for (const sequence of [...this.#prefilling].sort((a, b) => (precedes(a, b) ? -1 : 1))) {
      const rows = Math.min(sequence.pending, rowsMax - draft.rows, draft.rowsLeft);
      if (rows <= 0 || draft.isFull) return;
      this.#choose(draft, sequence, rows);
    }
  }

  /** Lets waiting sequences in, strictly in order. */
  #admit(draft: StepDraft, rowsMax: number): void {
    for (let next = this.#waiting.head; next; next = this.#waiting.head) {
      if (draft.isFull || draft.rows >= rowsMax) return;
      if (this.#isWorthWaiting(next) || !this.#makeRoom(draft, next)) return;
      const cached = this.#space.enter(next, next.known.length + 1);
      if (cached === null) return;
      this.#stopWaiting(next);
      next.entered(cached);
      this.#running.add(next);
      (next.pending > 1 ? this.#prefilling : this.#ready).add(next);
      draft.add(next, Math.min(next.pending, rowsMax - draft.rows, draft.rowsLeft));
    }
  }

  /** Whether a sequence that is being prefilled will soon have cached more of this one's prompt than there is now. */
  #isWorthWaiting(next: Sequence): boolean {
    let shared = 0;
    for (const sequence of this.#prefilling)
      shared = Math.max(shared, next.known.commonPrefix(sequence.known, next.known.length - 1));
    const worthwhile = sharedBlocksMin * this.#config.prefixBlockTokens;
    return shared >= worthwhile && shared >= this.#space.longestPrefix(next) + worthwhile;
  }

  /** Whether there is a place and a region for it, at the cost of those that are less urgent and later in order. */
  #makeRoom(draft: StepDraft, next: Sequence): boolean {
    while (!this.#hasRoom(next)) {
      const last = this.#lastInOrder((each) => each.priority > next.priority && precedes(next, each));
      if (last === undefined) return false;
      this.#preempt(draft, last);
    }
    return true;
  }

  #hasRoom(next: Sequence): boolean {
    const { runningMax, arenaGranularity } = this.#config;
    if (this.#running.size >= runningMax) return false;
    // A granule for each sequence that will yet grow: without it, newcomers would soon be preempted again.
    const granules = (this.#space.availableSlots - next.known.length - 1) / arenaGranularity;
    if (granules < 0 || granules >= this.#running.size) return granules >= 0;
    let growing = 0;
    for (const sequence of this.#running)
      if (this.#space.region(sequence).slots < sequence.tokensMax) growing += 1;
    return growing <= granules;
  }

  /** Adds rows of a running sequence if its region holds them or can be made to, at the cost of those later in order. */
  #choose(draft: StepDraft, sequence: Sequence, rows: number): boolean {
    // One before it in order may have taken its region while this step was formed.
    while (this.#running.has(sequence)) {
      if (this.#space.grow(sequence, sequence.scheduled + rows)) {
        draft.add(sequence, rows);
        return true;
      }
      const last = this.#lastInOrder(() => true);
      // It is the last itself and must wait until another one leaves.
      if (last === undefined || last === sequence) return false;
      this.#preempt(draft, last);
    }
    return false;
  }

  #lastInOrder(isEligible: (sequence: Sequence) => boolean): Sequence | undefined {
    let last: Sequence | undefined;
    for (const sequence of this.#running)
      if (isEligible(sequence) && (last === undefined || precedes(last, sequence))) last = sequence;
    return last;
  }

  /** Takes the place of a running sequence; what is known stays known, and what is cached as long as nobody needs it. */
  #preempt(draft: StepDraft, sequence: Sequence): void {
    draft.remove(sequence);
    this.#space.leave(sequence, sequence.cached);
    this.#stopRunning(sequence);
    this.#wait(sequence);
  }

  #dispatch(draft: StepDraft, nowMs: number): PlannedStep {
    const stepId = this.#nextStepId;
    this.#nextStepId += 1;
    const { sequences, tokens, parts } = draft.form((sequence) => this.#space.region(sequence));
    const expected: Expected[] = [];
    for (const [sequence, { rows, guesses }] of parts) {
      const end = sequence.scheduled + rows;
      const isSampled = end >= sequence.known.length;
      sequence.dispatched(end, guesses.length, isSampled, nowMs);
      this.#space.advance(sequence, Math.min(end, sequence.known.length), end + guesses.length);
      if (!isSampled) continue;
      this.#ready.delete(sequence);
      this.#prefilling.delete(sequence);
      expected.push({ sequence, life: sequence.life, position: end, guesses });
    }
    this.#inFlight.set(stepId, { rows: tokens.length, expected });
    return { stepId, copies: this.#space.takeCopies(), sequences, tokens };
  }

  #isCurrent({ sequence, life, position }: Expected): boolean {
    return (
      this.#sequences.get(sequence.id) === sequence &&
      sequence.known.length === position &&
      (sequence.life === life || !this.#running.has(sequence))
    );
  }

  #accept(
    { sequence, position, guesses }: Expected,
    tokens: Int32Array,
    nowMs: number,
    events: SchedulerEvent[],
  ): void {
    const { id } = sequence;
    const confirmed = tokens.length - 1;
    if (guesses.length > 0) sequence.acceptance.judged(guesses.length, confirmed);
    else sequence.acceptance.came(tokens[0] ?? 0);
    for (const token of tokens) {
      const reason = sequence.extend(token, nowMs);
      if (reason !== 'stop') {
        events.push({ kind: 'token', id, token });
        if (this.#waiting.has(sequence)) this.#waitingTokens += 1;
      }
      if (reason === null) continue;
      this.#remove(sequence, Math.min(sequence.known.length, position + confirmed));
      const { cachedPromptTokens } = sequence;
      events.push({ kind: 'end', id, reason, timing: sequence.timing(nowMs), cachedPromptTokens });
      return;
    }
    if (!this.#running.has(sequence)) return;
    sequence.awaited -= 1;
    if (sequence.awaited > 0) return;
    sequence.scheduled = position + confirmed;
    this.#ready.add(sequence);
  }

  #remove(sequence: Sequence, cachedTokens: number): void {
    this.#sequences.delete(sequence.id);
    if (this.#waiting.has(sequence)) this.#stopWaiting(sequence);
    if (!this.#running.has(sequence)) return;
    this.#space.leave(sequence, cachedTokens);
    this.#stopRunning(sequence);
  }

  #stopRunning(sequence: Sequence): void {
    this.#running.delete(sequence);
    this.#ready.delete(sequence);
    this.#prefilling.delete(sequence);
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

function spaceOf({ arenaSlots, arenaGranularity, prefixBlockTokens }: Required<SchedulerConfig>): KvSpace {
  return new KvSpace(arenaSlots, arenaGranularity, prefixBlockTokens);
}

function isAnsweredBy(expected: readonly Expected[], { outputs }: SchedulerResult): boolean {
  return (
    outputs.length === expected.length &&
    expected.every(({ sequence, guesses }, index) => {
      const output = outputs[index];
      return output?.sequenceId === sequence.id && confirms(output.tokens, guesses);
    })
  );
}

/** Whether tokens are some of the guesses, from the first on, and one more. */
function confirms(tokens: Int32Array, guesses: Int32Array): boolean {
  const confirmed = tokens.length - 1;
  if (confirmed < 0 || confirmed > guesses.length) return false;
  for (let index = 0; index < confirmed; index += 1) if (tokens[index] !== guesses[index]) return false;
  return true;
}
