import { ButterflyError, limits } from '@butterfly/common';
import type { LiveMessage, TelemetryView } from '@butterfly/telemetry';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { ApiContext, ClusterAdministration } from '../context.js';
import { parseBody } from '../fields/parse-body.js';
import { onClientGone } from '../http/open-responses.js';
import { OpenStream, serverSentEvents } from '../http/open-stream.js';
import type { AddAdminRoute } from './add-admin-route.js';

const joinWishes = z.strictObject({
  hours: z.number().positive().max(87_600).nullish(),
  uses: z.int().min(1).max(limits.joinTokenUsesMax).nullish(),
});

const hourMs = 3_600_000;

/** What happened to requests and workers, and what happens now. */
export function addObservationRoutes(
  add: AddAdminRoute,
  { telemetry, joinLine }: ClusterAdministration,
  context: ApiContext,
): void {
  if (joinLine)
    add('POST', '/cluster/join-lines', (request) => {
      const { hours, uses } = parseBody(joinWishes, request.body ?? {});
      const lifeMs = hours == null ? null : hours * hourMs;
      return joinLine({ lifeMs, usesMax: uses ?? null, host: request.hostname });
    });
  if (!telemetry) return;
  add('GET', '/cluster/requests', (request) => ({ requests: telemetry.requests(mostOf(request)) }));
  add('GET', '/cluster/requests/:id', (request) => {
    const { id } = request.params as { readonly id: string };
    const timeline = telemetry.timeline(id);
    if (timeline) return timeline;
    throw new ButterflyError(
      'NOT_FOUND',
      `There is no request "${id}" among the last ${limits.requestsRememberedMax}; see GET /cluster/requests.`,
      { param: 'id' },
    );
  });
  add('GET', '/cluster/events', (request) => {
    const { after } = request.query as { readonly after?: unknown };
    return { events: telemetry.events(wholeOf('after', after, 0)) };
  });
  add('GET', '/cluster/series', () => ({ buckets: telemetry.series() }));
  add('GET', '/cluster/live', (request, reply) => live(telemetry, context, request, reply));
}

/** Tells until the client goes away, or reads too slowly. */
async function live(
  telemetry: TelemetryView,
  { clock, http, observe }: ApiContext,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<undefined> {
  let end: () => void = () => undefined;
  const ended = new Promise<void>((resolve) => (end = resolve));
  using stream = new OpenStream(reply, serverSentEvents, {
    ...{ clock, keepAliveMs: http.keepAliveMs, opening: () => '' },
    onOverflow: () => {
      observe({ kind: 'readerTooSlow', requestId: request.id });
      end();
    },
  });
  using _watching = telemetry.watch((message) => stream.send(written(message)), end);
  const stopWatching = onClientGone(request, end);
  await ended;
  stopWatching();
  stream.end();
  return undefined;
}

function written({ kind, ...data }: LiveMessage): string {
  return `event: ${kind}\ndata: ${JSON.stringify(data)}\n\n`;
}

function mostOf(request: FastifyRequest): number {
  const { limit } = request.query as { readonly limit?: unknown };
  return Math.min(wholeOf('limit', limit, 100), limits.requestsRememberedMax);
}

/** @throws ButterflyError REQUEST_INVALID */
function wholeOf(name: string, value: unknown, usual: number): number {
  if (value === undefined) return usual;
  if (typeof value === 'string' && /^\d{1,15}$/.test(value)) return Number(value);
  throw new ButterflyError('REQUEST_INVALID', `${name}: expected a whole number that is not negative.`, {
    param: name,
  });
}
