import { FrameDecoder, type Step, type StepSequence, decodeWitnessed } from '@butterfly/wire';
import { plainSequence } from '@butterfly/wire/testing';
import { expect, it } from 'vitest';
import { witnessedFrames } from './witness.js';

const rowsOf = (sequenceId: number, rows: number): StepSequence => plainSequence({ sequenceId, rows });

it('tells of the rows of those sequences alone', () => {
  const sequences = [rowsOf(3, 1), rowsOf(4, 2), rowsOf(5, 1)];
  const step: Step = {
    epoch: 2,
    stepId: 9,
    copies: [],
    sequences,
    stageTimes: [],
    payload: new Uint8Array(0),
  };
  const payload = Uint8Array.from({ length: 16 }, (_, index) => index);
  const decoder = new FrameDecoder();
  for (const frame of witnessedFrames(step, 'sent', payload, [4, 6, 5])) decoder.push(Buffer.concat(frame));
  const told = [...decoder.frames()].map((frame) => decodeWitnessed(frame));
  expect(told.map(({ sequenceId, payload: rows }) => [sequenceId, [...rows]])).toEqual([
    [4, [4, 5, 6, 7, 8, 9, 10, 11]],
    [5, [12, 13, 14, 15]],
  ]);
  expect(told[0]).toMatchObject({ epoch: 2, stepId: 9, side: 'sent' });
});
