import { ButterflyError } from '@butterfly/common';
import type { EpochPlan } from '@butterfly/control';
import { type Frame, decodeActivations, decodeStep, encodeFrame } from '@butterfly/wire';
import type { ModelWorker } from '../fleet/model-worker.js';

/**
 * Passes a frame of a stage on to the next one, where that cannot be dialled; frames of another epoch are dropped, since
 * it is over, and its stages may have a straight way now.
 * @throws ButterflyError PROTOCOL_INVALID from a stage that has a straight way
 */
export function relay(
  frame: Frame,
  workerId: string,
  current: EpochPlan | null,
  workers: ReadonlyMap<string, ModelWorker>,
): void {
  if (!current) return;
  const index = current.plan.stages.findIndex((stage) => stage.workerId === workerId);
  const next = current.plan.stages[index + 1];
  const { epoch } = frame.type === 'step' ? decodeStep(frame) : decodeActivations(frame);
  if (index === -1 || !next || epoch !== current.epoch) return;
  if (!next.isRelayed)
    throw new ButterflyError(
      'PROTOCOL_INVALID',
      'A stage that can dial the next one sent its activations here.',
    );
  workers.get(next.workerId)?.channel.send(encodeFrame(frame));
}
