import { z } from 'zod';
import { limits } from '@butterfly/common';
import { cacheTypes } from './cache-type.js';
import {
  channel,
  count,
  intervalMs,
  layer,
  model,
  name,
  port,
  positive,
  prose,
  requestId,
  secret,
  shardId,
  stepTimes,
  timestampMs,
} from './fields.js';

const worker = z
  .object({
    /** As people call it. */
    name,
    /** Tells apart machines, not processes. */
    machineId: name,
    butterflyVersion: name,
    ggmlVersion: name,
    /** The ggml CPU library in use, such as "sapphirerapids". */
    cpuVariant: name,
    cpuFeatures: z.array(name).max(256).readonly(),
    /** As in `process.platform` and `process.arch`. */
    platform: name,
    arch: name,
    threads: positive.max(4096),
    /** Where it computes, if that is not the CPU: as `butterfly devices` calls it, and as its driver does. */
    device: z
      .object({
        name,
        kind: z.enum(['gpu', 'integrated']),
        description: name,
        /** What it may take of the memory of its machine; absent in workers that know nothing of that. */
        host: z
          .object({
            memoryBytes: count,
            /** As of the worker itself. */
            offersAllFree: z.boolean(),
            /** Where experts may lie: there where they do not fit the device, always there, or never. */
            experts: z.enum(['auto', 'host', 'device']),
          })
          .readonly()
          .optional(),
      })
      .readonly()
      .optional(),
    /** What it offers for weights and cache. */
    memoryBytes: count,
    /** Whether that is what was free on its machine, which another worker there may offer too. */
    offersAllFree: z.boolean().optional(),
    /** Where other workers reach it; by default the address that the orchestrator sees it under. */
    dataHost: name.optional(),
    dataPort: port,
  })
  .readonly();

export const hello = z
  .object({ kind: z.literal('hello'), token: z.string().max(512).nullable(), worker })
  .readonly();

export const welcome = z
  .object({
    kind: z.literal('welcome'),
    workerId: name,
    heartbeatEveryMs: intervalMs,
    /** The longest silence that any rhythm of heartbeats excuses. */
    heartbeatSilenceMs: intervalMs,
    /** What workers of this orchestrator show each other. */
    peerToken: secret,
    /** Of the models that are opened right after this: what is held of others is let go. */
    channels: z.array(channel).max(limits.modelsOpenMax).readonly(),
  })
  .refine((message) => message.heartbeatEveryMs < message.heartbeatSilenceMs, {
    message: 'must be longer than heartbeatEveryMs',
    path: ['heartbeatSilenceMs'],
  })
  .readonly();

/** From now on a channel is about this model: the worker measures itself on it, and says so there. Both of the connection itself. */
export const openModel = z
  .object({
    kind: z.literal('openModel'),
    channel,
    /** Under which it is served: what is held of it stays its own. */
    name,
    model,
    /** Whether stages compute on the plain path alone, whose numbers depend on nothing else. */
    isDeterministic: z.boolean(),
  })
  .readonly();
/** The model is served no more: all that is held of it is let go, and what still comes on its channel is dropped. */
export const closeModel = z.object({ kind: z.literal('closeModel'), channel }).readonly();

/** Time by rows of one layer of each kind that was measured by itself. */
const kindCurves = z
  .array(z.object({ layer, curve: stepTimes }).readonly())
  .max(limits.layerKindsMax)
  .readonly()
  .optional();

/** What a worker measured of itself for the model of a channel, and holds of it. Follows `openModel`. */
export const profile = z
  .object({
    kind: z.literal('profile'),
    /** Time of a layer as they are on average by rows, each row of a sequence of its own. */
    layerCurve: stepTimes,
    /** The same of one layer of each kind that was measured by itself; absent where all layers are alike. */
    kindCurves,
    /** Times of layers whose experts lie in the memory of the host beside a device; absent without such. */
    hostExperts: z.object({ layerCurve: stepTimes, kindCurves }).readonly().optional(),
    /** Time of norm, head and sampling by rows with logits. */
    outputCurve: stepTimes,
    /** Time of one query over 2,048 cached tokens of one layer, by type of the cache. */
    attentionMicros: z.record(z.enum(cacheTypes), z.number().positive()).readonly(),
    /** Whether it has the model's files themselves. */
    hasFiles: z.boolean(),
    /** Bytes of this model's weights in its cache on disk. */
    cachedBytes: count,
    /** Speed at which it reads its disk. */
    diskBytesPerSecond: z.number().positive(),
    /** What it has loaded from before, when it comes back. */
    heldShards: z.array(shardId).max(limits.shardsHeldMax).readonly(),
  })
  .readonly();

/** Asks a worker to measure its way to another worker. */
export const probe = z.object({ kind: z.literal('probe'), requestId, host: name, port }).readonly();
/** Both null when it cannot be reached. */
export const probed = z
  .object({
    kind: z.literal('probed'),
    requestId,
    /** One way. */
    latencyMicros: z.number().min(0).nullable(),
    bytesPerSecond: z.number().positive().nullable(),
  })
  .readonly();

/** How a worker begins with another one, for probes and weights. */
export const peer = z.object({ kind: z.literal('peer'), peerToken: secret }).readonly();
export const peerWelcome = z.object({ kind: z.literal('peerWelcome') }).readonly();
/** Asks a peer for a block of zeros, to time it. */
export const probeBlock = z
  .object({ kind: z.literal('probeBlock'), requestId, bytes: positive.max(limits.fileChunkBytesMax) })
  .readonly();

/** `sentAtMs` is of the clock of whoever pings, and comes back unchanged. */
export const ping = z.object({ kind: z.literal('ping'), sentAtMs: timestampMs }).readonly();
export const pong = z.object({ kind: z.literal('pong'), sentAtMs: timestampMs }).readonly();
/** The last message before its sender closes: what went wrong, with a code of the errors table, and when to come back. */
export const error = z
  .object({
    kind: z.literal('error'),
    code: name,
    message: prose,
    retryAfterMs: intervalMs.optional(),
  })
  .readonly();
/** The last message before its sender closes in order. */
export const bye = z.object({ kind: z.literal('bye'), reason: prose }).readonly();
