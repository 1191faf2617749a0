/**
 * What a worker does: it measures itself, loads a shard, is a stage, holds a copy of one, holds nothing, is being emptied,
 * or is left out for a while because it failed or was lost again and again.
 */
export const workerStates = [
  'measuring',
  'loading',
  'serving',
  'spare',
  'idle',
  'draining',
  'leftOut',
] as const;
/** One of `workerStates`. */
export type WorkerState = (typeof workerStates)[number];
