import { ButterflyError, limits } from '@butterfly/common';
import type { ByteReader, ByteWriter } from './bytes.js';

/** What the next tokens of a sequence must go on with. */
export interface SequenceConstraint {
  /** Of the constraint, as the last stage was told it. */
  readonly id: number;
  /** The position of the first token that it says something of. */
  readonly start: number;
  /**
   * All tokens from `start` to those that this step samples, where the last stage may not have sampled them itself: in the
   * first step of each life of the sequence. Null in later ones, which may go ahead of them.
   */
  readonly tokens: Int32Array | null;
}

const u32Max = 0xffff_ffff;
/** In place of the number of tokens. */
const nothingNew = u32Max;
const fixedBytes = 12;

/** Bytes of it in a step. */
export function constraintBytes({ tokens }: SequenceConstraint): number {
  return fixedBytes + (tokens?.byteLength ?? 0);
}

export function writeConstraint(writer: ByteWriter, { id, start, tokens }: SequenceConstraint): void {
  writer.u32s([id, start, tokens?.length ?? nothingNew]);
  if (tokens) writer.int32s(tokens);
}

/** @throws ButterflyError PROTOCOL_INVALID */
export function readConstraint(reader: ByteReader): SequenceConstraint {
  const [id, start, count] = [reader.u32(), reader.u32(), reader.u32()];
  if (count === nothingNew) return { id, start, tokens: null };
  if (count > limits.constraintTokensMax)
    throw reader.fail(`${count} tokens of a constraint, at most ${limits.constraintTokensMax} are allowed`);
  return { id, start, tokens: reader.int32s(count) };
}

/**
 * @param end position behind the known tokens of the sequence
 * @throws ButterflyError PROTOCOL_INVALID when a value is out of its bounds
 */
export function checkConstraint({ id, start, tokens }: SequenceConstraint, end: number): void {
  const isRight =
    Number.isInteger(id) &&
    id >= 0 &&
    id <= u32Max &&
    Number.isInteger(start) &&
    start >= 1 &&
    start <= end &&
    (tokens === null || (tokens.length === end - start && tokens.every((token) => token >= 0)));
  if (isRight && (tokens?.length ?? 0) <= limits.constraintTokensMax) return;
  throw new ButterflyError(
    'PROTOCOL_INVALID',
    `A frame has a constraint ${id} from ${start} with ${tokens?.length ?? 'no'} tokens, which do not end at ${end}.`,
  );
}
