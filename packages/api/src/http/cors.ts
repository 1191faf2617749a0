import cors from '@fastify/cors';
import type { FastifyInstance } from 'fastify';

/** How long a browser may remember what it was allowed, in seconds: Chromium remembers no longer. */
const rememberS = 7200;

/** What pages may read beside the body; `retry-after` and the like are not theirs unless they are named. */
const readableHeaders = [
  'x-request-id',
  'x-butterfly-code',
  'x-butterfly-no-effect',
  'x-should-retry',
  'retry-after',
  ...['requests', 'tokens'].flatMap((name) => [
    `x-ratelimit-limit-${name}`,
    `x-ratelimit-remaining-${name}`,
    `x-ratelimit-reset-${name}`,
  ]),
];

/** Lets pages of these origins ask (`*`: of all); of others, browsers keep them from it. */
export function letPagesAsk(app: FastifyInstance, origins: readonly string[]): void {
  if (origins.length === 0) return;
  const isOpen = origins.includes('*');
  app.register(cors, {
    // False leaves what was asked to the route, which says that it is refused.
    origin: isOpen
      ? '*'
      : (origin, done) => done(null, origin !== undefined && origins.includes(origin) ? origin : false),
    methods: ['GET', 'HEAD', 'POST'],
    // No allowed headers are named: each that is asked for is, since clients add their own (x-stainless-…).
    exposedHeaders: readableHeaders,
    maxAge: rememberS,
    strictPreflight: false,
  });
  // A page of the public net that asks for an address of a private one must be let in to that too.
  app.addHook('onSend', (request, reply, _payload, done) => {
    const isAsked = request.headers['access-control-request-private-network'] === 'true';
    if (isAsked && reply.hasHeader('access-control-allow-origin'))
      reply.header('access-control-allow-private-network', 'true');
    done();
  });
}
