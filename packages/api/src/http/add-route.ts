import type { FastifyReply, FastifyRequest } from 'fastify';

/** Adds a route, which answers 405 to the methods that it does not have. */
export type AddRoute = (
  method: 'GET' | 'POST',
  url: string,
  handler: (request: FastifyRequest, reply: FastifyReply) => unknown,
) => void;
