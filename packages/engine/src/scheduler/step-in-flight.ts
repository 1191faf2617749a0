import type { Logprobs, StepOutput } from '@butterfly/wire';
import { tokenLogprobs, type ScoredRange } from './prompt-scores.js';
import type { Guesses } from '../guesses/guesses.js';
import type { Sequence } from './scheduler-sequence.js';
import type { SchedulerEvent, SchedulerResult } from './scheduler-types.js';

/** What a step in flight will bring: tokens of the sequence from `position` on, scores of its prompt, both, or its embedding. */
export interface Expected {
  readonly sequence: Sequence;
  /** The life of the sequence in which the step was made. */
  readonly life: number;
  readonly position: number;
  readonly guesses: Guesses;
  /** Whether it computes the last known token, behind which a token or the embedding comes. */
  readonly isSampled: boolean;
  readonly scored: ScoredRange | null;
}

/** A step that is under way. */
export interface StepInFlight {
  readonly rows: number;
  /** All that are in it. */
  readonly sequences: readonly Sequence[];
  readonly expected: readonly Expected[];
  readonly sentMs: number;
  /** Whether it has no part of a prompt. */
  readonly isDecoding: boolean;
}

/** What a step brought of one sequence. */
export interface Answer {
  readonly expected: Expected;
  readonly output: StepOutput;
}

/** A result, taken apart. */
export interface Answers {
  readonly given: readonly Answer[];
  /** Sequences that failed, also in the midst of their prompts. */
  readonly failed: readonly Sequence[];
}

/**
 * Null unless a result has, for each sequence that a step samples, some of its guesses and one token more, and all scores
 * and the embedding that are wanted, or says that it failed, which any of the step may have.
 */
export function answersOf(
  { sequences, expected }: StepInFlight,
  { outputs }: SchedulerResult,
): Answers | null {
  const failures = outputs.filter((output) => isFailure(output));
  const gone = new Set(failures.map(({ sequenceId }) => sequenceId));
  const failed = sequences.filter(({ id }) => gone.has(id));
  if (failed.length < failures.length) return null;
  const answered = failures.length === 0 ? outputs : outputs.filter((output) => !isFailure(output));
  const asked = gone.size === 0 ? expected : expected.filter(({ sequence }) => !gone.has(sequence.id));
  if (answered.length !== asked.length) return null;
  const given: Answer[] = [];
  for (const [index, each] of asked.entries()) {
    const output = answered[index];
    if (!output || !answers(output, each)) return null;
    given.push({ expected: each, output });
  }
  return { given, failed };
}

function isFailure({ tokens, scored, vector }: StepOutput): boolean {
  return tokens.length === 0 && scored === undefined && vector === undefined;
}

function answers(
  { sequenceId, tokens, logprobs, scored, vector }: StepOutput,
  { sequence, guesses, isSampled, scored: range }: Expected,
): boolean {
  const isPooled = isSampled && sequence.pooling !== null;
  const isDrawn = isSampled && !isPooled;
  const wantedLogprobs = isDrawn && sequence.logprobs !== null ? tokens.length : 0;
  return (
    sequenceId === sequence.id &&
    (isDrawn ? confirms(tokens, guesses.tokens) : tokens.length === 0) &&
    (vector !== undefined) === isPooled &&
    countOf(logprobs) === wantedLogprobs &&
    countOf(scored) === (range ? range.to - range.from : 0)
  );
}

const countOf = (logprobs: Logprobs | undefined): number => logprobs?.chosen.length ?? 0;

/** Whether tokens are some of the guesses, from the first on, and one more. */
function confirms(tokens: Int32Array, guesses: Int32Array): boolean {
  const confirmed = tokens.length - 1;
  if (confirmed < 0 || confirmed > guesses.length) return false;
  for (let index = 0; index < confirmed; index += 1) if (tokens[index] !== guesses[index]) return false;
  return true;
}

/** What answers do to the sequences that live: a part of `Roster`. */
interface LivingSequences {
  readonly sequences: ReadonlyMap<number, Sequence>;
  readonly running: ReadonlySet<Sequence>;
  remove(sequence: Sequence, cachedTokens: number): void;
  distrust(sequence: Sequence): void;
  extended(sequence: Sequence): void;
  confirmed(sequence: Sequence, computed: number): number;
  becomesReady(sequence: Sequence): void;
}

/** Whether the tokens that a step brings are the next ones of their sequence. */
export function isCurrent(
  roster: Pick<LivingSequences, 'sequences' | 'running'>,
  { sequence, life, position }: Expected,
): boolean {
  return (
    roster.sequences.get(sequence.id) === sequence &&
    sequence.known.length === position &&
    (sequence.life === life || !roster.running.has(sequence))
  );
}

/** Takes what a step brought of one sequence, as far as it is news, and adds what is to be told of it. */
export function takeAnswer(
  roster: LivingSequences,
  { expected, output }: Answer,
  nowMs: number,
  events: SchedulerEvent[],
): void {
  const { sequence } = expected;
  if (sequence.scores !== null && roster.sequences.get(sequence.id) === sequence)
    // What was computed of a prompt is true, whatever became of the step.
    for (const told of sequence.scores.taken(expected.scored, output.scored))
      events.push({ kind: 'promptToken', id: sequence.id, ...told });
  if (!expected.isSampled || !isCurrent(roster, expected)) return;
  if (output.vector === undefined) takeTokens(roster, expected, output, nowMs, events);
  else events.push(takeEmbedding(roster, sequence, output.vector, nowMs));
}

/** Ends a sequence whose numbers are no numbers; false when it has ended already, and what it left is not to be used. */
export function discard(roster: LivingSequences, sequence: Sequence): boolean {
  const isLiving = roster.sequences.get(sequence.id) === sequence;
  if (isLiving) roster.remove(sequence, 0);
  roster.distrust(sequence);
  return isLiving;
}

function takeEmbedding(
  roster: LivingSequences,
  sequence: Sequence,
  vector: Float32Array,
  nowMs: number,
): SchedulerEvent {
  roster.remove(sequence, sequence.cached);
  sequence.embedded(nowMs);
  return { kind: 'embedding', id: sequence.id, vector, timing: sequence.timing(nowMs) };
}

function takeTokens(
  roster: LivingSequences,
  { sequence, position, guesses }: Expected,
  { tokens, logprobs, guesses: ofHead }: StepOutput,
  nowMs: number,
  events: SchedulerEvent[],
): void {
  const { id } = sequence;
  const confirmed = tokens.length - 1;
  const end = (reason: 'stop' | 'length'): void => {
    roster.remove(sequence, Math.min(sequence.known.length, position + confirmed));
    const { cachedPromptTokens } = sequence;
    events.push({ kind: 'end', id, reason, timing: sequence.timing(nowMs), cachedPromptTokens });
  };
  // Only the prompt was of interest; the token behind it is nobody's.
  if (sequence.isFull) {
    end('length');
    return;
  }
  // What a draft guesses says nothing of what lookup would have.
  const byLookup = guesses.by === 'lookup' ? guesses.tokens.length : 0;
  if (byLookup > 0) sequence.acceptance.judged(byLookup, confirmed);
  else sequence.acceptance.came(tokens[0] ?? 0);
  sequence.head.judge(guesses.by === 'head' ? guesses.tokens.length : 0, tokens);
  for (const [index, token] of tokens.entries()) {
    const reason = sequence.extend(token, nowMs);
    if (reason !== 'stop') {
      const own = logprobs ? { logprobs: tokenLogprobs(logprobs, index) } : {};
      events.push({ kind: 'token', id, token, ...own });
      roster.extended(sequence);
    }
    if (reason === null) continue;
    end(reason);
    return;
  }
  if (ofHead) sequence.head.came(sequence.known.length, ofHead);
  if (!roster.running.has(sequence)) return;
  sequence.awaited -= 1;
  const isAhead = sequence.awaited > 0;
  const computed = isAhead ? sequence.known.length : position + confirmed;
  const goesOnFrom = roster.confirmed(sequence, computed);
  if (isAhead) return;
  sequence.goesOn(goesOnFrom, computed);
  roster.becomesReady(sequence);
}
