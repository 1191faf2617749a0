import { limits } from '@butterfly/common';
import { workerStates } from '@butterfly/control';
import type { ClusterDescription } from '@butterfly/orchestrator';
import { objectives } from '@butterfly/planning';
import { cacheTypes } from '@butterfly/wire';
import { z } from 'zod';

const micros = z.number().min(0);
export const stepTimesSchema = z
  .array(z.object({ rows: z.int().min(1), micros: z.number().positive() }))
  .min(1)
  .max(64)
  .refine((curve) => curve.every(({ rows }, index) => index === 0 || rows > (curve[index - 1]?.rows ?? 0)), {
    message: 'rows must ascend',
  });

const link = z.object({
  toWorkerId: z.string().nullable(),
  latencyMicros: micros,
  bytesPerSecond: z.number().positive(),
  isRelayed: z.boolean(),
});

const profile = z.object({
  layerCurve: stepTimesSchema,
  kindCurves: z
    .array(z.object({ layer: z.int().min(0), curve: stepTimesSchema }))
    .max(limits.layerKindsMax)
    .optional(),
  outputCurve: stepTimesSchema,
  attentionMicros: z.partialRecord(z.enum(cacheTypes), micros),
  diskBytesPerSecond: z.number(),
  cachedBytes: z.number(),
  hasFiles: z.boolean(),
});

const worker = z.object({
  workerId: z.string(),
  name: z.string(),
  version: z.string().nullable().default(null),
  kernels: z.string().nullable().default(null),
  state: z.enum(workerStates),
  replica: z.int().nullable().default(null),
  layers: z.tuple([z.int(), z.int()]).nullable(),
  stepMicros: micros.nullable().default(null),
  device: z.object({
    name: z.string(),
    kind: z.enum(['cpu', 'gpu', 'integrated']),
    description: z.string(),
  }),
  threads: z.number(),
  memoryBytes: z.number(),
  residentBytes: z.number().nullable(),
  host: z
    .object({ memoryBytes: z.number(), plannedBytes: z.number(), expertLayers: z.int() })
    .nullable()
    .default(null),
  loading: z.object({ loadedBytes: z.number(), totalBytes: z.number() }).nullable(),
  loaded: z
    .object({
      fileBytes: z.number(),
      cacheBytes: z.number(),
      peerBytes: z.number(),
      orchestratorBytes: z.number(),
      elapsedMs: z.number(),
    })
    .nullable(),
  profile: profile.nullable(),
  links: z.array(link),
});

const plan = z.object({
  objective: z.union([z.enum(objectives), z.object({ name: z.string(), cost: z.number() })]),
  concurrency: z.number(),
  stages: z.array(
    z.object({
      workerId: z.string(),
      layerStart: z.int(),
      layerEnd: z.int(),
      bytes: z.number(),
      host: z.object({ bytes: z.number(), experts: z.int() }).optional(),
      decodeMicros: micros,
      microsPerToken: micros,
      isRelayed: z.boolean(),
    }),
  ),
  cacheType: z.enum(cacheTypes),
  predicted: z.object({ latencyMicros: micros, tokensPerSecond: z.number() }),
  reasons: z.array(z.object({ workerId: z.string(), isUsed: z.boolean(), reason: z.string() })),
});

const replica = z.object({
  replica: z.int(),
  isReady: z.boolean(),
  detail: z.string(),
  epoch: z.int().nullable(),
  plan: plan.nullable(),
  running: z.int(),
  queued: z.int(),
  verification: z
    .object({
      rate: z.number(),
      stages: z.array(z.int()),
      sequences: z.int(),
      steps: z.int(),
      rows: z.int(),
      pendingSteps: z.int(),
      abandoned: z.int(),
      differenceMax: z.number(),
    })
    .nullable()
    .default(null),
});

/** What `GET /cluster` answers; fields of a newer server are left out. */
export const clusterSchema: z.ZodType<ClusterDescription> = z.object({
  model: z.object({ id: z.string(), layers: z.int(), arenaSlots: z.int() }).nullable(),
  isReady: z.boolean(),
  detail: z.string(),
  epoch: z.int().nullable(),
  plan: plan.nullable(),
  replicas: z.array(replica).default([]),
  measured: z
    .object({
      windowMs: z.number(),
      tokensPerSecond: z.number(),
      microsPerToken: z.number(),
      concurrency: z.number(),
    })
    .nullable(),
  workers: z.array(worker),
  drains: z
    .array(
      z.object({
        workerId: z.string(),
        name: z.string(),
        state: z.enum(['draining', 'lost', 'gone', 'kept']),
      }),
    )
    .default([]),
  notes: z.array(z.string()).default([]),
  trouble: z.object({ code: z.string(), message: z.string() }).nullable(),
});
