import { z } from 'zod';
import { limits } from '@butterfly/common';
import { count, epoch, name, peerAddress, prose, secret, shardId, stage } from './fields.js';

const sequenceId = count;

/**
 * The way to the next stage: straight, or through the orchestrator where it cannot be dialled. After the last stage the
 * first one comes again, to learn what was sampled; that way is straight or none.
 */
const next = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('direct'), ...peerAddress.unwrap().shape }).readonly(),
  z.object({ kind: z.literal('relay'), workerId: name }).readonly(),
]);

function mayGoOn(way: 'direct' | 'relay' | null, stageIndex: number, stageCount: number): boolean {
  if (stageIndex < stageCount - 1) return way !== null;
  return way === null || (way === 'direct' && stageCount > 1);
}

/** Makes a prepared shard a stage of a pipeline. */
export const assign = z
  .object({
    kind: z.literal('assign'),
    epoch,
    shardId,
    stageIndex: stage,
    stageCount: stage,
    /** Who takes the activations, and of the last stage the tokens; null where that one tells the orchestrator alone. */
    next: next.nullable(),
    /** Whether what the stage before sends comes through the orchestrator, and no link is to be expected. */
    isRelayed: z.boolean(),
    /** Secret of this epoch that stages prove themselves with to each other. */
    linkToken: secret,
  })
  .refine((message) => message.stageIndex < message.stageCount, {
    message: 'must be below stageCount',
    path: ['stageIndex'],
  })
  .refine(({ next: way, stageIndex, stageCount }) => mayGoOn(way?.kind ?? null, stageIndex, stageCount), {
    message:
      'must not be null but for the last stage, where nothing is relayed, nor lead from a single stage to itself',
    path: ['next'],
  })
  .readonly();
export const unassign = z.object({ kind: z.literal('unassign'), epoch }).readonly();
/** The stage is linked to its neighbours and takes steps. */
export const ready = z.object({ kind: z.literal('ready'), epoch }).readonly();
/** The stage cannot go on. `lostWorkerId` names the neighbour whose link was lost, where that is the reason. */
export const failed = z
  .object({ kind: z.literal('failed'), epoch, code: name, message: prose, lostWorkerId: name.nullable() })
  .readonly();

/**
 * From now on the stage tells, in `witnessed` frames, what it receives and what it sends of these sequences and of no others: so
 * another worker can compute what the stage behind or before it does.
 */
export const witness = z
  .object({
    kind: z.literal('witness'),
    epoch,
    received: z.array(sequenceId).max(limits.verifiedSequencesMax).readonly(),
    sent: z.array(sequenceId).max(limits.verifiedSequencesMax).readonly(),
  })
  .readonly();

export const link = z
  .object({
    kind: z.literal('link'),
    /** Of the cluster: a link may come before its epoch is known, and so before `linkToken` can be checked. */
    peerToken: secret,
    linkToken: secret,
    epoch,
    fromStage: stage,
  })
  .readonly();
export const linked = z.object({ kind: z.literal('linked'), epoch }).readonly();
