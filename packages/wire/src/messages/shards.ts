import { z } from 'zod';
import { limits } from '@butterfly/common';
import { cacheTypes } from './cache-type.js';
import { count, layer, name, peerAddress, positive, prose, requestId, shardId, stepTimes } from './fields.js';

/** Asks a worker to load a range of layers of the model that it was welcomed with, and to keep it until it is released; it may belong to no epoch at all. */
export const prepare = z
  .object({
    kind: z.literal('prepare'),
    shardId,
    layerStart: layer,
    /** Exclusive. */
    layerEnd: layer,
    /** On a device that is not the host: of so many layers, the first, the experts lie with the host; none by default. */
    hostExperts: layer.optional(),
    /** Slots of the KV arena, in tokens. */
    arenaSlots: positive.max(0xffff_ffff),
    cacheType: z.enum(cacheTypes),
    /** Largest number of rows that a step will have. */
    rowsMax: positive.max(limits.stepRowsMax),
    /** Workers that have some of these weights on disk, to be asked before the orchestrator. */
    sources: z.array(peerAddress).max(limits.weightSourcesMax).readonly(),
  })
  .refine((message) => message.layerStart < message.layerEnd, {
    message: 'must be above layerStart',
    path: ['layerEnd'],
  })
  .readonly();
/** Ends loading and holding a shard. */
export const release = z.object({ kind: z.literal('release'), shardId }).readonly();

export const progress = z
  .object({ kind: z.literal('progress'), shardId, loadedBytes: count, totalBytes: count })
  .readonly();
/** A shard is loaded and warm. */
export const prepared = z
  .object({
    kind: z.literal('prepared'),
    shardId,
    shardBytes: count,
    arenaBytes: count,
    residentBytes: count,
    /** Time of a step of this stage by its rows, each row of a sequence of its own. */
    stepCurve: stepTimes,
    /** Whether a row has the same numbers to the last bit whatever other rows are in its step. */
    isBatchInvariant: z.boolean(),
    /** Where its bytes came from. */
    loaded: z
      .object({
        fileBytes: count,
        cacheBytes: count,
        peerBytes: count,
        orchestratorBytes: count,
        elapsedMs: z.number().min(0),
      })
      .readonly(),
  })
  .readonly();
/** A shard cannot be loaded. */
export const unprepared = z
  .object({ kind: z.literal('unprepared'), shardId, code: name, message: prose })
  .readonly();

/** Asks the orchestrator, or a peer, for a range of a model file; answered by a `fileChunk` frame. */
export const fetch = z
  .object({
    kind: z.literal('fetch'),
    requestId,
    /** Index into the files of a split model. */
    fileIndex: count.max(limits.modelFilesMax - 1),
    offset: count,
    bytes: positive.max(limits.fileChunkBytesMax),
  })
  .readonly();
/** The answer to a `fetch` or `digests` of what the other side does not have, with the reason where there is one to tell. */
export const fetchMissing = z
  .object({
    kind: z.literal('fetchMissing'),
    requestId,
    error: z.object({ code: name, message: prose }).readonly().optional(),
  })
  .readonly();

/** Asks the orchestrator for the hash of each chunk of a range of a model file; the last one may be shorter. */
export const digests = z
  .object({
    kind: z.literal('digests'),
    requestId,
    fileIndex: count.max(limits.modelFilesMax - 1),
    offset: count,
    bytes: positive.max(limits.digestsAtOnceMax * limits.fileChunkBytesMax),
  })
  .readonly();
/** The SHA-256 of each, in hex, in order. */
export const digested = z
  .object({
    kind: z.literal('digested'),
    requestId,
    sha256: z
      .array(z.string().regex(/^[0-9a-f]{64}$/u))
      .min(1)
      .max(limits.digestsAtOnceMax)
      .readonly(),
  })
  .readonly();
