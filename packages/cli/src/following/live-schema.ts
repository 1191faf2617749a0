import type { EventView, LiveMessage } from '@butterfly/telemetry';
import { z } from 'zod';

/** Of what a server tells live, what a terminal shows; the rest is let through unread. */
const request = z.object({
  id: z.string(),
  modelId: z.string().nullable(),
  state: z.string(),
  startedMs: z.number(),
  endedMs: z.number().nullable(),
  promptTokens: z.number(),
  cachedTokens: z.number(),
  outputTokens: z.number(),
  firstTokenMs: z.number().nullable(),
  tokensPerSecond: z.number().nullable(),
  replays: z.number(),
  error: z.object({ code: z.string(), message: z.string() }).nullable(),
});

const event = z.object({
  index: z.number(),
  atMs: z.number(),
  level: z.enum(['debug', 'info', 'warn', 'error']),
  kind: z.string(),
  words: z.string(),
  modelId: z.string().nullable(),
  fields: z.record(z.string(), z.unknown()),
}) satisfies z.ZodType<EventView>;

const layers = z.tuple([z.number(), z.number()]).nullable();
const cluster = z.object({
  isReady: z.boolean(),
  detail: z.string(),
  version: z.string(),
  startedMs: z.number(),
  workers: z.array(
    z.object({
      workerId: z.string(),
      name: z.string(),
      memoryBytes: z.number(),
    }),
  ),
  models: z.array(
    z.object({
      id: z.string(),
      state: z.string(),
      workers: z.array(
        z.object({
          workerId: z.string(),
          state: z.string(),
          replica: z.number().nullable(),
          layers,
          stepMicros: z.number().nullable(),
          residentBytes: z.number().nullable(),
        }),
      ),
    }),
  ),
});

const pulse = z.object({
  atMs: z.number(),
  lengthMs: z.number().positive(),
  models: z.array(
    z.object({
      id: z.string(),
      running: z.number(),
      queued: z.number(),
      steps: z.number(),
      rows: z.number(),
      outputTokens: z.number(),
      busyShares: z.record(z.string(), z.number()),
    }),
  ),
});

/** By the name of the event, what comes with it. */
export const liveSchemas = {
  requests: z.object({ requests: z.array(request) }),
  events: z.object({ events: z.array(event) }),
  cluster: z.object({ cluster }),
  pulse: z.object({ pulse }),
};

export type ShownRequest = z.infer<typeof request>;
export type ShownCluster = z.infer<typeof cluster>;
export type ShownPulse = z.infer<typeof pulse>;

/** As a terminal takes it. */
export type ShownMessage = {
  [K in keyof typeof liveSchemas]: { readonly kind: K } & z.infer<(typeof liveSchemas)[K]>;
}[keyof typeof liveSchemas];

/** Null for what a terminal does not show. @throws z.ZodError for what no server of this version tells */
export function shownMessage(kind: string, data: unknown): ShownMessage | null {
  switch (kind as LiveMessage['kind']) {
    case 'requests':
      return { kind: 'requests', ...liveSchemas.requests.parse(data) };
    case 'events':
      return { kind: 'events', ...liveSchemas.events.parse(data) };
    case 'cluster':
      return { kind: 'cluster', ...liveSchemas.cluster.parse(data) };
    case 'pulse':
      return { kind: 'pulse', ...liveSchemas.pulse.parse(data) };
    default:
      return null;
  }
}
