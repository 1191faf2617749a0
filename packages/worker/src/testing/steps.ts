import { part } from '@butterfly/stage/testing';
import type { Activations, Step } from '@butterfly/wire';

/** The epoch of the frames that are made here. */
export const epoch = 7;
export const noBytes = new Uint8Array(0);

/** A step of one row, as it comes to any stage but the first. */
export function stepOf(stepId: number, change: Partial<Step> = {}): Step {
  return { epoch, stepId, copies: [], sequences: [part()], stageTimes: [], payload: noBytes, ...change };
}

/** The token id of one row. */
export function oneToken(token: number): Uint8Array {
  return new Uint8Array(Int32Array.of(token).buffer);
}

/** Activations of zeros for one row of `width` numbers. */
export function activationsOf(stepId: number, width: number, change: Partial<Activations> = {}): Activations {
  return {
    epoch,
    stepId,
    stageTimes: [{ computeMicros: 1, hostMicros: 1 }],
    tokens: noBytes,
    payload: new Uint8Array(Float32Array.BYTES_PER_ELEMENT * width),
    ...change,
  };
}
