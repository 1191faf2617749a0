import { type ControlMessageOf, type Step, type Witnessed, encodeWitnessed } from '@butterfly/wire';

/** Of which sequences the orchestrator wants to hear what this stage receives and sends. */
export type WitnessWish = Pick<ControlMessageOf<'witness'>, 'received' | 'sent'>;

/**
 * A frame for each of these sequences that is in the step.
 * @param payload F32[rows, width] of all rows of the step
 */
export function* witnessedFrames(
  { epoch, stepId, sequences }: Step,
  side: Witnessed['side'],
  payload: Uint8Array,
  sequenceIds: readonly number[],
): Generator<Uint8Array[]> {
  const rows = sequences.reduce((sum, each) => sum + each.rows, 0);
  const rowBytes = payload.length / rows;
  let offset = 0;
  for (const { sequenceId, rows: own } of sequences) {
    const end = offset + own * rowBytes;
    if (sequenceIds.includes(sequenceId))
      yield encodeWitnessed({ epoch, stepId, sequenceId, side, payload: payload.subarray(offset, end) });
    offset = end;
  }
}
