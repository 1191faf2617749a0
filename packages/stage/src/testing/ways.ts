import { stateSlotsOf } from '@butterfly/model';
import { type CacheType, type SequenceState, emptyState, firstOwnState } from '@butterfly/wire';
import type { SplitModel } from '../split-model.js';
import type { LayerRange } from '../loading/stage-weights.js';
import { loadStage, part, runThrough, someTokens, tokenStep } from './stages.js';

/** Slots of the arena for each sequence. */
const regionSlots = 256;
/** Rows of one step, as `SplitModel` has them. */
const rowsMax = 512;
/** Sequences that are computed beside the one that is looked at. */
const others = 8;
/** The number of ours among them, in whose midst it is: llama.cpp computes together only what is in order of numbers. */
const ownId = 4;
/** The slots and the sequences that a model needs for all ways below. */
export const waysNeed = { arenaSlots: (others + 1) * regionSlots, sequences: others + 1 } as const;

/** Tokens of a sequence, of which the first so many are its prompt. */
export interface Text {
  readonly tokens: readonly number[];
  readonly prompt: number;
}

/** Where a sequence has its state in its steps: two slots that take turns. */
function stateOf({ spec }: SplitModel, id: number, step: number): SequenceState | null {
  if (stateSlotsOf(spec) === 0) return null;
  const first = firstOwnState + 2 * id;
  return { from: step === 0 ? emptyState : first + (step % 2), to: first + ((step + 1) % 2) };
}

/** The prompt in one step, and then token by token: what llama.cpp does with a text of its own. */
export function stepsOf({ tokens, prompt }: Text): number[][] {
  return [tokens.slice(0, prompt), ...tokens.slice(prompt).map((token) => [token])];
}

/** Logits after each step of a sequence that is computed alone from its beginning. */
async function compute(
  model: SplitModel,
  stages: SplitModel['stages'],
  steps: readonly (readonly number[])[],
): Promise<Float32Array[]> {
  const results: Float32Array[] = [];
  let positionStart = 0;
  for (const [step, tokens] of steps.entries()) {
    const sequence = part({ positionStart, rows: tokens.length, state: stateOf(model, 0, step) });
    results.push(...(await runThrough(stages, tokenStep([sequence], tokens))));
    positionStart += tokens.length;
  }
  return results;
}

/** A sequence that is computed alone: logits after its prompt and after each token behind that. */
export async function alone(model: SplitModel, text: Text): Promise<Float32Array[]> {
  return compute(model, model.stages, stepsOf(text));
}

/** Rows that the sequence of a number beside ours has in a step: unequal ones, chunks of prompts beside decoded ones. */
function rowsBeside(other: number, step: number): number {
  if (step === 0) return other;
  if (step === 1) return other % 2 === 0 ? other : 1;
  // Of two kinds that take turns, so that graphs are compiled for two.
  return step % 2 === 0 && other <= 2 ? other + 1 : 1;
}

/** Tokens of a sequence in a step. */
interface Part {
  readonly sequence: number;
  readonly tokens: readonly number[];
}

/** Steps of a text in the midst of eight others; in the first one these begin without it. */
export function stepsAmong(text: Text, vocabulary: number): Part[][] {
  const beside = someTokens(regionSlots, vocabulary, 5);
  const positions = Array.from({ length: others }, () => 0);
  const besideIn = (step: number): Part[] =>
    positions.map((from, index) => {
      const to = from + rowsBeside(index + 1, step);
      positions[index] = to;
      return { sequence: index < ownId ? index : index + 1, tokens: beside.slice(from, to) };
    });
  return [
    besideIn(0),
    ...stepsOf(text).map((tokens, step) =>
      besideIn(step + 1).toSpliced(ownId, 0, { sequence: ownId, tokens }),
    ),
  ];
}

/** The same computed in the steps of `stepsAmong`. */
export async function amongOthers(model: SplitModel, text: Text): Promise<Float32Array[]> {
  const results: Float32Array[] = [];
  const progress = new Map<number, { rows: number; steps: number }>();
  for (const parts of stepsAmong(text, model.spec.vocabulary)) {
    const sequences = parts.map(({ sequence: id, tokens }) => {
      const { rows, steps } = progress.get(id) ?? { rows: 0, steps: 0 };
      progress.set(id, { rows: rows + tokens.length, steps: steps + 1 });
      const place = { sequenceId: id, regionStart: id * regionSlots, positionStart: rows };
      return part({ ...place, rows: tokens.length, state: stateOf(model, id, steps) });
    });
    const step = tokenStep(
      sequences,
      parts.flatMap(({ tokens }) => tokens),
    );
    results.push(...ownOf(parts, await runThrough(model.stages, step)));
  }
  return results;
}

/** What is of the text, of one result for each part. */
export function ownOf<T>(parts: readonly Part[], results: readonly T[]): T[] {
  return results.filter((_, index) => parts[index]?.sequence === ownId);
}

/** The same gone on with from a copy of its prompt in another region, and from the state behind it; without the first logits. */
export async function afterCopy(model: SplitModel, text: Text): Promise<Float32Array[]> {
  const { stages } = model;
  const [first = [], ...next] = stepsOf(text);
  const checkpoint = stateOf(model, 0, 0);
  await runThrough(stages, tokenStep([part({ rows: text.prompt, state: checkpoint })], first));
  const results: Float32Array[] = [];
  for (const [index, tokens] of next.entries()) {
    const copies = index === 0 ? [{ fromSlot: 0, toSlot: regionSlots, slots: text.prompt }] : [];
    const own = stateOf(model, 1, index + 1);
    const state = own && index === 0 ? { ...own, from: checkpoint?.to ?? emptyState } : own;
    const sequence = part({ regionStart: regionSlots, positionStart: text.prompt + index, state });
    results.push(...(await runThrough(stages, tokenStep([sequence], tokens, copies))));
  }
  return results;
}

/** A worker that is lost, and when. */
export interface Death {
  /** Which stage was its, and which layers. */
  readonly stage: number;
  readonly range: LayerRange;
  /** Tokens of the text that were known by then. */
  readonly known: number;
}

/** The steps after a death: what was known in two parts of a prompt, then token by token. */
export function stepsAfter({ known }: Death, tokens: readonly number[]): number[][] {
  const half = Math.ceil(known / 2);
  return [tokens.slice(0, half), ...stepsOf({ tokens: tokens.slice(half), prompt: known - half })];
}

/**
 * The same computed up to a death, and then again from the beginning through the stages that are left and one that was
 * loaded anew in the place of the lost one: logits after each step of `stepsAfter`.
 */
export async function afterDeath(
  model: SplitModel,
  text: Text,
  death: Death,
  cacheType: CacheType,
): Promise<Float32Array[]> {
  await alone(model, { ...text, tokens: text.tokens.slice(0, death.known) });
  model.stages[death.stage]?.[Symbol.dispose]();
  const { arenaSlots } = waysNeed;
  using anew = await loadStage(model.spec, { range: death.range, arenaSlots, rowsMax, cacheType });
  return await compute(model, model.stages.with(death.stage, anew), stepsAfter(death, text.tokens));
}
