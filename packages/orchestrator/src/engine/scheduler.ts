import { ButterflyError, limits } from '@butterfly/common';
import type { ArenaCopy, StepSequence } from '@butterfly/common';
import { Arena } from '@butterfly/model';
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

/** A token that a step in flight will bring: the last stage samples it for `position` of the sequence. */
interface ExpectedToken {
  readonly sequence: Sequence;
  readonly position: number;
}

/** The rows chosen so far for the step that is being formed. */
class Draft {
  readonly rows = new Map<Sequence, number>();
  rowsLeft: number;

  constructor(readonly rowsMax: number) {
    this.rowsLeft = rowsMax;
  }

  get full(): boolean {
    return this.rowsLeft === 0 || this.rows.size >= limits.stepSequencesMax;
  }

  add(sequence: Sequence, rows: number): void {
    this.rows.set(sequence, rows);
    this.rowsLeft -= rows;
  }

  remove(sequence: Sequence): void {
    this.rowsLeft += this.rows.get(sequence) ?? 0;
    this.rows.delete(sequence);
  }
}

/**
 * Decides what each step of the pipeline computes. A sequence has known tokens (prompt, then output) and scheduled
 * tokens; a step lets scheduled catch up with known, and decode and prefill differ only in the number of rows.
 *
 * Everything rests on one fact: each stage executes steps, copies included, in the order in which `nextStep` made
 * them. So a token counts as cached once its step is made; regions may be moved, freed and given to others while
 * older steps that use them are still under way; and the tokens of those older steps stay valid.
 *
 * Sequences are served in order of arrival, and those that hold regions are always older than those that wait. An
 * older one takes the region of the youngest when the arena is full, never the other way round; as the arena holds
 * a whole context, the oldest always gets on.
 */
export class Scheduler {
  #config: Required<SchedulerConfig>;
  #arena: Arena;
  /** All living sequences in order of arrival. */
  readonly #sequences = new Map<number, Sequence>();
  /** Steps in flight by id, oldest first. */
  readonly #inFlight = new Map<number, readonly ExpectedToken[]>();
  /** Copies that the next step must carry. */
  #copies: ArenaCopy[] = [];
  #nextStepId = 0;

  /** @throws ButterflyError CONFIG_INVALID */
  constructor(config: SchedulerConfig) {
    this.#config = checkedConfig(config);
    this.#arena = new Arena(this.#config.arenaSlots, this.#config.arenaGranularity);
  }

  /** @throws ButterflyError CONTEXT_EXCEEDED, REQUEST_INVALID or QUEUE_FULL */
  submit(request: SchedulerRequest): void {
    if (this.#sequences.has(request.id))
      throw new ButterflyError('INTERNAL', `Sequence ${request.id} exists already; ids must be unique.`);
    checkRequest(request, this.#config.contextTokensMax);
    if (this.#waiting().length >= limits.queuedRequestsMax)
      throw new ButterflyError(
        'QUEUE_FULL',
        `${limits.queuedRequestsMax} requests wait already; retry later.`,
      );
    this.#sequences.set(request.id, new Sequence(request));
  }

  /** Forms the next step, or null when the pipeline is full or nothing is to be computed. */
  nextStep(nowMs: number): PlannedStep | null {
    if (this.#inFlight.size >= this.#config.stages) return null;
    const draft = new Draft(this.#config.stepRowsMax);
    this.#chooseDecodes(draft);
    this.#choosePrefills(draft);
    this.#admit(draft);
    return draft.rows.size === 0 ? null : this.#dispatch(draft, nowMs);
  }

  /**
   * Takes the result of a step. Results of forgotten steps, and tokens of sequences that ended meanwhile, are
   * dropped. A sequence that was preempted after the step was made still takes the token if it is the next one,
   * since it is as true as any; whatever computes it a second time is dropped in turn.
   * @throws ButterflyError PROTOCOL_INVALID, and nothing changed, when the result does not answer its step.
   */
  complete(result: SchedulerResult, nowMs: number): SchedulerEvent[] {
    const expected = this.#inFlight.get(result.stepId);
    if (expected === undefined) return [];
    const [oldestStepId] = this.#inFlight.keys();
    const tokens = answeredTokens(expected, result);
    if (tokens === null || oldestStepId !== result.stepId)
      throw new ButterflyError(
        'PROTOCOL_INVALID',
        `The result of step ${result.stepId} is out of order or does not answer it; restart the last worker.`,
      );
    this.#inFlight.delete(result.stepId);
    return tokens.flatMap(({ sequence, position, token }) =>
      this.#sequences.get(sequence.id) === sequence && sequence.known.length === position
        ? this.#accept(sequence, token, nowMs)
        : [],
    );
  }

  /** Ends the sequence without an event and frees what it holds; false when it has ended already. */
  cancel(id: number): boolean {
    const sequence = this.#sequences.get(id);
    if (sequence === undefined) return false;
    this.#sequences.delete(id);
    this.#vacate(sequence);
    return true;
  }

  /** Ends every sequence whose deadline has come. */
  expire(nowMs: number): SchedulerEvent[] {
    const late = [...this.#sequences.values()].filter(({ deadlineMs }) => deadlineMs <= nowMs);
    for (const { id } of late) this.cancel(id);
    return late.map(({ id }) => ({ kind: 'expired', id }));
  }

  /** After the loss of cached tokens: forgets all steps in flight and starts every sequence anew from what is known. */
  rewind(): void {
    this.#inFlight.clear();
    this.#copies = [];
    for (const sequence of this.#sequences.values()) this.#vacate(sequence);
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
    this.rewind();
    this.#config = checked;
    this.#arena = new Arena(checked.arenaSlots, checked.arenaGranularity);
  }

  stats(): SchedulerStats {
    const waiting = this.#waiting().length;
    return {
      running: this.#sequences.size - waiting,
      waiting,
      inFlight: this.#inFlight.size,
      freeSlots: this.#arena.freeSlots,
    };
  }

  #running(): Sequence[] {
    return [...this.#sequences.values()].filter(({ id }) => this.#arena.has(id));
  }

  #waiting(): Sequence[] {
    return [...this.#sequences.values()].filter(({ id }) => !this.#arena.has(id));
  }

  /** One row for each sequence that waits for nothing else, least recently served first. */
  #chooseDecodes(draft: Draft): void {
    const decoding = this.#running().filter(({ pending }) => pending <= 1);
    // Those in flight count too: only then do as many steps as there are stages get equal shares.
    const share = Math.ceil(decoding.length / this.#config.stages);
    const ready = decoding.filter(({ pending }) => pending === 1).sort((a, b) => a.lastStepId - b.lastStepId);
    for (const sequence of ready) {
      if (draft.full || draft.rows.size >= share) return;
      this.#choose(draft, sequence, 1);
    }
  }

  #choosePrefills(draft: Draft): void {
    for (const sequence of this.#running()) {
      if (draft.full) return;
      if (sequence.pending > 1) this.#choose(draft, sequence, Math.min(sequence.pending, draft.rowsLeft));
    }
  }

  /** Lets waiting sequences in, strictly in order of arrival. */
  #admit(draft: Draft): void {
    const running = this.#running();
    let places = this.#config.runningMax - running.length;
    // A granule for each sequence that will yet grow: without it, newcomers would soon be preempted again.
    let headroom = running.filter((sequence) => this.#grows(sequence)).length * this.#config.arenaGranularity;
    for (const sequence of this.#waiting()) {
      const slots = sequence.known.length + 1;
      if (draft.full || places === 0 || this.#arena.freeSlots < slots + headroom) return;
      if (!this.#place(sequence, slots)) return;
      draft.add(sequence, Math.min(sequence.pending, draft.rowsLeft));
      places -= 1;
      if (this.#grows(sequence)) headroom += this.#config.arenaGranularity;
    }
  }

  #grows(sequence: Sequence): boolean {
    return this.#arena.region(sequence.id).slots < sequence.tokensMax;
  }

  /** Adds rows of a running sequence if its region holds them or can be made to, at the cost of younger ones. */
  #choose(draft: Draft, sequence: Sequence, rows: number): void {
    // An older sequence may have taken its region while this step was formed.
    while (this.#arena.has(sequence.id)) {
      if (this.#place(sequence, sequence.scheduled + rows)) {
        draft.add(sequence, rows);
        return;
      }
      const youngest = this.#running().at(-1);
      if (youngest === undefined || youngest === sequence) return;
      draft.remove(youngest);
      this.#vacate(youngest);
    }
  }

  /** Gives the sequence a region of at least `slots`, moving others where that helps; false without free slots. */
  #place(sequence: Sequence, slots: number): boolean {
    const { id } = sequence;
    const held = this.#arena.has(id) ? this.#arena.region(id).slots : 0;
    if (held >= slots) return true;
    if (this.#arena.freeSlots < slots - held) return false;
    if (held === 0) {
      if (this.#arena.allocate(id, slots) !== null) return true;
      this.#carry(this.#arena.compact());
      return this.#arena.allocate(id, slots) !== null;
    }
    let grown = this.#arena.grow(id, slots);
    if (grown === null) {
      this.#carry(this.#arena.compact({ id, slots }));
      grown = this.#arena.grow(id, slots);
    }
    this.#carry(grown?.copies ?? []);
    return grown !== null;
  }

  #carry(copies: readonly ArenaCopy[]): void {
    for (const copy of copies) this.#copies.push(copy);
  }

  /** Takes back the region; what is known stays known. */
  #vacate(sequence: Sequence): void {
    sequence.scheduled = 0;
    if (this.#arena.has(sequence.id)) this.#arena.release(sequence.id);
  }

  #dispatch(draft: Draft, nowMs: number): PlannedStep {
    const stepId = this.#nextStepId;
    this.#nextStepId += 1;
    const sequences: StepSequence[] = [];
    const expected: ExpectedToken[] = [];
    const tokens = new Int32Array(draft.rowsMax - draft.rowsLeft);
    let offset = 0;
    // Only now: a region may have moved after its sequence was chosen.
    for (const [sequence, rows] of draft.rows) {
      const end = sequence.scheduled + rows;
      const sampled = end === sequence.known.length;
      sequences.push(this.#stepSequence(sequence, rows, sampled));
      tokens.set(sequence.known.slice(sequence.scheduled, end), offset);
      offset += rows;
      sequence.dispatched(stepId, end, nowMs);
      this.#arena.setUsed(sequence.id, end);
      if (sampled) expected.push({ sequence, position: end });
    }
    this.#inFlight.set(stepId, expected);
    const copies = this.#copies;
    this.#copies = [];
    return { stepId, copies, sequences, tokens };
  }

  #stepSequence(sequence: Sequence, rows: number, sampled: boolean): StepSequence {
    const region = this.#arena.region(sequence.id);
    return {
      sequenceId: sequence.id,
      regionStart: region.start,
      regionSlots: region.slots,
      positionStart: sequence.scheduled,
      rows,
      logitRows: sampled ? 1 : 0,
      sampling: sampled ? sequence.sampling : null,
      recentTokens: sampled ? sequence.recentTokens() : new Int32Array(0),
    };
  }

  #accept(sequence: Sequence, token: number, nowMs: number): SchedulerEvent[] {
    const { id } = sequence;
    const reason = sequence.extend(token, nowMs);
    const events: SchedulerEvent[] = reason === 'stop' ? [] : [{ kind: 'token', id, token }];
    if (reason !== null) {
      this.cancel(id);
      events.push({ kind: 'end', id, reason, timing: sequence.timing(nowMs) });
    }
    return events;
  }
}

/** The tokens of a result beside what its step expects, or null when the two do not match. */
function answeredTokens(
  expected: readonly ExpectedToken[],
  { outputs }: SchedulerResult,
): (ExpectedToken & { readonly token: number })[] | null {
  if (outputs.length !== expected.length) return null;
  const answered: (ExpectedToken & { readonly token: number })[] = [];
  for (const [index, each] of expected.entries()) {
    const output = outputs[index];
    const token = output?.tokens[0];
    if (output?.sequenceId !== each.sequence.id || output.tokens.length !== 1 || token === undefined)
      return null;
    answered.push({ ...each, token });
  }
  return answered;
}
