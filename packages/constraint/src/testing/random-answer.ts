import { greedySampling, type StepSequence, type TokenTable } from '@butterfly/wire';
import type { ConstraintHost } from '../masks/constraint-host.js';
import { SequenceMasks } from '../masks/sequence-masks.js';
import type { Random } from './random-schemas.js';

const noTokens = new Int32Array(0);
let lastSequence = 0;

/** An answer that random tokens make under the masks of a constraint; null where it has no end in `tokensMax`. */
export async function randomAnswer(
  host: ConstraintHost,
  constraintId: number,
  table: TokenTable,
  { random, tokensMax }: { readonly random: Random; readonly tokensMax: number },
): Promise<string | null> {
  using masks = new SequenceMasks(host);
  const stops = new Set(table.stopTokens);
  const sequenceId = ++lastSequence;
  const said: number[] = [];
  while (said.length < tokensMax) {
    masks.begin([sampledSequence(sequenceId, constraintId, said.length)]);
    const [mask] = (await masks.ready()).get(sequenceId) ?? [];
    const allowed = mask ? tokensOf(mask) : [];
    if (allowed.length === 0) throw new Error('No token may come next.');
    const token = allowed[Math.floor(random() * allowed.length)] ?? 0;
    masks.accept([{ sequenceId, tokens: Int32Array.of(token) }]);
    if (stops.has(token)) return textOf(said, table);
    said.push(token);
  }
  return null;
}

export function tokensOf(mask: Int32Array): number[] {
  const tokens: number[] = [];
  for (let token = 0; token < mask.length * 32; token++)
    if (((mask[token >> 5] ?? 0) >>> (token & 31)) & 1) tokens.push(token);
  return tokens;
}

function textOf(tokens: readonly number[], { bytes, offsets }: TokenTable): string {
  const parts = tokens.map((token) => bytes.subarray(offsets[token], offsets[token + 1]));
  return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(parts));
}

/** A sequence of which one token is sampled, behind so many others of its constraint. */
export function sampledSequence(
  sequenceId: number,
  constraintId: number,
  position: number,
  changes: Partial<StepSequence> = {},
): StepSequence {
  return {
    sequenceId,
    regionStart: 0,
    regionSlots: 65_536,
    positionStart: position,
    rows: 1,
    logitRows: 1,
    sampling: greedySampling,
    draftTokens: noTokens,
    recentTokens: noTokens,
    state: null,
    window: null,
    logprobs: null,
    scored: null,
    constraint: { id: constraintId, start: 1, tokens: position === 0 ? noTokens : null },
    ...changes,
  };
}

/** Whether an answer may be this text and end behind it, said byte by byte. */
export async function accepts(
  host: ConstraintHost,
  constraintId: number,
  table: TokenTable,
  text: string,
): Promise<boolean> {
  using masks = new SequenceMasks(host);
  const sequenceId = ++lastSequence;
  const tokens = [...new TextEncoder().encode(text), ...table.stopTokens.subarray(0, 1)];
  for (const [position, token] of tokens.entries()) {
    masks.begin([sampledSequence(sequenceId, constraintId, position)]);
    const [mask] = (await masks.ready()).get(sequenceId) ?? [];
    if (!mask || !tokensOf(mask).includes(token)) return false;
    masks.accept([{ sequenceId, tokens: Int32Array.of(token) }]);
  }
  return true;
}
