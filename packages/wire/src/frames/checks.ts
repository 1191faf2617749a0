import { ButterflyError } from '@butterfly/common';

export const u32Max = 0xffff_ffff;
export const int32Max = 0x7fff_ffff;

/** Both directions check the same rules, so that a bad value fails at its source and not on the peer. */
export function within(value: number, min: number, max: number, name: string): void {
  if (value >= min && value <= max) return;
  throw new ButterflyError(
    'PROTOCOL_INVALID',
    `A frame has ${name} ${value}, which is not in ${min} to ${max}.`,
  );
}

export function integer(value: number, min: number, max: number, name: string): void {
  within(value, min, max, name);
  if (!Number.isInteger(value))
    throw new ButterflyError('PROTOCOL_INVALID', `A frame has ${name} ${value}, which is no integer.`);
}

export function checkTokens(tokens: Int32Array, min: number, max: number, name: string): void {
  integer(tokens.length, min, max, `number of ${name}`);
  for (const token of tokens) within(token, 0, int32Max, name);
}
