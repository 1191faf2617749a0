import type { StepOutput } from '@butterfly/wire';
import { tokenLogprobs } from './prompt-scores.js';
import type { Roster } from './roster.js';
import type { Sequence } from './scheduler-sequence.js';
import type { SchedulerEvent } from './scheduler-types.js';
import type { Answer, Expected } from './step-in-flight.js';

/** Whether the tokens that a step brings are the next ones of their sequence. */
export function isCurrent(roster: Roster, { sequence, life, position }: Expected): boolean {
  return (
    roster.sequences.get(sequence.id) === sequence &&
    sequence.known.length === position &&
    (sequence.life === life || !roster.running.has(sequence))
  );
}

/** Takes what a step brought of one sequence, as far as it is news, and adds what is to be told of it. */
export function takeAnswer(
  roster: Roster,
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
export function discard(roster: Roster, sequence: Sequence): boolean {
  const isLiving = roster.sequences.get(sequence.id) === sequence;
  if (isLiving) roster.remove(sequence, 0);
  roster.distrust(sequence);
  return isLiving;
}

function takeEmbedding(
  roster: Roster,
  sequence: Sequence,
  vector: Float32Array,
  nowMs: number,
): SchedulerEvent {
  roster.remove(sequence, sequence.cached);
  sequence.embedded(nowMs);
  return { kind: 'embedding', id: sequence.id, vector, timing: sequence.timing(nowMs) };
}

function takeTokens(
  roster: Roster,
  { sequence, position, guesses }: Expected,
  { tokens, logprobs }: StepOutput,
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
  if (guesses.length > 0) sequence.acceptance.judged(guesses.length, confirmed);
  else sequence.acceptance.came(tokens[0] ?? 0);
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
  if (!roster.running.has(sequence)) return;
  sequence.awaited -= 1;
  roster.confirmed(sequence);
  if (sequence.awaited > 0) return;
  sequence.scheduled = position + confirmed;
  roster.becomesReady(sequence);
}
