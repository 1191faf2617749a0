import { ensure } from '@butterfly/common';
import { type ModelSpec, type WindowsOfModel, cacheBlockSlots } from '@butterfly/model';
import { type SequenceWindow, emptyState, holdsWindow, type Step, wasteState } from '@butterfly/wire';

/** What a stage takes. */
export interface StepBounds {
  readonly arenaSlots: number;
  /** Most rows of one step. */
  readonly rowsMax: number;
  /** Slots for states of sequences; 0 in a model without. */
  readonly stateSlots: number;
  /** The rooms of window layers; null in a model without. */
  readonly windows: WindowsOfModel | null;
  /** What it makes of texts. */
  readonly model: Pick<ModelSpec, 'isEncoder' | 'embedding'>;
}

/**
 * Refuses everything that ggml would end the process for, or that would read or write outside a region.
 * @throws ButterflyError COMPUTE_INVALID
 */
export function checkStep(
  { copies, sequences }: Pick<Step, 'copies' | 'sequences'>,
  { arenaSlots, rowsMax, stateSlots, windows, model }: StepBounds,
): void {
  for (const { fromSlot, toSlot, slots: count } of copies)
    ensure(
      [fromSlot, toSlot, count].every(isCount) &&
        fromSlot + count <= arenaSlots &&
        toSlot + count <= arenaSlots,
      () => `A copy of ${count} slots from ${fromSlot} to ${toSlot} exceeds the arena of ${arenaSlots}.`,
    );
  let rows = 0;
  for (const s of sequences) {
    rows += s.rows;
    ensure(
      isCount(s.rows) && s.rows >= 1 && isCount(s.logitRows) && s.logitRows <= s.rows,
      () => `Sequence ${s.sequenceId} wants ${s.logitRows} logits of ${s.rows} rows.`,
    );
    const sampled = s.logitRows - (s.scored?.tokens.length ?? 0);
    ensure(
      sampled >= 0 && (s.draftTokens.length === 0 || s.draftTokens.length === sampled - 1),
      () =>
        `Sequence ${s.sequenceId} wants ${s.logitRows} logits for ${s.draftTokens.length} guesses and ${s.scored?.tokens.length ?? 0} scores.`,
    );
    ensure(
      [s.regionStart, s.regionSlots, s.positionStart].every(isCount) &&
        s.regionStart % cacheBlockSlots === 0 &&
        s.regionSlots % cacheBlockSlots === 0 &&
        s.regionStart + s.regionSlots <= arenaSlots &&
        s.positionStart + s.rows <= s.regionSlots,
      () =>
        `Positions ${s.positionStart}+${s.rows} do not fit the region ${s.regionStart}+${s.regionSlots} of an arena of ${arenaSlots}.`,
    );
  }
  checkStates(sequences, stateSlots);
  checkWindows(sequences, windows);
  checkPooling(sequences, model);
  ensure(rows >= 1 && rows <= rowsMax, () => `A step of ${rows} rows exceeds ${rowsMax}.`);
}

/** A step gives logits or embeddings, and an encoder gives nothing but the embeddings of whole texts. */
function checkPooling(sequences: Step['sequences'], { isEncoder, embedding }: StepBounds['model']): void {
  const wantsVectors = sequences.some(({ pooling }) => pooling);
  for (const sequence of sequences) {
    const { sequenceId, pooling, rows, logitRows, positionStart } = sequence;
    const isUndrawn =
      sequence.sampling === null && sequence.draftTokens.length === 0 && sequence.scored === null;
    ensure(
      pooling ? embedding !== null && logitRows === rows && isUndrawn : !wantsVectors || logitRows === 0,
      () => `Sequence ${sequenceId} wants an embedding and logits in one step, or not of all of its rows.`,
    );
    ensure(
      pooling !== 'rank' || (embedding !== null && embedding.ranks !== null),
      () => `Sequence ${sequenceId} wants scores of a model that gives none.`,
    );
    ensure(
      !isEncoder || (Boolean(pooling) && positionStart === 0),
      () => `Sequence ${sequenceId} is not a whole text, which an encoder takes.`,
    );
  }
}

/** The order in which states are read and written within a step is not defined: nobody may read what another writes. */
function checkStates(sequences: Step['sequences'], stateSlots: number): void {
  const written = new Set<number>();
  for (const { sequenceId, state } of sequences) {
    ensure(
      (state !== null) === stateSlots > 0,
      () => `Sequence ${sequenceId} has a state where the model has none, or none where it has.`,
    );
    if (state === null) continue;
    ensure(
      [state.from, state.to].every((slot) => isCount(slot) && slot < stateSlots) && state.to > emptyState,
      () => `States ${state.from} and ${state.to} of sequence ${sequenceId} are not in ${stateSlots} slots.`,
    );
    ensure(
      state.to === wasteState || !written.has(state.to),
      () => `Two sequences write to the state ${state.to}.`,
    );
    written.add(state.to);
  }
  for (const { sequenceId, state } of sequences)
    ensure(
      state === null || state.from === wasteState || !written.has(state.from),
      () => `Sequence ${sequenceId} reads the state ${state?.from}, which is written in the same step.`,
    );
}

/** Rooms are moved in the order of sequences: nothing may be moved out of one, or in it, that an earlier one writes to. */
function checkWindows(sequences: Step['sequences'], windows: WindowsOfModel | null): void {
  const written = new Set<number>();
  for (const sequence of sequences) {
    const { sequenceId, window } = sequence;
    ensure(
      (window !== null) === (windows !== null),
      () => `Sequence ${sequenceId} has a room where the model has none, or none where it has.`,
    );
    if (window === null || windows === null) continue;
    const { from, fromFirst, to, toFirst } = window;
    ensure(
      fitsRoom(sequence, window, windows),
      () =>
        `Positions ${sequence.positionStart}+${sequence.rows} of sequence ${sequenceId} do not follow ${toFirst} in the ` +
        `room ${to}, or ${fromFirst} in the room ${from}, of ${windows.rooms} with ${windows.roomSlots} slots.`,
    );
    const isStill = from === to && fromFirst === toFirst;
    ensure(
      isStill || (!written.has(from) && !written.has(to)),
      () => `Sequence ${sequenceId} moves from the room ${from} to ${to} what an earlier one writes.`,
    );
    written.add(to);
  }
}

function fitsRoom(
  { positionStart, rows }: Step['sequences'][number],
  { from, fromFirst, to, toFirst }: SequenceWindow,
  windows: WindowsOfModel,
): boolean {
  const { rooms, roomSlots } = windows;
  return (
    [from, fromFirst, to, toFirst].every(isCount) &&
    Math.max(from, to) < rooms &&
    fromFirst <= toFirst &&
    toFirst % cacheBlockSlots === 0 &&
    holdsWindow(toFirst, positionStart, windows) &&
    positionStart + rows - toFirst <= roomSlots &&
    positionStart - fromFirst <= roomSlots
  );
}

/** What the rows are that a stage takes. */
export interface PayloadShape {
  /** Whether they are token ids instead of activations. */
  readonly isFirst: boolean;
  /** F32 numbers of a row of activations. */
  readonly width: number;
  readonly vocabulary: number;
  /** Whether token ids come beside the activations. */
  readonly readsTokens: boolean;
}

/** @throws ButterflyError COMPUTE_INVALID for other rows than those of the step, and for tokens that there are not */
export function checkPayload(
  { payload, tokens }: { readonly payload: Uint8Array; readonly tokens?: Uint8Array | undefined },
  sequences: Step['sequences'],
  { isFirst, width, vocabulary, readsTokens }: PayloadShape,
): void {
  const rows = sequences.reduce((sum, s) => sum + s.rows, 0);
  const check = (bytes: number, expected: number, what: string): void =>
    ensure(
      bytes === expected,
      () => `${what} of ${bytes} bytes does not match ${rows} rows (${expected} bytes).`,
    );
  check(payload.length, rows * 4 * (isFirst ? 1 : width), 'A payload');
  if (isFirst) checkTokens(payload, vocabulary);
  if (!readsTokens) return;
  check(tokens?.length ?? 0, rows * 4, 'A list of tokens beside activations');
  checkTokens(tokens ?? noBytes, vocabulary);
}

const noBytes = new Uint8Array(0);

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

function checkTokens(payload: Uint8Array, vocabulary: number): void {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  for (let at = 0; at < payload.length; at += 4) {
    const token = view.getInt32(at, true);
    ensure(
      token >= 0 && token < vocabulary,
      () => `Token ${token} is not in the vocabulary of ${vocabulary}.`,
    );
  }
}
