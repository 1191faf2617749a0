import { ButterflyError, StepCurve } from '@butterfly/common';
import { checkQueue } from '../queue/queue-bounds.js';
import { TenantShares } from '../queue/tenant-shares.js';
import { precedes } from '../queue/waiting-queue.js';
import { type Guesses, noGuesses } from '../guesses/guesses.js';
import { Drafting } from './drafting.js';
import { chooseGuesses } from './guesses.js';
import { checkSubmission } from './request-checks.js';
import { Roster } from './roster.js';
import { checkedConfig } from './scheduler-checks.js';
import { Sequence } from './scheduler-sequence.js';
import type {
  PlannedStep,
  SchedulerConfig,
  SchedulerEvent,
  SchedulerRequest,
  SchedulerResult,
  SchedulerStats,
} from './scheduler-types.js';
import { StepDraft } from './step-draft.js';
import {
  answersOf,
  discard,
  isCurrent,
  takeAnswer,
  type Expected,
  type StepInFlight,
} from './step-in-flight.js';
import { chunkRows, decodeGroups, mixedStepRows, prefillChunk } from './step-sizes.js';
import { kindOf, type StepKind, Turns } from './turns.js';

/** What a step costs in each stage beside arithmetic: sockets, waking up, sampling (measured, docs/performance.md). */
const hopMicros = 500;
/** Shorter prompts are attended row by row, longer ones by tiles of so many (decision 0027). */
const tileRows = 64;
/** What a token of output counts where one of a prompt counts one: it takes a pass over all weights. */
const outputTokenCost = 2;

/**
 * Decides what each step of the pipeline computes. A sequence has known tokens (prompt, then output) and scheduled
 * tokens; a step lets scheduled catch up with known, and decode and prefill differ only in the number of rows.
 *
 * Everything rests on one fact: each stage executes steps, copies included, in the order in which `nextStep` made
 * them. So a token counts as cached once its step is made; regions may be moved, copied, freed and given to others
 * while older steps that use them are still under way; and the tokens of those older steps stay valid.
 *
 * Sequences are served in order of rank, which is given once (decision 0011), and those of several tenants in turns
 * (decision 0043). When the arena is full, a sequence
 * takes the region of one that comes later in order, never the other way round; as the arena holds a whole context, the
 * first in order always gets on.
 */
export class Scheduler {
  #config: Required<SchedulerConfig>;
  #curve: StepCurve;
  readonly #roster: Roster;
  /** Guesses of another model: whom to ask for, and what comes of it. */
  readonly drafting: Drafting;
  /** Steps in flight by id, oldest first. */
  readonly #inFlight = new Map<number, StepInFlight>();
  readonly #turns = new Turns();
  #nextStepId = 0;
  /** Whose tokens the latest step that went ahead needs. */
  #aheadOfStepId = -1;

  /**
   * @param shares of tenants, in common with other schedulers
   * @throws ButterflyError CONFIG_INVALID
   */
  constructor(
    config: SchedulerConfig,
    private readonly shares = new TenantShares(),
  ) {
    this.#config = checkedConfig(config);
    this.#curve = StepCurve.slowest(this.#config.stepCurves);
    this.#roster = new Roster(this.#config, shares);
    this.drafting = new Drafting(this.#roster, this.#config, this.#curve);
  }

  /** @throws ButterflyError CONTEXT_EXCEEDED, REQUEST_INVALID, REQUEST_UNSUPPORTED or QUEUE_FULL */
  submit(request: SchedulerRequest): void {
    if (this.#roster.sequences.has(request.id))
      throw new ButterflyError('INTERNAL', `Sequence ${request.id} exists already; ids must be unique.`);
    checkSubmission(request, this.#config);
    checkQueue(this.#roster, request);
    this.#roster.add(new Sequence(request, this.#config.model.isEncoder));
  }

  /** Gives up all sequences, or those that wait, in the order of the queue; nothing of them is cached for others. */
  release(which: 'all' | 'waiting'): Sequence[] {
    return this.#roster.release(which);
  }

  /** Goes on with a sequence that another scheduler released. */
  adopt(sequence: Sequence): void {
    this.#roster.add(sequence);
  }

  /** How many tokens a sequence with this prompt would find cached. */
  cachedTokens(promptTokens: Int32Array): number {
    return this.#roster.cachedTokens(promptTokens);
  }

  /** Forms the next step, or null when the pipeline is full or nothing is to be computed. */
  nextStep(nowMs: number): PlannedStep | null {
    if (this.#inFlight.size - (this.#isAhead ? 1 : 0) >= this.#config.stages) return this.#stepAhead(nowMs);
    for (const kind of this.#turns.order(this.#roster)) {
      const draft = this.#draft(kind);
      if (draft.isEmpty) continue;
      this.#turns.took(kind);
      return this.#dispatch(draft, nowMs);
    }
    return this.#stepAhead(nowMs);
  }

  #draft(kind: StepKind): StepDraft {
    const draft = new StepDraft(this.#config.stepRowsMax);
    if (kind === 'tokens') this.#chooseDecodes(draft);
    const rowsMax = this.#prefillRowsEnd(draft);
    this.#choosePrefills(draft, kind, rowsMax);
    this.#admit(draft, kind, rowsMax);
    return draft;
  }

  /**
   * Takes the result of a step. Results of forgotten steps, and tokens of sequences that ended meanwhile, are
   * dropped. A sequence that was preempted after the step was made and still waits takes the tokens, since they are
   * true all the same; one that runs again computes them again. A sequence whose numbers are NaN or infinite ends, and
   * nothing of it stays cached.
   * @throws ButterflyError PROTOCOL_INVALID, and nothing changed, when the result does not answer its step.
   */
  complete(result: SchedulerResult, nowMs: number): SchedulerEvent[] {
    const step = this.#inFlight.get(result.stepId);
    if (step === undefined) return [];
    const [oldestStepId] = this.#inFlight.keys();
    const answers = oldestStepId === result.stepId ? answersOf(step, result) : null;
    if (!answers)
      throw new ButterflyError(
        'PROTOCOL_INVALID',
        `The result of step ${result.stepId} is out of order or does not answer it; restart the last worker.`,
      );
    this.#inFlight.delete(result.stepId);
    const slowest = Math.max(0, ...(result.stageTimes ?? []).map(({ computeMicros }) => computeMicros));
    if (slowest > 0) this.#curve.observe(step.rows, slowest);
    const events: SchedulerEvent[] = [];
    for (const answer of answers.given) {
      if (answer.expected.isSampled && isCurrent(this.#roster, answer.expected))
        this.drafting.came(answer.expected, answer.output.tokens.length, step.isDecoding, nowMs);
      takeAnswer(this.#roster, answer, nowMs, events);
    }
    for (const sequence of answers.failed)
      if (discard(this.#roster, sequence)) events.push({ kind: 'failed', id: sequence.id });
    return events;
  }

  /** Ends the sequence without an event; what it cached stays for others. False when it has ended already. */
  cancel(id: number): boolean {
    const sequence = this.#roster.sequences.get(id);
    if (sequence === undefined) return false;
    this.#roster.remove(sequence, sequence.cached);
    return true;
  }

  /** Ends every sequence whose deadline has come. */
  expire(nowMs: number): SchedulerEvent[] {
    const late = [...this.#roster.sequences.values()].filter(({ deadlineMs }) => deadlineMs <= nowMs);
    for (const { id } of late) this.cancel(id);
    return late.map(({ id }) => ({ kind: 'expired', id }));
  }

  /**
   * After the loss of all caches: forgets all steps in flight and starts every sequence anew from what is known.
   * Gives the ids of those that were in these steps.
   */
  rewind(): ReadonlySet<number> {
    const touched = new Set<number>();
    for (const { sequences } of this.#inFlight.values()) for (const { id } of sequences) touched.add(id);
    this.#inFlight.clear();
    this.#roster.restart(this.#config);
    return touched;
  }

  /**
   * Rewinds and goes on with another plan.
   * @throws ButterflyError CONFIG_INVALID, and nothing changed, also when a living sequence exceeds the new context.
   */
  reconfigure(config: SchedulerConfig): void {
    const checked = checkedConfig(config);
    for (const { tokensMax } of this.#roster.sequences.values())
      if (tokensMax > checked.contextTokensMax)
        throw new ButterflyError(
          'CONFIG_INVALID',
          `A context of ${checked.contextTokensMax} tokens is too small for a running request of ${tokensMax}.`,
        );
    this.#config = checked;
    this.#curve = StepCurve.slowest(checked.stepCurves);
    this.drafting.reconfigure(checked, this.#curve);
    this.rewind();
  }

  /** Predicted time of a step of so many rows through all stages. */
  lapMicros(rows: number): number {
    return this.#config.stages * (this.#curve.micros(rows) + hopMicros);
  }

  stats(): SchedulerStats {
    return {
      running: this.#roster.running.size,
      waiting: this.#roster.waiting,
      inFlight: this.#inFlight.size,
      availableSlots: this.#roster.availableSlots,
    };
  }

  /** One row for each sequence that waits for nothing else, least recently served first, and guesses where they pay. */
  #chooseDecodes(draft: StepDraft): void {
    const { ready, decoding } = this.#roster;
    if (ready.size === 0) return;
    // Those in flight count too: only then do the steps under way get equal shares.
    const groups = decodeGroups(decoding, this.#config.stages, this.#curve);
    let left = Math.min(Math.ceil(decoding / groups), ready.size);
    for (const sequence of ready) {
      if (left === 0 || draft.isFull) break;
      if (sequence.pending > draft.rowsLeft) continue;
      if (this.#choose(draft, sequence, sequence.pending)) left -= 1;
    }
    const sequences = [...draft.sequences];
    for (const each of sequences) this.#addGuesses(draft, each, each.draftGuesses(this.#config.guessesMax));
    // Beside a part of a prompt every row is dear; for what another model guessed the price was paid.
    if (this.#hasPrompts) return;
    const others = sequences.filter((each) => draft.guessesOf(each) === noGuesses);
    for (const [each, guesses] of this.#guessesFor(others, draft.rows))
      this.#addGuesses(draft, each, guesses);
  }

  #addGuesses(draft: StepDraft, sequence: Sequence, guesses: Guesses): void {
    const { pending, scheduled } = sequence;
    const { length } = guesses.tokens;
    if (length === 0 || length > draft.rowsLeft || !this.#roster.running.has(sequence)) return;
    if (this.#roster.grow(sequence, scheduled + pending + length)) draft.add(sequence, pending, guesses);
  }

  #guessesFor(sequences: readonly Sequence[], rows: number, isAhead = false): Map<Sequence, Guesses> {
    const { stepRowsMax: rowsMax, stages, goesAhead } = this.#config;
    // Steps need not wait for the way to the orchestrator and back, unless there are guesses. Each stage has its share.
    const waitMicros = goesAhead ? (2 * hopMicros) / stages : 0;
    const stepMicros = (count: number): number => this.#curve.micros(count) + (stages === 1 ? 0 : hopMicros);
    const step = { rows, rowsMax, tokens: sequences.length, stepMicros, waitMicros };
    return chooseGuesses(sequences, this.#config, step, isAhead);
  }

  /** Whether a step in flight went ahead of its tokens, and these are still unknown. */
  get #isAhead(): boolean {
    return this.#inFlight.has(this.#aheadOfStepId);
  }

  /**
   * The step after the oldest one in flight: of what only decodes, with the tokens still unknown, so that the first
   * stage goes on as soon as they are sampled while their way here and back takes its time. Not when anything else is
   * to be done, because that would have to wait for it, nor where the sequences should take turns in other steps.
   */
  #stepAhead(nowMs: number): PlannedStep | null {
    const { goesAhead, stages, stepRowsMax } = this.#config;
    const [oldest] = this.#inFlight;
    if (!goesAhead || !oldest || this.#isAhead) return null;
    if (this.#hasPrompts || this.#roster.ready.size > 0) return null;
    const [oldestStepId, { expected }] = oldest;
    // Whose output is full with the token under way has no next one.
    const sequences = expected
      .filter((each) => isCurrent(this.#roster, each) && this.#roster.running.has(each.sequence))
      .map(({ sequence }) => sequence)
      .filter(({ known, tokensMax }) => known.length + 1 < tokensMax);
    const { decoding } = this.#roster;
    if (sequences.length > Math.ceil(decoding / decodeGroups(decoding, stages, this.#curve))) return null;
    const draft = new StepDraft(stepRowsMax);
    for (const sequence of sequences) {
      if (draft.isFull || !sequence.mayGoAhead) return null;
      if (!this.#roster.grow(sequence, sequence.scheduled + 1)) return null;
      draft.add(sequence, 1);
    }
    if (draft.isEmpty) return null;
    const guesses = this.#guessesFor(sequences, draft.rows, true);
    // Where guesses pay, the next token must be known first.
    const isAnyTried = [...guesses.values()].some(({ tokens }) => tokens.length > 0);
    if (isAnyTried || this.drafting.isWantedNext(sequences)) return null;
    this.#aheadOfStepId = oldestStepId;
    return this.#dispatch(draft, nowMs);
  }

  get #hasPrompts(): boolean {
    return this.#roster.prefilling.size > 0 || this.#roster.waiting > 0;
  }

  /** Up to how many rows the step may be filled with parts of prompts. */
  #prefillRowsEnd(draft: StepDraft): number {
    if (!this.#hasPrompts) return draft.rows;
    const { prefilling, decoding, waitingTokens, next } = this.#roster;
    // Whole prompts, not what is left of them: the chunks of one prompt are of one size.
    let promptTokens = decoding === 0 ? waitingTokens : (next?.known.length ?? 0);
    for (const { known } of prefilling) promptTokens += known.length;
    const { stages, stepRowsMax } = this.#config;
    if (decoding === 0) return prefillChunk(promptTokens, stages, stepRowsMax, this.#curve);
    return mixedStepRows({ decodeRows: draft.rows, promptTokens, stages, stepRowsMax }, this.#curve);
  }

  #choosePrefills(draft: StepDraft, kind: StepKind, rowsMax: number): void {
    for (const sequence of [...this.#roster.prefilling].sort((a, b) => (precedes(a, b) ? -1 : 1))) {
      if (draft.isFull || draft.rows >= rowsMax) return;
      if (kindOf(sequence) !== kind) continue;
      const rows = this.#chunk(draft, sequence, rowsMax);
      if (rows > 0) this.#choose(draft, sequence, rows);
    }
  }

  /** Lets waiting sequences in, strictly in order. */
  #admit(draft: StepDraft, kind: StepKind, rowsMax: number): void {
    for (let next = this.#roster.next; next && kindOf(next) === kind; next = this.#roster.next) {
      if (draft.isFull || draft.rows >= rowsMax) return;
      if (next.isWhole && this.#chunk(draft, next, rowsMax) === 0) return;
      if (this.#roster.isWorthWaiting(next) || !this.#makeRoom(draft, next)) return;
      if (!this.#roster.enter(next)) return;
      const rows = this.#chunk(draft, next, rowsMax);
      if (rows > 0) draft.add(next, rows);
    }
  }

  /**
   * The next chunk of a prompt; the first one reaches a whole tile of attention, from which on prompts go by tiles. One that
   * is scored waits where others leave it no room for that. What cannot be cut begins where there is room, and ends where the
   * step does; it has a step to itself if need be.
   */
  #chunk(draft: StepDraft, { scheduled, pendingToCut, scores, isWhole }: Sequence, rowsMax: number): number {
    const room = rowsMax - draft.rows;
    if (isWhole) return draft.isEmpty || (room > 0 && pendingToCut <= draft.rowsLeft) ? pendingToCut : 0;
    const toTile = tileRows - scheduled;
    const scorable = scores?.rowsWithin(scheduled, draft.scoredRowsLeft) ?? Infinity;
    // One more, since a chunk may be cut by a row that would be left alone.
    if (scorable < Math.min(pendingToCut, Math.max(2, toTile + 1))) return 0;
    return chunkRows(pendingToCut, room > 0 ? Math.max(room, toTile) : 0, Math.min(draft.rowsLeft, scorable));
  }

  /** Whether there is a place and a region for it, at the cost of those that are less urgent and later in order. */
  #makeRoom(draft: StepDraft, next: Sequence): boolean {
    const mayGo = (each: Sequence): boolean => each.priority > next.priority && precedes(next, each);
    if (!this.#roster.couldHaveRoom(next, mayGo)) return false;
    while (!this.#roster.hasRoom(next)) {
      const last = this.#roster.lastInOrder(mayGo);
      if (last === undefined) return false;
      this.#preempt(draft, last);
    }
    return true;
  }

  /** Adds rows of a running sequence if its region holds them or can be made to, at the cost of those later in order. */
  #choose(draft: StepDraft, sequence: Sequence, rows: number): boolean {
    // One before it in order may have taken its region while this step was formed.
    while (this.#roster.running.has(sequence)) {
      if (this.#roster.grow(sequence, sequence.scheduled + rows)) {
        draft.add(sequence, rows);
        return true;
      }
      const last = this.#roster.lastInOrder();
      // It is the last itself and must wait until another one leaves.
      if (last === undefined || last === sequence) return false;
      this.#preempt(draft, last);
    }
    return false;
  }

  #preempt(draft: StepDraft, sequence: Sequence): void {
    draft.remove(sequence);
    this.#roster.preempt(sequence);
  }

  #dispatch(draft: StepDraft, nowMs: number): PlannedStep {
    const stepId = this.#nextStepId;
    this.#nextStepId += 1;
    this.#roster.prepare(draft.placedRows());
    const { sequences, tokens, parts } = draft.form(stepId, this.#roster);
    const isDecoding = parts.every(([sequence]) => !this.#roster.prefilling.has(sequence));
    const expected: Expected[] = [];
    for (const [sequence, { rows, guesses, scored }] of parts) {
      const end = sequence.scheduled + rows;
      const isSampled = end >= sequence.known.length;
      this.#roster.dispatched(sequence, end, guesses.tokens.length, isSampled);
      sequence.dispatched(stepId, end, guesses.tokens.length, isSampled, nowMs);
      if (isSampled) this.shares.give(sequence.tenant, outputTokenCost);
      if (isSampled || scored)
        expected.push({ sequence, life: sequence.life, position: end, guesses, isSampled, scored });
    }
    this.#inFlight.set(stepId, {
      rows: tokens.length,
      sequences: parts.map(([sequence]) => sequence),
      expected,
      sentMs: nowMs,
      isDecoding,
    });
    const verified = parts.flatMap(([{ id, isVerified }]) => (isVerified ? [id] : []));
    return { stepId, copies: this.#roster.takeCopies(), sequences, tokens, verified };
  }
}
