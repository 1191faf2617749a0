import { ButterflyError, encodeFrame, type Frame } from '@butterfly/common';
import type { EpochPlan } from './controller-types.js';
import type { WorkerLink } from './worker-link.js';

/**
 * Passes a frame of a stage on to the next one, where that cannot be dialled; frames of no live stage are dropped, since
 * their epoch is over. Stages check the epoch of each frame themselves.
 * @throws ButterflyError PROTOCOL_INVALID from a stage that has a straight way
 */
export function relay(
  frame: Frame,
  workerId: string,
  current: EpochPlan | null,
  workers: ReadonlyMap<string, WorkerLink>,
): void {
  const index = current?.plan.stages.findIndex((stage) => stage.workerId === workerId) ?? -1;
  const next = current?.plan.stages[index + 1];
  if (index === -1 || !next) return;
  if (!next.isRelayed)
    throw new ButterflyError(
      'PROTOCOL_INVALID',
      'A stage that can dial the next one sent its activations here.',
    );
  workers.get(next.workerId)?.connection.send(encodeFrame(frame));
}
