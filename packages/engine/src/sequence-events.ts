import { ButterflyError } from '@butterfly/common';
import type { SchedulerEvent } from './scheduler/scheduler-types.js';

/** How many tokens of its answer each sequence got. */
export function tokensOf(events: readonly SchedulerEvent[]): ReadonlyMap<number, number> {
  const counts = new Map<number, number>();
  for (const { kind, id } of events) if (kind === 'token') counts.set(id, (counts.get(id) ?? 0) + 1);
  return counts;
}

/** Why a request ends whose numbers are none. */
export function noNumbers(isConstrained: boolean): ButterflyError {
  return new ButterflyError(
    'COMPUTE_FAILED',
    isConstrained
      ? 'The model gives no numbers for this request (NaN or infinity in its computation), or none of its tokens goes on with the constraint; check both, or ask otherwise.'
      : 'The model gives no numbers for this request (NaN or infinity in its computation); check the model file, or ask otherwise.',
  );
}
